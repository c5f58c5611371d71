"""A sensor's streamed signal low-pass filtered and brought onto the time grid that all sensors share.

A raw device runs up to 2 % off its nominal rate, and drifts. So the grid is absolute: its number k is k / rate seconds
after 1970, and every sensor's samples are placed by the times that its clock gave them.

One step does it all: a Kaiser-windowed sinc is evaluated at each grid time's true position among the samples. For
positions near a sample the taps are polynomials of the position (a Farrow filter), so that the filter becomes one
matrix product, at every whole number of samples that fits into an output period, and a polynomial of each grid
time's distance from there. That takes less time than a low-pass at the input rate and an interpolation of what comes
out, and has one filter's error instead of two.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from data_pipelines.windows import GAP_STEPS

FILLED = 1  # flag: within a joined gap, where nothing was measured
CLIPPED = 2  # flag: at most one output period from a sample at the end of the device's range

# Flat within 0.07 % up to 0.8 of half the lower rate, 65 dB down from 1.2 of it on, which would fold onto 0.8.
HALF_WIDTH = 12  # periods of the lower rate; 11 would do, if no device ran 2 % fast
KAISER_BETA = 6.8
DEGREE = 6  # even, so that one of the points at which the taps are exact is 0; polynomials add 0.01 % at the most
ROW = 16  # expansion points in a row of the matrix product; more waste zeros, fewer copy more
ONE_CORE = 2**18  # multiplications: OpenBLAS spreads larger products over all cores, which then mostly wait
AT_ONCE = 2**15  # samples, in or out: what a block takes stays in the processor's cache


class Chunk(NamedTuple):
    """Consecutive samples on the grid.

    Attributes:
      first: number of the first one, which is at first / rate_hz seconds after 1970.
      signal: float32 [N, C].
      flags: uint8 [N], sums of `FILLED` and `CLIPPED`.
    """

    first: int
    signal: np.ndarray
    flags: np.ndarray


class _Samples(NamedTuple):
    """Measured samples of one stretch.

    Attributes:
      time: int64 [N], microseconds.
      index: int64 [N], places in the stretch counted from 0; those left out are to be filled.
      signal: float32 [N, C].
      clipped: bool [N].
    """

    time: np.ndarray
    index: np.ndarray
    signal: np.ndarray
    clipped: np.ndarray


def regrid(
    pieces: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], rate_in_hz: float, rate_hz: int, max_gap_s: float
) -> Iterator[Chunk]:
    """The signal on the grid, in order; a chunk that does not begin where the last one ended follows a gap.

    Gaps up to `max_gap_s` are filled with a straight line. Longer ones part stretches: each is filtered on its own,
    with its first and last values held beyond its ends, and nothing comes out before its first sample or after its
    last. Where both rates are the same there is nothing to suppress: samples whose times lie on the grid come out
    unchanged, others are interpolated. However the signal is cut into pieces, the same bits come out.

    Args:
      pieces: time int64 [N] in microseconds since 1970, strictly increasing from piece to piece too; signal float32
        [N, C]; clipped bool [N].
      rate_in_hz: nominal samples a second that come in; the filter is that of this rate, times are the device's.
      rate_hz: samples a second that come out.
      max_gap_s: the longest step in time, in seconds, that is filled; 0 parts at every gap.

    Raises:
      ValueError: a rate that is not positive, or times that do not increase.
    """
    if not rate_in_hz > 0 or rate_hz < 1 or rate_hz % 1:
        raise ValueError(
            f"from {rate_in_hz:g} Hz to {rate_hz:g} Hz: expected positive rates, the second one a whole number: choose "
            "another"
        )
    taps = _taps(rate_in_hz, rate_hz)
    stretch, last_us = _Stretch(taps, rate_hz), None
    for time, signal, clipped in pieces:
        if not len(time):
            continue
        step = np.diff(time, prepend=time[0] - 1 if last_us is None else last_us)
        if step.min() <= 0:
            at = int(np.argmax(step <= 0))
            raise ValueError(
                f"the sample at {time[at]} us follows one at {time[at] - step[at]} us, expected times that increase: "
                "sort the samples by time and keep one of each time"
            )
        last_us = time[-1]
        gaps = np.flatnonzero(step > GAP_STEPS * 1e6 / rate_in_hz)
        places = np.ones(len(time), np.int64)
        places[gaps] = np.rint(step[gaps] * (rate_in_hz / 1e6))
        begins = gaps[step[gaps] > max_gap_s * 1e6].tolist()
        for number, (begin, end) in enumerate(zip([0, *begins], [*begins, len(time)], strict=True)):
            if number:
                yield from stretch.end()
                stretch = _Stretch(taps, rate_hz)
            if begin < end:
                part = slice(begin, end)
                yield from stretch.add(time[part], places[part], signal[part], clipped[part])
    yield from stretch.end()


class _Taps(NamedTuple):
    """The filter as polynomials of the distance from an expansion point.

    Attributes:
      every: input samples from one expansion point to the next.
      reach: taps on either side of an expansion point.
      table: float32 [(ROW - 1) * every + 2 * reach + 1, (DEGREE + 1) * ROW]: samples in, the polynomials'
        coefficients at ROW expansion points out, all constant terms first.
      rows: how many rows of ROW expansion points are multiplied at once.
      points: expansion points in a block, a multiple of ROW * rows.
    """

    every: int
    reach: int
    table: np.ndarray
    rows: int
    points: int


def _taps(rate_in_hz: float, rate_hz: int) -> _Taps:
    """The filter between two rates; a constant passes it unchanged at every position."""
    ratio = rate_in_hz / rate_hz
    lower = max(1.0, ratio)  # the lower rate's period, in input samples
    every = int(lower)
    reach = int(np.ceil(HALF_WIDTH * lower + every / 2))
    # Interpolated at Chebyshev's points, which are within a hair of the best polynomials; one of them is 0.
    points = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
    distance = (points[:, None] * every / 2 - np.arange(-reach, reach + 1)) / lower  # [DEGREE + 1, taps]
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(1 - (distance / HALF_WIDTH) ** 2, 0)))
    taps = np.where(np.abs(distance) <= HALF_WIDTH, np.sinc(distance) * window, 0)
    taps /= taps.sum(axis=1, keepdims=True)
    coefficients = np.linalg.solve(np.vander(points, increasing=True), taps)  # [DEGREE + 1, taps]
    table = np.zeros(((ROW - 1) * every + 2 * reach + 1, DEGREE + 1, ROW), np.float32)
    for point in range(ROW):
        table[point * every : point * every + 2 * reach + 1, :, point] = coefficients.T
    rows = max(ROW, ONE_CORE // table.size)
    blocks = max(1, round(AT_ONCE / (rows * ROW * max(every, 1 / ratio))))
    return _Taps(every, reach, table.reshape(len(table), -1), rows, blocks * rows * ROW)


class _Stretch:
    """Samples between two long gaps, turned into chunks as soon as all that a chunk depends on is there.

    Blocks of expansion points are counted from the stretch's first sample, and each sees only the samples within its
    taps' reach. So it does not matter which samples came in together.
    """

    def __init__(self, taps: _Taps, rate_hz: int):
        self._taps = taps
        self._rate_hz = rate_hz
        self._held: list[_Samples] = []
        self._point = 0  # first expansion point of the next block
        self._number = 0  # next grid number

    def add(self, time: np.ndarray, places: np.ndarray, signal: np.ndarray, clipped: np.ndarray) -> Iterator[Chunk]:
        """Takes samples in, each `places` after the one before it."""
        if self._held:
            index = np.cumsum(places) + self._held[-1].index[-1]
        else:
            index = np.cumsum(places) - places[0]
            self._number = -(-int(time[0]) * self._rate_hz // 10**6)
        self._held.append(_Samples(time, index, signal, clipped))
        if index[-1] >= self._reached(self._taps.points)[1]:
            yield from self._blocks(end=False)

    def end(self) -> Iterator[Chunk]:
        """What is left, with the last value held."""
        if self._held:
            yield from self._blocks(end=True)

    def _reached(self, points: int) -> tuple[int, int]:
        """Places of the first and the last sample that the next `points` expansion points depend on."""
        every, reach = self._taps.every, self._taps.reach
        return self._point * every - reach, (self._point + points - 1) * every + reach

    def _blocks(self, end: bool) -> Iterator[Chunk]:
        held = _Samples(*map(np.concatenate, zip(*self._held, strict=True)))
        last = int(held.index[-1])
        points, unit = self._taps.points, self._taps.rows * ROW
        while end or last >= self._reached(points)[1]:
            # Up to the expansion point that is nearest to the last sample.
            left = (2 * last + self._taps.every) // (2 * self._taps.every) + 1 - self._point
            if left <= 0:
                break
            points = min(points, -(-left // unit) * unit)
            first, stop = self._reached(points)
            chunk = self._block(_between(held, first, stop), first, points)
            if len(chunk.flags):
                yield chunk
            self._point += points
            self._number += len(chunk.flags)
        self._held = [_Samples(*(array.copy() for array in _between(held, self._reached(1)[0], last)))]

    def _block(self, samples: _Samples, first: int, points: int) -> Chunk:
        """The grid times whose nearest expansion point is one of the next `points`."""
        every, reach, table, rows, _ = self._taps
        rate, channels = self._rate_hz, samples.signal.shape[1]
        begin = int(samples.time[0])
        # No later than the next block's first expansion point, lest the rest of a long joined gap be laid out here.
        end = np.ceil(np.interp((self._point + points) * every, samples.index, samples.time - begin))
        numbers = (begin + int(end)) * rate // 10**6 + 1 - self._number
        # Microseconds after the first sample, from whole numbers: 1970 is too far away for float64.
        grid = (self._number * 10**6 - begin * rate + np.arange(numbers) * 10**6) / rate
        position = np.interp(grid, samples.time - begin, samples.index) / every - self._point  # in expansion points
        point = np.floor(position + 0.5).astype(np.int64)
        # Never below 0: half-way between two blocks, what the one before rounded up may be rounded down here.
        point = np.maximum(point[: np.searchsorted(point, points)], 0)
        distance = (2 * (position[: len(point)] - point)).astype(np.float32)  # -1 to 1

        even = _evenly(samples, first, (points - 1) * every + 2 * reach + 1)  # [C, (points - 1) * every + taps]
        windows = np.lib.stride_tricks.sliding_window_view(even, len(table), axis=1)[:, :: ROW * every]
        coefficients = (windows.reshape(-1, rows, len(table)) @ table).reshape(channels, -1)
        at = point // ROW * ((DEGREE + 1) * ROW) + point % ROW
        signal = np.empty((channels, len(point)), np.float32)
        for out, terms in zip(signal, coefficients, strict=True):
            out[:] = terms[DEGREE * ROW :].take(at)
            for degree in range(DEGREE - 1, -1, -1):
                out *= distance
                out += terms[degree * ROW :].take(at)
        return Chunk(self._number, np.ascontiguousarray(signal.T), self._flags(samples, len(point)))

    def _flags(self, samples: _Samples, numbers: int) -> np.ndarray:
        """uint8 [numbers] of the next grid numbers; clipped samples are seen as far as the taps reach."""
        rate, flags = self._rate_hz, np.zeros(numbers, np.uint8)
        gap = np.flatnonzero(np.diff(samples.index) > 1)
        clip = samples.time[samples.clipped] * rate
        # All numbers strictly between the two samples; all from one number before the sample to one after it.
        between = samples.time[gap] * rate // 10**6 + 1, -(-samples.time[gap + 1] * rate // 10**6)
        around = -(-clip // 10**6) - 1, clip // 10**6 + 2
        for flag, ranges in ((FILLED, between), (CLIPPED, around)):
            if len(ranges[0]):
                begins, ends = (
                    np.bincount(np.clip(r - self._number, 0, numbers), minlength=numbers + 1) for r in ranges
                )
                flags[(np.cumsum(begins - ends) > 0)[:numbers]] |= flag
        return flags


def _between(samples: _Samples, first: int, last: int) -> _Samples:
    """The samples at the places from `first` to `last`, and those next to them where these are to be filled."""
    begin = max(int(np.searchsorted(samples.index, first, side="right")) - 1, 0)
    end = int(np.searchsorted(samples.index, last)) + 1
    return _Samples(*(array[begin:end] for array in samples))


def _evenly(samples: _Samples, first: int, places: int) -> np.ndarray:
    """float32 [C, places] from place `first` on: gaps filled with a straight line, values held beyond the ends."""
    index = samples.index
    if index[0] == first and len(index) == places == index[-1] - first + 1:
        return np.ascontiguousarray(samples.signal.T, np.float32)
    wanted = np.arange(first, first + places)
    return np.stack([np.interp(wanted, index, axis).astype(np.float32) for axis in samples.signal.T])
