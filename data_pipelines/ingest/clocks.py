"""How far one sensor's clock is from another's, told from the movements that both of a person's sensors record."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_pipelines.ingest.survey import BINS_HZ, SPAN_S, Survey

CHUNK_S, SHORT_CHUNK_S = 3600, 600  # the second for sensors that share less than SHORT_H
SHORT_H = 8
REACH_S = 60  # the largest lag that is looked for
SMOOTH_S, BASE_S = 1, 30  # steps look different at another place; how walking begins, slows down and ends does not
KNOWN_S = 300  # of a chunk that both must have recorded: five times the reach, chance correlates shorter ones
PEAK = 0.4  # correlation at the lag
SECOND, APART_S = 0.9, 2.0  # of the peak's height may be reached elsewhere, farther away than the peak is wide
FEWEST, AGREE_S, AGREE = 4, 0.3, 0.75  # chunks that agree, within how much, and which share of the clear ones
DRIFT_PPM = 200.0  # twice what two bad quartz clocks differ by
MOVES = 0.015  # standard deviation of what `_prepared` gives, in sqrt(g), of a sensor that moves in a chunk
TOGETHER = 0.1  # share of the chunks in which both move that reaches PEAK; next to none of strangers', most of pairs'
UNRELATED = "both sensors move, but not together: is the pairing right, are the clocks within a minute?"


@dataclasses.dataclass(frozen=True)
class Lag:
    """What happens at t by the reference's clock happens at t + lag by the other's.

    Attributes:
      offset_s: the lag at `at_us`; 0 with no drift where it is undecided.
      drift_ppm: microseconds by which it grows in a second.
      at_us: microseconds since 1970, by the reference's clock.
      from_us, until_us: where the drift is known; the lag stays as it is before and after.
      chunks: those with a clear lag.
      agreement: share of them within 0.3 s of the line.
      status: "aligned", or why it is undecided.
    """

    offset_s: float
    drift_ppm: float
    at_us: int
    from_us: int
    until_us: int
    chunks: int
    agreement: float
    status: str

    def at(self, time_us: np.ndarray) -> np.ndarray:
        """The lag in seconds, float64, at times by the reference's clock."""
        since = (np.clip(time_us, self.from_us, self.until_us) - self.at_us) / 1e6
        return self.offset_s + self.drift_ppm * 1e-6 * since

    def to_json(self) -> dict:
        """All of it, in plain values."""
        return dataclasses.asdict(self)


def clock_lag(reference: Survey, other: Survey, chunk_s: int | None = None) -> Lag:
    """The lag of the other sensor's clock, a line through the lags of single chunks.

    In each chunk the square roots of both envelopes, smoothed over a second and less their mean over 30 s, are
    correlated at lags within a minute. A chunk counts if both recorded 5 minutes of it, the correlation exceeds 0.4 at
    its peak, and nine tenths of that nowhere beyond 2 s from it. The line has the median of the slopes between all
    pairs of chunks; it is accepted if at least four chunks, three quarters of the clear ones, lie within 0.3 s of it
    and it drifts by at most 200 ppm, and then drawn anew through those. It holds as far beyond the first and last of
    them as these are apart. Where there is no such line, both move in at least four chunks, and the correlation exceeds
    0.4 in fewer than a tenth of these, the sensors are `UNRELATED`.

    Args:
      reference, other: of two sensors worn at the same time by one person.
      chunk_s: seconds, a multiple of 10; None for an hour, or ten minutes where both recorded less than eight hours.
    """
    if chunk_s is None:
        shared = len(np.intersect1d(reference.span, other.span)) * SPAN_S
        chunk_s = CHUNK_S if shared >= SHORT_H * 3600 else SHORT_CHUNK_S
    found = [_compared(*chunk) for chunk in _chunks(reference, other, chunk_s * 1_000_000)]
    clear = np.array([(chunk.time_us, chunk.lag_s) for chunk in found if chunk.lag_s is not None]).reshape(-1, 2)
    alike = [chunk.correlation >= PEAK for chunk in found if chunk.both_move]
    unrelated = UNRELATED if len(alike) >= FEWEST and sum(alike) < TOGETHER * len(alike) else ""
    if len(clear) < FEWEST:
        return undecided(unrelated or f"{len(clear)} chunks with a clear lag, at least {FEWEST} needed", len(clear))
    base = int(clear[0, 0])
    seconds, lags = (clear[:, 0] - base) / 1e6, clear[:, 1]
    first, second = np.triu_indices(len(clear), 1)
    slope = np.median((lags[second] - lags[first]) / (seconds[second] - seconds[first]))
    height = np.median(lags - slope * seconds)
    agree = np.abs(lags - height - slope * seconds) <= AGREE_S
    share = float(agree.mean())
    if agree.sum() < FEWEST or share < AGREE:
        few = f"only {agree.sum()} of {len(clear)} chunks with a clear lag agree on it"
        return undecided(unrelated or few, len(clear), share)
    seconds, lags = seconds[agree], lags[agree]
    middle = seconds.mean()
    slope = float(((seconds - middle) * lags).sum() / ((seconds - middle) ** 2).sum())
    if abs(slope) * 1e6 > DRIFT_PPM:
        return undecided(f"the lag would drift by {slope * 1e6:.0f} ppm, {DRIFT_PPM:g} possible", len(clear), share)
    apart = seconds[-1] - seconds[0]
    at, begin, end = (base + round(1e6 * s) for s in (middle, seconds[0] - apart, seconds[-1] + apart))
    return Lag(float(lags.mean()), slope * 1e6, at, begin, end, len(clear), share, "aligned")


