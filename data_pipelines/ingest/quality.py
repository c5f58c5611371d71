"""Which windows of a recording are kept, and what became of every second of it."""

import dataclasses

import numpy as np

from data_pipelines.ingest.regrid import CLIPPED, FILLED
from data_pipelines.stretches import runs_of
from data_pipelines.wear import AT_ONCE, PIECE_S, worn_spans

DAY_S = 86_400
MEASURED, WORN = 4, 8  # bits beside those of `regrid`: there is a sample; the sensor is worn
# Why seconds are in no window, in the order in which a second that fits several is counted.
REASONS = ("gap", "no partner", "other hours", "non-wear", "clipping", "joined gaps", "short")


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a window must fulfil.

    Attributes:
      rate_hz: samples a second.
      window: samples of a window.
      daytime: (first hour, hour after the last) of the day that are kept.
      nonwear_min: minutes of stillness that are non-wear; 0 switches the search off.
      max_joined, max_clipped, max_nonwear: shares of a window.
    """

    rate_hz: int
    window: int
    daytime: tuple[int, int] = (0, 24)
    nonwear_min: float = 90.0
    max_joined: float = 0.05
    max_clipped: float = 0.01
    max_nonwear: float = 0.1


@dataclasses.dataclass(frozen=True)
class Judged:
    """The result of `judge`.

    Attributes:
      stretches: ranges of samples of whole kept windows in a row.
      dropped_s: seconds in no window by reason, all of REASONS; with those in windows they make up the recording.
      wear_s: seconds in which all sensors are worn.
      samples: those that all sensors have.
      longest_s: the longest stretch between gaps, other hours and non-wear, in seconds.
      splits: gaps at which the recording was split.
      joined_gaps: those that were not.
    """

    stretches: list[slice]
    dropped_s: dict[str, float]
    wear_s: float
    samples: int
    longest_s: float
    splits: int
    joined_gaps: int


def mark_worn(counts: np.ndarray, flags: np.ndarray, scale_g: float, rules: Rules) -> None:
    """Sets the bit WORN in `flags` where a sensor has samples and is worn; see `wear.worn_spans`.

    Args:
      counts: int16 [3, S] of the sensor.
      flags: uint8 [S].
      scale_g: g per count.
    """
    length = PIECE_S * rules.rate_hz
    measured = flags & MEASURED != 0
    starts = np.arange(0, len(flags), length)  # of pieces; the last one may be shorter
    whole = len(flags) // length
    samples = measured[: whole * length].reshape(whole, length).sum(axis=1)
    if whole < len(starts):
        samples = np.append(samples, np.count_nonzero(measured[whole * length :]))
    std = np.zeros((len(starts), 3))
    for first in range(0, whole, AT_ONCE):
        last = min(first + AT_ONCE, whole)
        block = counts[:, first * length : last * length].reshape(3, -1, length)  # [3, pieces, T]
        std[first:last] = block.std(axis=2, dtype=np.float64).T
    for piece in np.flatnonzero((samples > 0) & (samples < length)):
        part = slice(starts[piece], starts[piece] + length)
        std[piece] = counts[:, part][:, measured[part]].std(axis=1)
    known = np.flatnonzero(samples)
    worn = np.zeros(len(starts), bool)
    worn[known] = worn_spans(known, std[known] * scale_g, rules.nonwear_min)
    measured &= np.repeat(worn, length)[: len(flags)]
    flags[measured] |= WORN


def judge(flags: np.ndarray, first: int, rules: Rules) -> Judged:
    """The windows to keep, and every other second by its reason.

    Windows lie side by side from the beginning of each run of the hours that are kept, with samples of all sensors and
    no gap. Those with too much non-wear, clipping or interpolation in any sensor are left out, for the first of these
    reasons that fits; what is left at the end of a run is short.

    Args:
      flags: uint8 [sensors, S], bits of `regrid` and MEASURED and WORN.
      first: number of the first sample on the grid, at first / rate_hz seconds since 1970.
    """
    rate, window = rules.rate_hz, rules.window
    alone = len(flags) == 1  # a view then, of what may be a hundred megabytes
    everywhere = flags[0] if alone else np.bitwise_and.reduce(flags, axis=0)  # MEASURED, WORN: in all sensors
    anywhere = flags[0] if alone else np.bitwise_or.reduce(flags, axis=0)  # FILLED, CLIPPED: in any of them
    measured = everywhere & MEASURED != 0
    in_day = _in_day(first, len(measured), rules)
    connected = runs_of(measured)
    kept = runs_of(measured & in_day)
    samples = dict.fromkeys(REASONS, 0)
    samples["gap"] = int(np.count_nonzero(anywhere & MEASURED == 0))
    samples["no partner"] = len(measured) - int(np.count_nonzero(measured)) - samples["gap"]
    samples["other hours"] = int(np.count_nonzero(measured & ~in_day))
    stretches: list[slice] = []
    for run in kept:
        number = (run.stop - run.start) // window
        end = run.start + number * window
        idle = run_share(everywhere[run.start : end] & WORN == 0, window) > rules.max_nonwear
        clipped = run_share(anywhere[run.start : end] & CLIPPED != 0, window) > rules.max_clipped
        joined = run_share(anywhere[run.start : end] & FILLED != 0, window) > rules.max_joined
        samples["non-wear"] += window * int(np.count_nonzero(idle))
        samples["clipping"] += window * int(np.count_nonzero(clipped & ~idle))
        samples["joined gaps"] += window * int(np.count_nonzero(joined & ~clipped & ~idle))
        samples["short"] += run.stop - end
        for good in runs_of(~(idle | clipped | joined)):
            stretches.append(slice(run.start + good.start * window, run.start + good.stop * window))
    worn_in_day = runs_of((everywhere & WORN != 0) & in_day & measured)
    return Judged(
        stretches=stretches,
        dropped_s={reason: count / rate for reason, count in samples.items()},
        wear_s=int(np.count_nonzero(everywhere & WORN)) / rate,
        samples=int(np.count_nonzero(measured)),
        longest_s=max((run.stop - run.start for run in worn_in_day), default=0) / rate,
        splits=max(len(connected) - 1, 0),
        joined_gaps=len(runs_of(measured & (anywhere & FILLED != 0))),
    )


def run_share(mask: np.ndarray, window: int) -> np.ndarray:
    """float64 [windows]: the share of True in each whole window of `mask`, whose length is a multiple of `window`."""
    return mask.reshape(-1, window).mean(axis=1)


def _in_day(first: int, samples: int, rules: Rules) -> np.ndarray:
    """bool [S], True in the hours that are kept."""
    begin, end = rules.daytime
    found = np.ones(samples, bool)
    if (begin, end) == (0, 24):
        return found
    day = DAY_S * rules.rate_hz
    start, stop = (begin, end) if begin < end else (end, begin)
    found[:] = begin > end
    for midnight in range(first // day * day, first + samples, day):  # the hours between, day by day
        a, b = midnight + start * 3600 * rules.rate_hz - first, midnight + stop * 3600 * rules.rate_hz - first
        found[max(a, 0) : max(b, 0)] = begin < end
    return found
