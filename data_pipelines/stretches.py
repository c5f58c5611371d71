"""Where a window lies: stretches without a long gap, stored block by block, and the windows that they hold.

A shard holds the stretches of its recording that are long enough for a window. Each is cut into blocks of
`block_samples`, the last one shorter, and each block is one record. No sample is stored twice, and a window may
start at any sample of its stretch: it is read from the blocks that it touches.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np


def run_lengths(lengths: Iterable[int]) -> list[list[int]]:
    """[[length, how many in a row], ...]: a million equal stretches are one pair."""
    return [[length, len(list(same))] for length, same in itertools.groupby(lengths)]


def runs_of(mask: np.ndarray) -> list[slice]:
    """The runs of True in `mask`, bool [S]."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))  # of bools: a byte a sample
    return [slice(int(begin), int(end)) for begin, end in change.reshape(-1, 2)]


def blocks(stretch: slice, block: int) -> list[slice]:
    """The consecutive parts of a stretch, `block` samples each; the last one may be shorter."""
    return [slice(first, min(first + block, stretch.stop)) for first in range(stretch.start, stretch.stop, block)]


class Place(NamedTuple):
    """Where to read a window: sample `offset` of the joined `records` of a recording's shard."""

    recording: int
    records: range
    offset: int


class Places:
    """The place of every window of a prepared folder, by its global number.

    Equal stretches in a row are one entry of the arrays, so a million of them weigh nothing.

    Attributes:
      recordings: those parts of the manifest that have windows; `Place.recording` counts these.
      records: how many records the shard of each of them holds.
      windows: how many windows there are.
      shape: (C, S) of a window.
    """

    def __init__(self, manifest: Mapping):
        settings = manifest["settings"]
        self._window, self._stride = settings["window_samples"], settings["stride_samples"]
        self._block = settings["block_samples"]
        self.shape = (len(manifest["channels"]), self._window)
        self.recordings: list[Mapping] = [r for r in manifest["recordings"] if r["windows"]]
        runs = [np.asarray(r["stretches"], np.int64).reshape(-1, 2) for r in self.recordings]
        edges = np.cumsum([0, *map(len, runs)])
        self._recording = np.repeat(np.arange(len(runs)), np.diff(edges))
        self._samples, count = np.concatenate([np.empty((0, 2), np.int64), *runs]).T
        self._windows = (self._samples - self._window) // self._stride + 1  # of each stretch of a run
        self._blocks = -(-self._samples // self._block)
        self._ends = np.cumsum(count * self._windows)
        stored = np.concatenate([[0], np.cumsum(count * self._blocks)])
        self._first_record = stored[:-1] - stored[edges[self._recording]]
        self.records = np.diff(stored[edges]).tolist()
        self.windows = int(self._ends[-1]) if len(self._ends) else 0

    def find(self, number: int, draw: int = 0) -> Place:
        """Where window `number` lies, moved by `draw` modulo the number of samples at which it may start.

        A window may start anywhere from its own first sample to the last one before that of the next window; the
        last window of a stretch as late as the stretch allows.
        """
        run = int(np.searchsorted(self._ends, number, side="right"))
        per_stretch, samples = int(self._windows[run]), int(self._samples[run])
        begun = int(self._ends[run - 1]) if run else 0
        stretch, window = divmod(number - begun, per_stretch)
        first = window * self._stride
        start = first + draw % (min(self._stride, samples - self._window - first + 1))
        record = int(self._first_record[run]) + stretch * int(self._blocks[run])
        touched = range(start // self._block, (start + self._window - 1) // self._block + 1)
        records = range(record + touched.start, record + touched.stop)
        return Place(int(self._recording[run]), records, start - touched.start * self._block)
