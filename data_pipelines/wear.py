"""Where a sensor was worn: what lies still for an hour and a half is on a table, not on a person."""

import numpy as np

from data_pipelines.stretches import runs_of

PIECE_S = 10
BRIDGED_S = 600  # of a gap within a rest
STILL_G = 0.013  # standard deviation; noise of a sensor at rest stays below it, breathing and pulse do not for long
AT_ONCE = 256  # pieces in float64 at a time: 20 MB for six channels at 100 Hz


def non_wear(acceleration: np.ndarray, rate_hz: float, minutes: float = 90.0, std_g: float = STILL_G) -> np.ndarray:
    """bool [S], True where the sensors were not worn.

    That is in runs of at least `minutes` in which every whole 10 s piece has a standard deviation below `std_g`
    on every axis of every sensor. Samples at the end that fill no piece follow the piece before them. Threshold
    and axes are those of the UK Biobank processing (Doherty et al. 2017, doi 10.1371/journal.pone.0169649), which
    asks for 60 minutes; the idea is that of van Hees et al. 2011 (doi 10.1371/journal.pone.0022922).

    Args:
      acceleration: [S, C], g, without gaps.
      rate_hz: samples a second.
      minutes: the shortest run that counts; 0 switches the search off.
      std_g: g, or whatever `acceleration` is in.
    """
    found = np.zeros(len(acceleration), bool)
    length = round(PIECE_S * rate_hz)
    pieces = len(acceleration) // length
    if minutes <= 0 or pieces == 0:
        return found
    still = np.empty(pieces, bool)
    for first in range(0, pieces, AT_ONCE):
        last = min(first + AT_ONCE, pieces)
        piece = acceleration[first * length : last * length].reshape(last - first, length, -1)  # [N, T, C]
        still[first:last] = (piece.std(axis=1, dtype=np.float64) < std_g).all(axis=1)
    for run in runs_of(still):
        if (run.stop - run.start) * PIECE_S >= minutes * 60:
            found[run.start * length : run.stop * length if run.stop < pieces else None] = True
    return found


def worn(segments: list[slice], acceleration: np.ndarray, rate_hz: float, minutes: float) -> list[slice]:
    """The sample ranges of each segment in which the sensors were worn; each segment is judged on its own.

    Args:
      segments: ranges without a gap, in samples.
      acceleration: [S, C], g.
      rate_hz: samples a second.
      minutes: see `non_wear`; 0 gives the segments back.
    """
    return [
        slice(segment.start + run.start, segment.start + run.stop)
        for segment in segments
        for run in runs_of(~non_wear(acceleration[segment], rate_hz, minutes))
    ]


def worn_spans(span: np.ndarray, std: np.ndarray, minutes: float, std_g: float = STILL_G) -> np.ndarray:
    """bool [E], False for the spans of 10 s in which a sensor was not worn.

    As `non_wear`, of statistics; a gap of up to ten minutes does not end a rest, as damaged files have many.

    Args:
      span: int64 [E], numbers of the spans, increasing; where they leave some out there is a gap.
      std: [E, 3], g.
      minutes, std_g: see `non_wear`.
    """
    worn = np.ones(len(span), bool)
    if minutes <= 0:
        return worn
    still = (std < std_g).all(axis=1)
    for part in np.split(np.arange(len(span)), np.flatnonzero(np.diff(span) > BRIDGED_S // PIECE_S) + 1):
        for rest in runs_of(still[part]):
            first, last = part[rest][[0, -1]]
            if (span[last] - span[first] + 1) * PIECE_S >= minutes * 60:
                worn[first : last + 1] = False
    return worn
