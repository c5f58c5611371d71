"""What one pass over a raw sensor file tells about it: 10-s statistics, and how much it moves ten times a second."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from data_pipelines.raw import Piece

SPAN_S = 10  # the length of the spans whose standard deviation tells stillness, see Source of `survey`
BINS_HZ = 10  # of the envelope
COMPLETE = 0.9  # of the nominal samples; a span with fewer says little about 10 s
# A 10-bit sample at the end of its range is 1/512 of the range below it; nothing but clipping lies so close.
CLIPPED = 0.998
AT_ONCE = 1 << 15  # samples; so many stay in the processor's cache with all that is computed from them


@dataclasses.dataclass(frozen=True)
class Survey:
    """Statistics of the spans of 10 s that hold samples; time without any takes no memory.

    Spans are counted from 1970 by the device's clock, so that the sensors of a person share them.

    Attributes:
      span: int64 [E], strictly increasing; a span lasts from `10 * span` to `10 * (span + 1)` seconds since 1970.
      samples: int64 [E].
      mean: float64 [E, 3], g.
      std: float64 [E, 3], g; that of the population.
      temperature: float64 [E], mean in degrees Celsius, nan where the file has none.
      clipped: float64 [E], share of the samples with an axis at the end of the device's range; 0 if it is unknown.
      complete: bool [E], False where more than a tenth of the nominal samples is missing.
      envelope: float32 [E, 100], mean distance of |a| from 1 g within each 0.1 s of a span; nan where that is empty.
    """

    span: np.ndarray
    samples: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    temperature: np.ndarray
    clipped: np.ndarray
    complete: np.ndarray
    envelope: np.ndarray


def survey(pieces: Iterable[Piece], rate_hz: float, range_g: float | None = None) -> Survey:
    """The statistics of a recording; how it is cut into pieces changes no bit of them.

    Args:
      pieces: in order of time, which increases strictly; read once.
      rate_hz: nominal samples a second.
      range_g: of the device; None if unknown.

    Source: spans of 10 s as in van Hees et al. 2014 (doi 10.1152/japplphysiol.00421.2014).
    """
    found = []
    rest: list[Piece] = []  # of the span that the next piece may go on with
    for piece in pieces:
        for first in range(0, len(piece.time), AT_ONCE):
            part = _cut(piece, slice(first, first + AT_ONCE))
            span = part.time // (SPAN_S * 1_000_000)
            if rest and rest[-1].time[-1] // (SPAN_S * 1_000_000) == span[-1]:
                rest.append(part)
                continue
            last = int(np.searchsorted(span, span[-1]))  # where the last span begins
            found += _spans([*rest, _cut(part, slice(last))], range_g)
            rest = [_cut(part, slice(last, None))]
    found += _spans(rest, range_g)
    if not found:
        nothing = np.zeros(0)
        axes, bins = np.zeros((0, 3)), np.zeros((0, SPAN_S * BINS_HZ), np.float32)
        found.append((nothing.astype(int), nothing.astype(int), axes, axes, nothing, nothing, bins))
    *statistics, envelope = (np.concatenate(values) for values in zip(*found, strict=True))
    return Survey(*statistics, statistics[1] >= COMPLETE * SPAN_S * rate_hz, envelope)


def clipped(acceleration: np.ndarray, range_g: float | None) -> np.ndarray:
    """bool [N], True for the samples with an axis at the end of the device's range; none if that is unknown.

    Args:
      acceleration: [N, 3], g, as the device gave it.
      range_g: of the device; None if unknown.
    """
    if range_g is None:
        return np.zeros(len(acceleration), bool)
    limit = np.float32(CLIPPED * range_g)
    x, y, z = np.abs(acceleration).T
    return (x >= limit) | (y >= limit) | (z >= limit)


def _cut(piece: Piece, part: slice) -> Piece:
    """Time, acceleration and temperature of some of the samples."""
    return Piece(
        piece.time[part], piece.acceleration[part], None if piece.temperature is None else piece.temperature[part]
    )


def _spans(pieces: list[Piece], range_g: float | None) -> list[tuple[np.ndarray, ...]]:
    """One tuple with the fields of `Survey` but `complete`, of pieces that hold whole spans; none of no samples."""
    pieces = [piece for piece in pieces if len(piece.time)]
    if not pieces:
        return []
    time, acceleration = (np.concatenate([piece[field] for piece in pieces]) for field in (0, 1))
    number = time // (1_000_000 // BINS_HZ)
    bins = np.flatnonzero(np.diff(number, prepend=number[0] - 1))  # [b], first samples
    in_bin = np.diff(bins, append=len(number))
    span_of_bin, place = np.divmod(number[bins], SPAN_S * BINS_HZ)
    spans = np.flatnonzero(np.diff(span_of_bin, prepend=span_of_bin[0] - 1))  # [e], first bins
    samples = np.add.reduceat(in_bin, spans)

    def mean_of(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, bins[spans]) / samples

    axes = np.ascontiguousarray(acceleration.T, np.float64)  # [3, N]
    mean = np.stack([mean_of(axis) for axis in axes])  # [3, e]
    # About the mean: of squares about zero a sensor at rest would keep half its digits.
    std = np.sqrt([mean_of((axis - np.repeat(centre, samples)) ** 2) for axis, centre in zip(axes, mean, strict=True)])
    x, y, z = axes
    movement = np.abs(np.sqrt(x * x + y * y + z * z) - 1)
    envelope = np.full((len(spans), SPAN_S * BINS_HZ), np.nan, np.float32)
    row = np.repeat(np.arange(len(spans)), np.diff(spans, append=len(bins)))
    envelope[row, place] = np.add.reduceat(movement, bins) / in_bin
    share = mean_of(clipped(acceleration, range_g).astype(np.float64))
    temperature = np.full(len(spans), np.nan)
    if all(piece.temperature is not None for piece in pieces):
        temperature = mean_of(np.concatenate([piece.temperature for piece in pieces]).astype(np.float64))
    return [(span_of_bin[spans], samples, mean.T, std.T, temperature, share, envelope)]
