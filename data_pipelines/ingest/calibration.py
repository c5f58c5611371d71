"""Gain and offset of a sensor's axes, found from gravity: at rest every posture must read 1 g."""

import dataclasses
import math

import numpy as np

STILL_G = 0.013  # standard deviation on every axis; as in `data_pipelines.wear`
BEYOND_G = 2.0  # a mean farther out is no gravity
SPHERE_G = 0.3  # each axis must have been seen on both sides of this
FEWEST = 50  # still spans; the number of the UK Biobank processing tool
FARTHEST_G = 0.01  # mean error allowed afterwards, and the distance within which a span weighs no more
ITERATIONS, TOLERANCE = 1000, 1e-10
# Twice what accelerometers of this kind are specified with; beyond it something else than the calibration is wrong.
GAINS, OFFSET_G, TEMPERATURE_G = (0.8, 1.25), 0.5, 0.01
MOVED_G = 0.002  # a mean that changes by less on every axis is the same posture still
EVERY = 30  # of the spans in an unchanged posture one is used: one in five minutes
VARIES_C = 0.5  # standard deviation of the temperature from which on its effect can be told


@dataclasses.dataclass(frozen=True)
class Calibration:
    """g = gain * a + offset + temperature_gain * (T - temperature_mean), axis by axis.

    Attributes:
      gain: float64 [3]; ones where nothing is corrected, with zeros in the next two.
      offset: float64 [3], g.
      temperature_gain: float64 [3], g per degree Celsius; zeros where the temperature is unknown or hardly varies.
      temperature_mean: degrees Celsius, of the still spans; 0 if unknown.
      error_before_g: mean distance of |a| from 1 g over the still spans; nan without any.
      error_after_g: the same of what `apply` gives.
      spans: still spans that were used, see `calibrate`.
      status: "calibrated", or why nothing is corrected.
    """

    gain: np.ndarray
    offset: np.ndarray
    temperature_gain: np.ndarray
    temperature_mean: float
    error_before_g: float
    error_after_g: float
    spans: int
    status: str

    def to_json(self) -> dict:
        """All of it, in plain numbers; None where there is none."""
        values = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in vars(self).items()}
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


def calibrate(
    mean: np.ndarray,
    std: np.ndarray,
    temperature: np.ndarray | None = None,
    complete: np.ndarray | None = None,
    clipped: np.ndarray | None = None,
) -> Calibration:
    """The calibration of one sensor, from spans of 10 s as in `data_pipelines.ingest.survey`.

    Still are whole spans without clipping, below 0.013 g of standard deviation and within 2 g on every axis; a span
    that reads 0 g on all of them is no measurement. Each iteration regresses the closest points of the unit sphere,
    axis by axis, on the spans and their temperature; a span weighs 1 / distance, at most 100. What is found is kept
    if the error is then below 0.01 g and no larger than before, and if gains, offsets and effects of a degree are
    within 0.8 to 1.25, 0.5 g and 0.01 g.

    Where the posture does not change, one span in five minutes is used: else days on a cold table outweigh the
    week, and the temperature explains what is due to the posture. GGIR leaves out only spans that repeat exactly.

    Args:
      mean, std: [E, 3], g.
      temperature: [E], degrees Celsius; nan where unknown.
      complete: bool [E]; all if None.
      clipped: [E], share of clipped samples; none if None.

    Source: van Hees et al. 2014 (doi 10.1152/japplphysiol.00421.2014) and its implementation in the R package GGIR.
    """
    still = (std < STILL_G).all(axis=1) & (np.abs(mean) < BEYOND_G).all(axis=1) & (mean != 0).any(axis=1)
    still &= True if complete is None else complete
    still &= True if clipped is None else clipped == 0
    still = _thinned(mean, np.flatnonzero(still))
    points = np.asarray(mean, np.float64)[still]  # [N, 3]
    before = _error(points)

    def refused(why: str) -> Calibration:
        return Calibration(np.ones(3), np.zeros(3), np.zeros(3), 0.0, before, before, len(points), why)

    if len(points) < FEWEST:
        return refused(f"{len(points)} still spans of 10 s apart in posture or time, at least {FEWEST} needed")
    missing = [
        sign + axis
        for axis, low, high in zip("xyz", points.min(axis=0), points.max(axis=0), strict=True)
        for sign, seen in (("-", low < -SPHERE_G), ("+", high > SPHERE_G))
        if not seen
    ]
    if missing:
        return refused(f"no still span with {' or '.join(missing)} beyond {SPHERE_G} g")
    warmth, temperature_mean = _warmth(temperature, still)
    coefficients = _fit(points, warmth)  # [3, 2 or 3]
    gain, offset = coefficients[:, 1], coefficients[:, 0]
    temperature_gain = coefficients[:, 2] if warmth is not None else np.zeros(3)
    after = _error(gain * points + offset + (0 if warmth is None else warmth[:, None] * temperature_gain))
    if not after < FARTHEST_G:
        return refused(f"mean error {after:.4f} g after the fit, below {FARTHEST_G} g needed")
    if after > before:
        return refused(f"mean error {after:.4f} g after the fit, {before:.4f} g before it")
    for name, values, low, high in (
        ("gain", gain, *GAINS),
        ("offset in g", offset, -OFFSET_G, OFFSET_G),
        ("effect of a degree Celsius in g", temperature_gain, -TEMPERATURE_G, TEMPERATURE_G),
    ):
        if (values < low).any() or (values > high).any():
            found = ", ".join(f"{value:.3f}" for value in values)
            return refused(f"{name} of x, y, z would be {found}, {low} to {high} possible")
    return Calibration(
        gain, offset, temperature_gain, temperature_mean, before, after, len(points), status="calibrated"
    )


