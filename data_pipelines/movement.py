"""How much a window moves: by this, sampling prefers the windows in which something happens."""

import numpy as np

AT_ONCE = 3600  # seconds in float64 at a time: 12 MB for six channels at 50 Hz


def of_windows(counts: np.ndarray, scale: float, rate_hz: int, starts: np.ndarray, window: int) -> np.ndarray:
    """float32 [windows], g: the standard deviation within a second, mean over a window's whole seconds and axes.

    Seconds count from the beginning of the stretch, so those of a window that starts within a second are up to a
    second early. The moving standard deviation is the weight of Yuan et al. 2024 (doi 10.1038/s41746-024-01062-3).

    Args:
      counts: int16 [C, S], one stretch.
      scale: g per count.
      rate_hz: samples a second.
      starts: int64 [windows], first samples.
      window: samples, at least a second.
    """
    total = np.concatenate([[0.0], np.cumsum(_of_seconds(counts, rate_hz))])
    first, seconds = starts // rate_hz, window // rate_hz
    return ((total[first + seconds] - total[first]) * (scale / seconds)).astype(np.float32)


def _of_seconds(counts: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean over the axes of the standard deviation (population) in each whole second, float64, in counts."""
    seconds = counts.shape[1] // rate_hz
    found = np.empty(seconds)
    for first in range(0, seconds, AT_ONCE):
        last = min(first + AT_ONCE, seconds)
        block = counts[:, first * rate_hz : last * rate_hz].reshape(len(counts), -1, rate_hz)  # [C, seconds, rate]
        found[first:last] = block.std(axis=2, dtype=np.float64).mean(axis=0)
    return found
