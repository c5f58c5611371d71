"""Turns sensors into the axes of HUNT4, and notices those that are worn another way.

Seen from the person, back: x down, y left, z forward; thigh: x down, y right, z backward. A sensor at rest reads 1 g
along the direction that is up: standing gives -1 g on x of both, sitting -1 g on z of the thigh.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.contract import Recording, channels_of

FEWEST_S = 1.0  # of standing or sitting; less says nothing about how the sensor is worn
LARGEST_ANGLE = 45.0  # degrees between gravity and its axis; beyond it another axis is nearer


def rotate(recording: Recording, rotations: Mapping[str, np.ndarray]) -> Recording:
    """The recording with the axes of some sensors turned; the other sensors stay as they are.

    Args:
      recording: acceleration [S, C] in g with named channels.
      rotations: place such as "thigh" -> R [3, 3]; what comes out is R @ [x, y, z].

    Raises:
      ValueError: a matrix that is no proper rotation (orthogonal, determinant +1), or a sensor that is not there.
    """
    acceleration = recording.acceleration.copy()
    for sensor, matrix in rotations.items():
        matrix = np.asarray(matrix, np.float32)
        orthogonal = matrix.shape == (3, 3) and np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
        if not orthogonal or np.linalg.det(matrix) < 0:
            raise ValueError(
                f"the rotation of the {sensor} sensor is {matrix.tolist()}, expected a 3 x 3 matrix that is orthogonal "
                "and has determinant +1: negate one of its rows if it mirrors"
            )
        columns = _columns(recording, sensor)
        acceleration[:, columns] = recording.acceleration[:, columns] @ matrix.T  # [S, 3]
    return dataclasses.replace(recording, acceleration=acceleration)


def check_gravity(recording: Recording, standing: Sequence[int], sitting: Sequence[int] = ()) -> None:
    """Warns, one sentence a sensor, where gravity is more than 45 degrees from the axis that HUNT4 has it on.

    A warning and no error, as single people wear their sensors wrongly. With less than a second of standing (or
    sitting) nothing is checked.

    Args:
      recording: labelled, acceleration [S, C] in g.
      standing: codes during which every sensor should read -1 g on x.
      sitting: codes during which a thigh sensor should read -1 g on z.
    """
    sensors = dict.fromkeys(channel.rpartition("_")[0] for channel in recording.channels)
    for sensor in sensors:
        _check_axis(recording, sensor, standing, "standing", 0)
        if sensor == "thigh":
            _check_axis(recording, sensor, sitting, "sitting", 2)


def _check_axis(recording: Recording, sensor: str, codes: Sequence[int], posture: str, axis: int) -> None:
    samples = np.isin(recording.label, list(codes))
    if np.count_nonzero(samples) < FEWEST_S * recording.rate_hz:
        return
    median = np.median(recording.acceleration[samples][:, _columns(recording, sensor)], axis=0)  # [3]
    length = float(np.linalg.norm(median))
    if length and -median[axis] / length >= math.cos(math.radians(LARGEST_ANGLE)):
        return
    found = int(np.argmax(np.abs(median)))
    sign, opposite = "+-" if median[found] > 0 else "-+"
    values = ", ".join(f"{value:.2f}" for value in median)
    old, new = "xyz"[found], "xyz"[axis]
    warnings.warn(
        f"{recording.name}: while {posture} the {sensor} sensor reads ({values}) g, so that up is {sign}{old}, "
        f"expected -{new}: its axis {opposite}{old} would have to become {new}",
        stacklevel=3,
    )


def _columns(recording: Recording, sensor: str) -> list[int]:
    wanted = channels_of([sensor])
    if not set(wanted) <= set(recording.channels):
        raise ValueError(f"{recording.name}: holds no {sensor} sensor, only {', '.join(recording.channels)}")
    return [recording.channels.index(channel) for channel in wanted]
