"""Where a sensor was worn: what lies still for an hour and a half is on a table, not on a person."""

import numpy as np

PIECE_S = 10
AT_ONCE = 256  # pieces in float64 at a time: 20 MB for six channels at 100 Hz


def non_wear(acceleration: np.ndarray, rate_hz: float, minutes: float = 90.0, std_g: float = 0.013) -> np.ndarray:
    """bool [S], True where the sensors were not worn.

    That is in runs of at least `minutes` in which every whole 10 s piece has a standard deviation below `std_g`
    on every axis of every sensor. Samples at the end that fill no piece follow the piece before them. Threshold
    and axes are those of the UK Biobank processing (Doherty et al. 2017, doi 10.1371/journal.pone.0169649), which
    asks for 60 minutes; the idea is that of van Hees et al. 2011 (doi 10.1371/journal.pone.0022922).

    Args:
      acceleration: [S, C], g, without gaps.
      rate_hz: samples a second.
      minutes: the shortest run that counts; 0 switches the search off.
      std_g: g; noise of a sensor at rest stays below it, breathing and pulse of a wearer do not for long.
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
    for begin, end in _runs(still):
        if (end - begin) * PIECE_S >= minutes * 60:
            found[begin * length : end * length if end < pieces else None] = True
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
        slice(segment.start + begin, segment.start + end)
        for segment in segments
        for begin, end in _runs(~non_wear(acceleration[segment], rate_hz, minutes))
    ]


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first, one past the last) of each run of True in `mask` [S]."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(begin), int(end)) for begin, end in change.reshape(-1, 2)]
