"""Reader of USC-HAD: `Subject1/a1t1.mat` .. `Subject14/a12t5.mat`, twelve activities in five trials each at 100 Hz.

One sensor in a pouch at the front of the right hip, which stands for the thigh; it reaches +-6 g. A file holds
`sensor_readings` [N, 6]: acceleration in g, then rotation in degrees a second. Source: the data set's read-me; Zhang
and Sawchuk, UbiComp SAGAware 2012.
"""

import re
import warnings
from pathlib import Path

import numpy as np

from data_pipelines.contract import Recording, channels_of
from data_pipelines.orientation import check_gravity, rotate
from data_pipelines.readers.checks import check_finite, check_unit

RATE_HZ = 100
CHANNELS = channels_of(("thigh",))
BETWEEN_TRIALS_S = 60  # nothing says when a trial took place
ACTIVITIES = {
    1: "walking forward",
    2: "walking left",
    3: "walking right",
    4: "walking upstairs",
    5: "walking downstairs",
    6: "running forward",
    7: "jumping up",
    8: "sitting",
    9: "standing",
    10: "sleeping",
    11: "elevator up",
    12: "elevator down",
}
STANDING = (9,)
# x is vertical and reads +1 g standing, so -x is HUNT4's x. MonoSelfPAB's new z is -y, as here; that makes the frame
# right-handed with -z as y. (MonoSelfPAB's own x and y are x and z: the same turned by 180 degrees about the new z.)
ROTATION = np.array([[-1, 0, 0], [0, 0, -1], [0, -1, 0]])

_SUBJECT = re.compile(r"Subject(\d+)")
_TRIAL = re.compile(r"a(\d+)t(\d+)\.mat")
_ACTIVITY_FIELDS = ("activity_number", "activity_numbr")  # the published files have both spellings


def subject_folders(folder: str | Path) -> dict[str, Path]:
    """Name -> folder of each person that has trials, in and below this folder.

    Raises:
      ValueError: two folders of one person.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("Subject*")):
        if not _SUBJECT.fullmatch(path.name) or not path.is_dir() or not trials(path):
            continue
        if path.name in found:
            raise ValueError(f"{folder}: {found[path.name]} and {path} are of the same person, keep one of them")
        found[path.name] = path
    return found


def trials(folder: str | Path) -> list[Path]:
    """The mat files of one person, in order of activity and trial."""
    return sorted((path for path in Path(folder).iterdir() if _TRIAL.fullmatch(path.name)), key=_activity_and_trial)


def read(folder: str | Path) -> Recording:
    """The trials of one person, one after the other with 60 s between them, in HUNT4's axes of the thigh.

    Time counts from the first second of 1970, as none is published.

    Raises:
      ValueError: no trial, or a file that cannot be used, which is named.
    """
    folder = Path(folder)
    files = trials(folder)
    if not files:
        raise ValueError(f"{folder}: holds no trial, expected files like a1t1.mat")
    signals = [_trial(path) for path in files]
    step_us, at, times = 1_000_000 // RATE_HZ, 0, []
    for signal in signals:
        times.append(at + step_us * np.arange(len(signal), dtype=np.int64))
        at = int(times[-1][-1]) + BETWEEN_TRIALS_S * 1_000_000
    codes = np.array([_activity_and_trial(path)[0] for path in files], np.int16)
    label = np.repeat(codes, [len(signal) for signal in signals])
    acceleration, time = np.concatenate(signals), np.concatenate(times)  # [S, 3], [S]
    recording = Recording(folder.name, folder.name, acceleration, time, label, ACTIVITIES, CHANNELS, RATE_HZ)
    recording = rotate(recording, {"thigh": ROTATION})
    check_gravity(recording, STANDING)
    return recording


def _activity_and_trial(path: Path) -> tuple[int, int]:
    activity, trial = _TRIAL.fullmatch(path.name).groups()
    return int(activity), int(trial)


def _trial(path: Path) -> np.ndarray:
    """Acceleration float32 [N, 3] in g of one trial, as recorded."""
    from scipy.io import loadmat  # imported late, as other layouts do without

    activity, _ = _activity_and_trial(path)
    if activity not in ACTIVITIES:
        raise ValueError(f"{path}: activity {activity} of the name is unknown, expected 1 to {len(ACTIVITIES)}")
    try:
        fields = loadmat(path, variable_names=("sensor_readings", *_ACTIVITY_FIELDS))
    except FileNotFoundError:
        raise
    except Exception as error:  # SciPy lets any kind through, as IndexError and zlib.error, where bytes are missing
        raise ValueError(f"{path}: not a readable MATLAB file ({str(error)[:200]}): copy it again") from error
    readings = fields.get("sensor_readings")
    if readings is None or readings.ndim != 2 or readings.shape[1] != 6 or readings.dtype.kind not in "fiu":
        found = "missing" if readings is None else f"{readings.dtype} {list(readings.shape)}"
        raise ValueError(f"{path}: sensor_readings is {found}, expected numbers [N, 6]: acceleration and rotation")
    for field in _ACTIVITY_FIELDS:
        said = "".join(map(str, fields[field].ravel())).strip() if field in fields else str(activity)
        if not re.fullmatch(rf"0*{activity}(\.0*)?", said):
            warnings.warn(f"{path}: {field} is {said!r}, the name says {activity}, which is taken", stacklevel=3)
    if len(readings) == 0:
        raise ValueError(f"{path}: sensor_readings is empty, expected [N, 6]: copy the file again or leave it out")
    acceleration = readings[:, :3].astype(np.float32)
    check_finite(acceleration, str(path), CHANNELS)
    check_unit(acceleration, str(path), CHANNELS)
    return acceleration
