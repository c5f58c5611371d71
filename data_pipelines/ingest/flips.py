"""Sensors worn upside down or inside out, told from unlabelled recordings, and orientations that a table states.

Axes are those of HUNT4, see `data_pipelines.orientation`: a sensor at rest reads 1 g along the direction that is up,
so that walking gives -1 g on x of back and thigh, and sitting -1 g on z of the thigh.
"""

import dataclasses
import math

import numpy as np

WALKING_G = (0.1, 1.0)  # standard deviation of the axis nearest to gravity; a car's or a turn in bed's is smaller
STEADY_G = 0.2  # how far the length of the mean may be from 1 g
FEWEST_WALKING = 6  # spans of 10 s: a minute
CLEAR_G = 0.5  # of the median of x while walking
ACROSS_G, ALONG_G = 0.5, 0.7  # sitting or lying: |x| below the first, |z| above the second
FEWEST_SITTING = 60  # ten minutes
AGREE = 0.8  # of the spans on the same side; fewer may be a sensor that was turned while worn, or a prone sleeper

RIGHT, WRONG, UNDECIDED, NOT_CHECKED = "right", "wrong", "undecided", "not checked"
_STATUS = {(False, False): "as worn", (True, False): "upside down", (False, True): "inside out"}


@dataclasses.dataclass(frozen=True)
class Flip:
    """How a sensor must be turned so that its axes are those of HUNT4.

    Attributes:
      matrix: int64 [3, 3], a half turn or none; what comes out is matrix @ [x, y, z].
      status: "as worn", "upside down", "inside out", "upside down and inside out", "undecided" or "not checked".
      x, z: what the rule says of these axes: "right", "wrong", "undecided" or "not checked".
      walking, sitting: spans that were looked at.
      walking_x, sitting_z: median g in them; nan without any. For the back the second is that of lying.
    """

    matrix: np.ndarray
    status: str
    x: str
    z: str
    walking: int
    walking_x: float
    sitting: int
    sitting_z: float

    def to_json(self) -> dict:
        """All of it, in plain values; None where there is none."""
        values = vars(self) | {"matrix": self.matrix.tolist()}
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


def find_flip(mean: np.ndarray, std: np.ndarray, place: str) -> Flip:
    """Whether a sensor of the back or thigh is worn upside down, or that of the thigh inside out.

    Walking are spans in which the axis nearest to gravity has a standard deviation of 0.1 to 1 g about a mean vector
    of 0.8 to 1.2 g: with x beyond 0.5 g in their median and of the same sign in four fifths, at least a minute long,
    x is right (negative) or wrong. Sitting are spans below 0.1 g of standard deviation with |x| < 0.5 g and
    |z| > 0.7 g: at least ten minutes, z of the same sign in four fifths, negative if right. Prone and supine cannot
    be told apart on a back, so its z is reported, never judged. Where x is undecided nothing is turned.

    Args:
      mean, std: [E, 3], g, calibrated, spans of 10 s as in `survey`, of worn time only: a sensor on a
        table lies as a thigh does that sits.
      place: "back" or "thigh"; any other, such as "wrist", is not checked.
    """
    if place not in ("back", "thigh"):
        return Flip(np.eye(3, dtype=int), NOT_CHECKED, NOT_CHECKED, NOT_CHECKED, 0, math.nan, 0, math.nan)
    nearest = np.abs(mean).argmax(axis=1, keepdims=True)
    swing = np.take_along_axis(std, nearest, axis=1)[:, 0]
    steady = np.abs(np.linalg.norm(mean, axis=1) - 1) < STEADY_G
    walking = mean[steady & (swing > WALKING_G[0]) & (swing < WALKING_G[1]), 0]
    flat = (np.abs(mean[:, 0]) < ACROSS_G) & (np.abs(mean[:, 2]) > ALONG_G)
    sitting = mean[flat & (std < WALKING_G[0]).all(axis=1), 2]
    x = _judge(walking, FEWEST_WALKING, CLEAR_G)
    z = _judge(sitting, FEWEST_SITTING, ALONG_G) if place == "thigh" else NOT_CHECKED
    matrix, status = np.eye(3, dtype=int), UNDECIDED
    if x != UNDECIDED:
        # A half turn negates two axes: y goes with whichever of x and z is wrong alone.
        down, back = x == WRONG, z == WRONG
        matrix = np.diag([-1 if down else 1, -1 if down != back else 1, -1 if back else 1])
        status = _STATUS.get((down, back), "upside down and inside out")
    return Flip(matrix, status, x, z, len(walking), _median(walking), len(sitting), _median(sitting))


def parse_orientation(text: str) -> np.ndarray | None:
    """The rotation int64 [3, 3] that a pairing table states; None where it leaves it to `find_flip`.

    Args:
      text: "" or "auto"; "as worn"; or the device's axes that become x, y, z, such as "-x,-y,z".

    Raises:
      ValueError: anything else, and what mirrors.
    """
    stated = text.strip().lower()
    if stated in ("", "auto"):
        return None
    if stated in ("as worn", "xyz"):
        return np.eye(3, dtype=int)
    axes = [axis.strip() for axis in stated.split(",")]
    letters = [axis.removeprefix("+").removeprefix("-").strip() for axis in axes]
    if sorted(letters) != ["x", "y", "z"] or any(len(axis) - len(axis.lstrip("+-")) > 1 for axis in axes):
        raise ValueError(
            f"orientation is {text!r}, expected auto, as worn, or the sensor's axes that become x, y and z, each once "
            "with its sign, such as -x,-y,z"
        )
    matrix = np.zeros((3, 3), int)
    for row, (axis, letter) in enumerate(zip(axes, letters, strict=True)):
        matrix[row, "xyz".index(letter)] = -1 if axis.startswith("-") else 1
    if np.linalg.det(matrix) < 0:
        last = letters[2] if axes[2].startswith("-") else "-" + letters[2]
        raise ValueError(
            f"orientation {text!r} mirrors the axes, which no sensor can: change the sign of one of them, such as the "
            f"last, {axes[0]},{axes[1]},{last}"
        )
    return matrix


def turned(acceleration: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """matrix @ [x, y, z] of each sample [N, 3], for a matrix of `find_flip` or `parse_orientation`."""
    order, sign = np.abs(matrix).argmax(axis=1), matrix.sum(axis=1).astype(acceleration.dtype)
    if order.tolist() == [0, 1, 2]:
        return acceleration if (sign > 0).all() else acceleration * sign
    return np.take(acceleration, order, axis=1) * sign  # [N, 3]


def _judge(values: np.ndarray, fewest: int, clear: float) -> str:
    """Right if they are clearly negative, wrong if clearly positive."""
    if len(values) < fewest or abs(np.median(values)) <= clear:
        return UNDECIDED
    wrong = np.median(values) > 0
    return UNDECIDED if np.mean((values > 0) == wrong) < AGREE else WRONG if wrong else RIGHT


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else math.nan
