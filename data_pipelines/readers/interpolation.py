"""Straight lines between samples, for sensors that lose samples or do not share a clock."""

import numpy as np


def interpolate(time: np.ndarray, signal: np.ndarray, at: np.ndarray, max_gap_us: int) -> tuple[np.ndarray, np.ndarray]:
    """The signal at other times, float32 [N, C], and where it may be used, bool [N].

    It may not be used before the first sample, after the last, and between samples that are further apart than
    `max_gap_us`; what stands there is meaningless.

    Args:
      time: int64 [S], microseconds, strictly increasing, S >= 1.
      signal: [S, C].
      at: int64 [N], microseconds.
      max_gap_us: the longest step in microseconds that is bridged.
    """
    before = np.searchsorted(time, at, "right") - 1
    after = np.searchsorted(time, at, "left")  # that of `before` where there is a sample at this very time
    inside = (before >= 0) & (after < len(time))
    step = time[np.minimum(after, len(time) - 1)] - time[np.maximum(before, 0)]
    # Counted from the first sample: the arithmetic of np.interp is float64, and 1970 is long ago.
    lines = [np.interp(at - time[0], time - time[0], channel) for channel in signal.T]
    return np.stack(lines, axis=1).astype(np.float32), inside & (step <= max_gap_us)
