"""Whether a file agrees with what is declared of it: the names of its columns, its unit and its rate."""

import difflib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_pipelines.readers.checks import RATE_TOLERANCE, STANDARD_GRAVITY

UNITS = {"g": 1.0, "mg": 1e-3, "m/s2": 1 / STANDARD_GRAVITY}  # g each
CHECKED_S = 10
LIGHTEST_G, HEAVIEST_G = 0.5, 2.0  # median magnitude of a sensor on a person, or on a table
SURE_G = (0.8, 1.25)  # of one whose unit may be told from it


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that is most like another one, whatever their case; None if none is."""
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_lower, 1)
    return by_lower[near[0]] if near else None


def check_rate(path: Path, rate_hz: float, time: np.ndarray, rows: int) -> bool:
    """True if `time` (int64 [N], microseconds, increasing) shows the rate; False where less than 10 s do not tell.

    Args:
      rows: how many rows `time` is of, those whose time was not later than the one before included.

    Raises:
      ValueError: it shows another one.
    """
    if max(len(time), rows / 2) < CHECKED_S * rate_hz or len(time) < 3:
        return False
    step = np.diff(time)
    # The mean of the steps that are no gaps, as a clock in milliseconds shows 6 and 7 ms at 150 Hz, never 6.67.
    found = 1e6 / float(step[step < 1.5 * np.median(step)].mean())
    if abs(found / rate_hz - 1) <= RATE_TOLERANCE:
        return True
    advice = "correct rate or time_unit"
    if len(time) < rows / 2:
        advice = "most times repeat the one before, leave time out and give start= if samples are regular"
    raise ValueError(
        f"{path}: the first {rows} rows show {found:.4g} different times a second, --columns says rate={rate_hz:g}: "
        f"{advice}"
    )


def check_unit(path: Path, unit: str, rate_hz: float, acceleration: np.ndarray) -> bool:
    """True if `acceleration` (float32 [N, 3], g) shows gravity; False where less than 10 s do not tell.

    Zeros do not count: some devices write them while they sleep.

    Raises:
      ValueError: naming the unit that fits, if one does.
    """
    magnitude = np.linalg.norm(acceleration, axis=1)  # [N]
    magnitude = magnitude[magnitude > 0]
    if len(magnitude) < CHECKED_S * rate_hz:
        return False
    median = float(np.median(magnitude))
    if LIGHTEST_G <= median <= HEAVIEST_G:
        return True
    found = median / UNITS[unit]
    fitting = [name for name, factor in UNITS.items() if SURE_G[0] <= found * factor <= SURE_G[1]]
    raise ValueError(
        f"{path}: the median magnitude of the first {len(magnitude)} rows is {found:.4g} {unit}, expected about "
        f"{1 / UNITS[unit]:.4g}, which is gravity: "
        + (
            f"give unit={fitting[0]}"
            if fitting
            else "wrong columns or unit; counts must be converted to g, mg or m/s2 first"
        )
    )