def apply(acceleration: np.ndarray, temperature: np.ndarray | None, calibration: Calibration) -> np.ndarray:
    """The calibrated acceleration, float32 [S, 3], g; the input itself if nothing is corrected.

    Args:
      acceleration: [S, 3], g.
      temperature: [S], degrees Celsius; where it is None or nan, that of the calibration's mean is assumed.
    """
    if calibration.status != "calibrated":
        return np.asarray(acceleration, np.float32)
    corrected = np.asarray(acceleration, np.float32) * calibration.gain.astype(np.float32)
    corrected += calibration.offset.astype(np.float32)
    if temperature is not None and calibration.temperature_gain.any():
        warmth = np.nan_to_num(np.asarray(temperature, np.float32) - np.float32(calibration.temperature_mean))
        corrected += warmth[:, None] * calibration.temperature_gain.astype(np.float32)
    return corrected


def _thinned(mean: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Those rows [N] among the still ones that change the posture or are one of `EVERY` in it."""
    row = np.arange(len(still))
    moved = (np.abs(np.diff(mean[still], axis=0, prepend=np.inf)) >= MOVED_G).any(axis=1)
    return still[(row - np.maximum.accumulate(np.where(moved, row, 0))) % EVERY == 0]


def _warmth(temperature: np.ndarray | None, still: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Degrees above the mean of the still spans [N] and that mean; None if unknown or hardly varying."""
    known = np.zeros(0) if temperature is None else np.asarray(temperature, np.float64)[still]
    if np.isfinite(known).sum() < FEWEST:
        return None, 0.0
    mean = float(np.nanmean(known))
    warmth = np.nan_to_num(known - mean)
    return (warmth if warmth.std() >= VARIES_C else None), mean


def _fit(points: np.ndarray, warmth: np.ndarray | None) -> np.ndarray:
    """Offset, gain and effect of the temperature (if any) of each axis, float64 [3, 2 or 3]."""
    ones = np.ones(len(points))
    columns = [ones] if warmth is None else [ones, warmth]
    design = np.stack([np.stack([ones, axis, *columns[1:]]) for axis in points.T])  # [3, 2 or 3, N]
    coefficients = np.zeros(design.shape[:2])
    coefficients[:, 1] = 1
    weight, last = ones, math.inf
    for _ in range(ITERATIONS):
        current = np.einsum("ck,ckn->nc", coefficients, design)
        closest = current / np.linalg.norm(current, axis=1, keepdims=True)
        weighted = design * weight
        normal, target = weighted @ design.swapaxes(1, 2), np.einsum("ckn,nc->ck", weighted, closest)
        coefficients = np.linalg.solve(normal, target[..., None])[..., 0]
        square = ((np.einsum("ck,ckn->nc", coefficients, design) - closest) ** 2).sum(axis=1)
        residual = float((weight * square).sum() / weight.sum())
        weight = np.minimum(1 / np.sqrt(np.maximum(square, 1e-12)), 1 / FARTHEST_G)
        if abs(residual - last) < TOLERANCE:
            break
        last = residual
    return coefficients


def _error(points: np.ndarray) -> float:
    """Mean distance of |a| from 1 g; nan without points."""
    return float(np.abs(np.linalg.norm(points, axis=1) - 1).mean()) if len(points) else math.nan