def correct(time_us: np.ndarray, lag: Lag) -> np.ndarray:
    """Times of the other sensor by the reference's clock, int64, strictly increasing as they were.

    Args:
      time_us: int64 [S], microseconds since 1970 by the other clock, strictly increasing.
    """
    by_reference = time_us - lag.at(time_us) * 1e6  # but for the drift within the lag, up to 12 ms
    corrected = time_us - np.rint(lag.at(by_reference) * 1e6).astype(np.int64)
    if (np.diff(corrected) <= 0).any():  # steps of a microsecond, rounded
        count = np.arange(len(corrected))
        corrected = np.maximum.accumulate(corrected - count) + count
    return corrected


def undecided(why: str, chunks: int = 0, agreement: float = 0.0) -> Lag:
    """No correction, for this reason."""
    return Lag(0.0, 0.0, 0, 0, 0, chunks, agreement, why)


def _chunks(reference: Survey, other: Survey, chunk_us: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first microsecond, envelope [n], envelope [n]) of each chunk in which both have samples; nan where not."""
    spans = chunk_us // (SPAN_S * 1_000_000)
    numbers = [survey.span // spans for survey in (reference, other)]
    for number in np.intersect1d(*numbers):
        pair = []
        for survey, own in zip((reference, other), numbers, strict=True):
            envelope = np.full((spans, SPAN_S * BINS_HZ), np.nan)
            rows = slice(*np.searchsorted(own, [number, number + 1]))
            envelope[survey.span[rows] - number * spans] = survey.envelope[rows]
            pair.append(envelope.ravel())
        yield int(number) * chunk_us, *pair


class _Compared(NamedTuple):
    """What a chunk says.

    Attributes:
      time_us: microseconds since 1970, by the reference's clock, around which most moves.
      lag_s: None if it is not clear.
      correlation: the largest.
      both_move: whether both sensors do.
    """

    time_us: float = 0.0
    lag_s: float | None = None
    correlation: float = 0.0
    both_move: bool = False


def _compared(start_us: int, reference: np.ndarray, other: np.ndarray) -> _Compared:
    """Two envelopes [n] that begin at `start_us`."""
    if np.count_nonzero(np.isfinite(reference) & np.isfinite(other)) < KNOWN_S * BINS_HZ:
        return _Compared()
    reference, other = _prepared(reference), _prepared(other)
    energy = np.sqrt((reference**2).sum() * (other**2).sum())
    if energy == 0:
        return _Compared()
    reach = REACH_S * BINS_HZ
    size = len(reference) + reach  # so that nothing comes round from the other end
    product = np.conj(np.fft.rfft(reference, size)) * np.fft.rfft(other, size)
    correlation = np.fft.irfft(product, size)
    correlation = np.concatenate([correlation[-reach:], correlation[: reach + 1]]) / energy  # lags -reach ... reach
    peak = int(correlation.argmax())
    seconds = np.average(np.arange(len(reference)) / BINS_HZ, weights=reference**2)
    found = _Compared(
        time_us=start_us + seconds * 1e6,
        correlation=float(correlation[peak]),
        both_move=min(reference.std(), other.std()) >= MOVES,
    )
    far = np.abs(np.arange(len(correlation)) - peak) > APART_S * BINS_HZ
    at_the_end = peak in (0, len(correlation) - 1)
    if at_the_end or correlation[peak] < PEAK or correlation[far].max() > SECOND * correlation[peak]:
        return found
    left, top, right = correlation[peak - 1 : peak + 2]
    top_at = peak - reach + (left - right) / (2 * (left - 2 * top + right))  # of the parabola
    return found._replace(lag_s=top_at / BINS_HZ)


def _prepared(envelope: np.ndarray) -> np.ndarray:
    """The part of an envelope [n] that two places of the body share; zeros where nothing is known."""
    known = np.isfinite(envelope)
    movement = np.sqrt(envelope)  # or one jump would outweigh an hour of walking
    movement = np.where(known, movement - movement[known].mean(), 0)
    return np.where(known, _mean(movement, SMOOTH_S * BINS_HZ) - _mean(movement, BASE_S * BINS_HZ + 1), 0)


def _mean(values: np.ndarray, width: int) -> np.ndarray:
    """Moving mean over `width`, as long as `values`."""
    return np.convolve(values, np.full(width, 1 / width), "same")
