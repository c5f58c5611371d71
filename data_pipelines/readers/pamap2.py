"""Reader of PAMAP2: `Protocol/subject101.dat` .. `subject109.dat`, 54 columns without a header at 100 Hz.

Columns: time (s), activity, heart rate, then 17 for each of the hand, the chest and the ankle: temperature,
acceleration up to 16 g (m/s^2), acceleration up to 6 g, gyroscope, magnetometer, orientation. Used is the acceleration
up to 16 g of the chest, as the sensor nearest to the back, and of the ankle, as the one nearest to the thigh; that up
to 6 g saturates. Source: the data set's documentation; Reiss and Stricker, ISWC 2012.
"""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_pipelines.contract import UNLABELLED, Recording
from data_pipelines.orientation import check_gravity, rotate
from data_pipelines.readers.checks import STANDARD_GRAVITY, check_time, check_unit, row_text
from data_pipelines.readers.csv_columns import names_of_cells, what_is_wrong
from data_pipelines.readers.interpolation import interpolate
from selfpab_jax.signals.stft import CHANNELS

RATE_HZ = 100
LONGEST_LOSS_US = 500_000  # from one sample to the next; longer losses become gaps in time
ACTIVITIES = {
    1: "lying",
    2: "sitting",
    3: "standing",
    4: "walking",
    5: "running",
    6: "cycling",
    7: "Nordic walking",
    12: "ascending stairs",
    13: "descending stairs",
    16: "vacuum cleaning",
    17: "ironing",
    24: "rope jumping",
}
TRANSIENT = 0  # between two activities
STANDING = (3,)
# Standing, the chest reads +1 g on y, which so points up; its z points into the body, forward on the back. The ankle
# reads +1 g on x. How the ankle's sensor is turned about the vertical is documented nowhere: y stays, so that z turns.
ROTATIONS = {
    "back": np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]]),
    "thigh": np.array([[-1, 0, 0], [0, 1, 0], [0, 0, -1]]),
}

_NAME = re.compile(r"subject\d+\.dat")
_COLUMNS = ["timestamp", "activityID", *(f"column {number}" for number in range(3, 55))]
# In the order of CHANNELS: columns 22-24 of the chest, 39-41 of the ankle, counted from 1.
_ACCELERATION = [_COLUMNS[index] for index in (21, 22, 23, 38, 39, 40)]
_TYPES = {"timestamp": pa.float64(), "activityID": pa.int16(), **dict.fromkeys(_ACCELERATION, pa.float32())}
_EXPECTED = {
    "timestamp": "seconds",
    "activityID": "a whole number, the code of an activity",
    **dict.fromkeys(_ACCELERATION, "a number in m/s^2, or NaN"),
}


def recording_files(folder: str | Path) -> dict[str, Path]:
    """Name -> file of each person in a folder `Protocol`, this one or one below it; empty without one.

    The activities that only some people did, in `Optional`, are left out.

    Raises:
      ValueError: two files of one person.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("subject*.dat")):
        if path.parent.name != "Protocol" or not _NAME.fullmatch(path.name):
            continue
        if path.stem in found:
            raise ValueError(f"{folder}: {found[path.stem]} and {path} are of the same person, keep one of them")
        found[path.stem] = path
    return found


def read(path: str | Path) -> Recording:
    """The recording of one person, channels of back and thigh in HUNT4's axes; transient samples are unlabelled.

    Rows whose acceleration is NaN are packets that the radio lost. Between samples at most 0.5 s apart they are
    interpolated linearly, longer losses become gaps in time. Time counts from the first second of 1970, as no date is
    published.

    Raises:
      ValueError: one sentence naming file and row, for anything that does not fit the layout.
      FileNotFoundError: no such file.
    """
    path = Path(path)
    table = _table(path)
    if table.num_rows < RATE_HZ:
        raise ValueError(f"{path}: only {table.num_rows} rows, expected at least {RATE_HZ} (1 s at 100 Hz)")
    for name in ("timestamp", "activityID"):
        if table[name].null_count:
            row = int(np.flatnonzero(table[name].is_null().to_numpy())[0])
            raise ValueError(f"{path}: {name} of {row_text(row, 0)} is empty or NaN, expected {_EXPECTED[name]}")
    time = np.rint(table["timestamp"].to_numpy() * 1e6).astype(np.int64)
    check_time(time, str(path), RATE_HZ, 0)
    label = table["activityID"].to_numpy()
    unknown = np.flatnonzero(~np.isin(label, [TRANSIENT, *ACTIVITIES]))
    if unknown.size:
        row, known = int(unknown[0]), ", ".join(map(str, [TRANSIENT, *ACTIVITIES]))
        raise ValueError(f"{path}: activityID {label[row]} of {row_text(row, 0)} is unknown, the protocol has {known}")
    acceleration = np.stack([table[name].to_numpy() for name in _ACCELERATION], axis=1)  # [S, C], m/s^2
    label = np.where(label == TRANSIENT, UNLABELLED, label).astype(np.int16)
    whole = np.isfinite(acceleration).all(axis=1)
    if not whole.any():
        raise ValueError(f"{path}: chest and ankle have no row without NaN: copy the file again or leave it out")
    acceleration, kept = interpolate(time[whole], acceleration[whole], time, LONGEST_LOSS_US)
    acceleration = acceleration[kept] / np.float32(STANDARD_GRAVITY)
    check_unit(acceleration, str(path), CHANNELS)
    recording = Recording(path.stem, path.stem, acceleration, time[kept], label[kept], ACTIVITIES, CHANNELS, RATE_HZ)
    recording = rotate(recording, ROTATIONS)
    check_gravity(recording, STANDING)
    return recording


def _table(path: Path) -> pa.Table:
    """The columns used, typed; by one thread, as only then Arrow counts rows."""
    try:
        return pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names_of_cells(path, _COLUMNS)),
            parse_options=pyarrow.csv.ParseOptions(delimiter=" "),
            convert_options=pyarrow.csv.ConvertOptions(column_types=_TYPES, include_columns=list(_TYPES)),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {what_is_wrong(str(error), _COLUMNS, _EXPECTED, 0)}") from error
