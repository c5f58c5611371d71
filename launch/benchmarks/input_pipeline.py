"""Shuffled batches from a prepared folder: this project's pipeline beside a PyTorch DataLoader.

Both read the same compressed shards. The DataLoader works in the main process on one thread, because collating on two
cost it several times the processor time where that was measured. A DataLoader over the same windows, uncompressed in a
memory map that the page cache holds, is shown beside them as the upper bound.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from array_record.python.array_record_module import ArrayRecordReader

from data_pipelines.manifest import read_manifest
from data_pipelines.pipeline import eval_batches, train_batches, window_count
from data_pipelines.stretches import Places
from data_pipelines.windows import join_blocks
from launch.benchmarks.feed import STARTED, prepared, under_way
from launch.benchmarks.timing import Row, Seconds, compare, in_turns

READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # as in data_pipelines.pipeline
MOST_WINDOWS = 4096  # 0.7 GB in the memory map


class ShardWindows(torch.utils.data.Dataset):
    """Windows straight from the shards, by their global number."""

    def __init__(self, folder: Path, windows: int):
        self._places, self._windows = Places(read_manifest(folder)), windows
        self._readers = [
            ArrayRecordReader(str(folder / entry["shard"]), READER_OPTIONS, file_reader_buffer_size=32768)
            for entry in self._places.recordings
        ]

    def __len__(self) -> int:
        return self._windows

    def __getitem__(self, number: int):
        place = self._places.find(number)
        records = self._readers[place.recording].read(list(place.records))
        counts, scale = join_blocks(records, place.offset, self._places.shape[1])
        return torch.from_numpy(counts), np.float32(scale)


class MappedWindows(torch.utils.data.Dataset):
    """The same windows from one uncompressed file."""

    def __init__(self, folder: Path, windows: int, file: Path):
        self._counts = np.memmap(file, np.int16, "w+", shape=(windows, *Places(read_manifest(folder)).shape))
        with eval_batches(folder, batch=1, indices=np.arange(windows)) as every:
            for number, batch in enumerate(every):
                self._counts[number] = batch["acceleration"][0]

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, number: int):
        return torch.from_numpy(self._counts[number]), np.float32(1)


def measure(batch: int, repeats: int, data: str | None) -> list[Row]:
    """Rows of the comparison on the prepared folder `data`, or on a synthetic one that is removed afterwards.

    Raises:
      ValueError: too few windows for batches of this size.
    """
    with tempfile.TemporaryDirectory(prefix="selfpab-bench-") as scratch, prepared(data) as folder:
        windows = min(window_count(folder), MOST_WINDOWS)
        counted = windows // batch - STARTED  # batches of one turn: an epoch of the DataLoader
        if counted < 1:
            fewest = batch * (STARTED + 1)
            raise ValueError(f"{folder} holds {windows} windows, expected at least {fewest}: choose a smaller --batch")
        shards = ShardWindows(folder, windows)
        mapped = MappedWindows(folder, windows, Path(scratch) / "windows.int16")
        candidates = {
            "ours": partial(_ours, folder, windows, batch, counted),
            "DataLoader": partial(_loader, shards, batch, counted),
            "DataLoader, memory map": partial(_loader, mapped, batch, counted),
        }
        times = in_turns(candidates, repeats, "input")
    ours, theirs, reference = times.values()
    return [
        *compare(f"input, batch {batch}, from compressed shards", ours, theirs, windows=counted * batch),
        *compare("the same, PyTorch from an uncompressed memory map", ours, reference, windows=counted * batch),
    ]


def _ours(folder: Path, windows: int, batch: int, counted: int) -> Seconds:
    with train_batches(folder, global_batch=batch, seed=0, indices=np.arange(windows)) as batches:
        return under_way(batches, counted)


def _loader(dataset: torch.utils.data.Dataset, batch: int, counted: int) -> Seconds:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return under_way(iter(torch.utils.data.DataLoader(dataset, batch, shuffle=True, num_workers=0)), counted)
    finally:
        torch.set_num_threads(threads)
