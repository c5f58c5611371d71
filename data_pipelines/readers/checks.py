"""What every reader checks in the signal it has read; a failure is one sentence that starts with the file."""

from collections.abc import Sequence

import numpy as np

from selfpab_jax.signals.stft import SAMPLE_RATE_HZ

STEP_US = 1_000_000 // SAMPLE_RATE_HZ
RATE_TOLERANCE = 0.05
# Whatever a person does, gravity dominates: the median magnitude of a worn sensor is 1 g, or 9.8 m/s^2.
METRIC_FROM, METRIC_TO = 4.0, 20.0
STANDARD_GRAVITY = 9.80665


def row_text(index: int, header_lines: int = 1) -> str:
    """`row 6 (line 7)`: data rows count from 1, lines include the header; without one they are the same."""
    return f"row {index + 1}" + (f" (line {index + 1 + header_lines})" if header_lines else "")


def check_increasing(time: np.ndarray, where: str, header_lines: int = 1):
    """Raises ValueError naming the first row of `time` (int64 [S], microseconds) that is not later than the last."""
    step = np.diff(time)
    stuck = np.flatnonzero(step <= 0)
    if stuck.size:
        first = int(stuck[0])
        back = -int(step[first]) / 1e6
        found = f"goes back by {back:g} s" if back else "repeats the one before"
        raise ValueError(
            f"{where}: the timestamp of {row_text(first + 1, header_lines)} {found}; timestamps must increase: sort "
            "the rows or remove the overlap"
        )


def check_time(time: np.ndarray, where: str, rate_hz: float, header_lines: int = 1):
    """Raises ValueError unless `time` (int64 [S], microseconds) increases in steps of about 1 / rate_hz."""
    check_increasing(time, where, header_lines)
    median = float(np.median(np.diff(time)))
    if abs(median * rate_hz / 1e6 - 1) > RATE_TOLERANCE:
        raise ValueError(
            f"{where}: the sampling rate is {1e6 / median:.4g} Hz (median step {median / 1000:g} ms from row "
            f"1 on), expected {rate_hz:g} Hz ({1000 / rate_hz:g} ms): resample the recording first"
        )


def check_finite(acceleration: np.ndarray, where: str, channels: Sequence[str]):
    """Raises ValueError naming the first row and channel of `acceleration` [S, C] that is NaN or infinite."""
    bad = ~np.isfinite(acceleration)
    if bad.any():
        row, channel = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{where}: {channels[channel]} of row {row + 1} is {acceleration[row, channel]}; every value "
            "must be a finite number: remove such rows, the gap is handled"
        )


def check_unit(acceleration: np.ndarray, where: str, channels: Sequence[str]):
    """Raises ValueError if a sensor of `acceleration` [S, C], three channels each, is in m/s^2 or raw counts."""
    for first in range(0, len(channels), 3):
        sensor = channels[first].rpartition("_")[0]
        magnitude = float(np.median(np.linalg.norm(acceleration[:, first : first + 3], axis=1)))
        if METRIC_FROM <= magnitude <= METRIC_TO:
            raise ValueError(
                f"{where}: the {sensor} sensor seems to be in m/s^2 (median magnitude {magnitude:.2f} over "
                f"all rows from row 1 on), expected g (about 1): divide all axes by {STANDARD_GRAVITY}"
            )
        if magnitude > METRIC_TO:
            raise ValueError(
                f"{where}: the {sensor} sensor seems to be in raw counts (median magnitude {magnitude:.4g} "
                "over all rows "
                f"from row 1 on), expected g (about 1): divide by the counts per g of the device"
            )
