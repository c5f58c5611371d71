"""Reader of Opportunity's files: `S1-ADL1.dat` .. `S4-ADL5.dat` and `S1-Drill.dat` .. `S4-Drill.dat`.

Each line has 250 numbers with a space between them, and there is no header. Of these the reader takes (columns
counted from 1, as the set's column_names.txt does): 1, the clock in milliseconds; 2-4, the wireless accelerometer
RKN^; 5-7, the one called HIP, both in milli-g; 244, the track Locomotion. A lost wireless packet is `NaN`.
"""

import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_pipelines.contract import UNLABELLED, Recording
from data_pipelines.orientation import check_gravity, rotate
from data_pipelines.readers.checks import check_finite, check_time, check_unit, row_text
from data_pipelines.readers.csv_columns import names_of_cells, what_is_wrong
from data_pipelines.readers.interpolation import interpolate
from selfpab_jax.signals.stft import CHANNELS

RATE_HZ = 30
CLOCK, LABEL = 1, 244
# HIP, at the belt, is the sensor nearest to the lower back: BACK sits between the shoulder blades and bends with the
# chest. Of the two at the right knee RKN^ is the one above it, on the thigh; RKN_ is below it, on the shank.
SENSORS = {"back": (5, 6, 7), "thigh": (2, 3, 4)}
G_PER_UNIT = 1 / 1000
MAX_LOSS_US = 500_000  # from one sample to the next; longer losses become gaps in time
NULL = 0
ACTIVITIES = {1: "standing", 2: "walking", 4: "sitting", 5: "lying"}
STANDING, SITTING = (1,), (4,)
# The set does not document its sensors' axes. Assumed: y points up along the body; z points away from it, which is to
# the right at HIP (right side of the belt) and forward at RKN^ (front of the thigh). `check_gravity` says in which
# recording that cannot be. Rows: x down, y left, z forward at the back; x down, y right, z backward at the thigh.
ROTATIONS = {
    "back": np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]]),
    "thigh": np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]]),
}
HOUR_US = 3_600_000_000

_NAME = re.compile(r"(S[1-4])-(ADL[1-5]|Drill)")
_NAMES = [f"column {number}" for number in range(1, 251)]  # as what is wrong with a file is told


def recording_files(folder: str | Path) -> dict[str, Path]:
    """Subject, S1 to S4 -> the first of its files in or below a folder, in order of the subjects.

    Raises:
      ValueError: files of one subject in several folders.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("S*.dat")):
        if not (named := _NAME.fullmatch(path.stem)):
            continue
        first = found.setdefault(named[1], path)
        if first.parent != path.parent:
            raise ValueError(f"{folder}: {first} and {path} are of the same subject, keep one of these folders")
    return dict(sorted(found.items()))


def session_files(path: str | Path) -> list[Path]:
    """All files of the subject that `path` is one of, in its folder: ADL1 to ADL5 and Drill, those that exist."""
    path = Path(path)
    subject = path.stem.partition("-")[0]
    return sorted(other for other in path.parent.glob(f"{subject}-*.dat") if _NAME.fullmatch(other.stem))


def read(path: str | Path) -> Recording:
    """All sessions of a subject: HIP as the back sensor, RKN^ as the thigh sensor, in HUNT4's axes, at 30 Hz.

    The set gives no dates: the first session begins at 1970-01-01 00:00, each further one at the next full hour after
    the one before; within a session, time is that of its clock from its first row on. Losses of up to 0.5 s are
    bridged by straight lines; rows in a longer loss of either sensor are left out, which leaves a gap in time. The
    label is -1 where nothing was annotated (0, or no number).

    A session in which a sensor was lost all the time is left out with a warning.

    Args:
      path: one of the subject's files, such as S1-ADL1.dat; the others are read from its folder.

    Raises:
      ValueError: one sentence naming file and row, for anything that does not fit the layout, or no session is left.
      FileNotFoundError: no such file.

    Source: Roggen et al. 2010; column_names.txt and label_legend.txt of the set.
    """
    path = Path(path)
    named = _NAME.fullmatch(path.stem)
    if not named:
        raise ValueError(f"{path}: the name is no file of Opportunity, expected one like S1-ADL1.dat")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, expected a file of Opportunity")
    files = session_files(path)
    sessions, begin = [], 0
    for file in files:
        time, acceleration, label = _session(file)
        if len(time) == 0:
            continue
        sessions.append((time + begin, acceleration, label))
        begin += -(-(int(time[-1]) + 1) // HOUR_US) * HOUR_US
    if not sessions:
        raise ValueError(
            f"{path.parent}: none of the {len(files)} files of {named[1]} has values of both sensors at the same time, "
            "expected at least one: leave this subject out"
        )
    time, acceleration, label = (np.concatenate(parts) for parts in zip(*sessions, strict=True))
    recording = Recording(named[1], named[1], acceleration, time, label, ACTIVITIES, CHANNELS, RATE_HZ)
    recording = rotate(recording, ROTATIONS)
    check_gravity(recording, STANDING, SITTING)
    return recording


def _session(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time from the file's first row on, int64 [S] in microseconds, acceleration [S, C] in g, and label, int16 [S]."""
    table = _table(path)
    if table.num_rows < RATE_HZ:
        raise ValueError(f"{path}: only {table.num_rows} rows, expected at least {RATE_HZ} (1 s at {RATE_HZ} Hz)")
    time, label = _time(table, path), _label(table, path)
    acceleration, kept = [], np.ones(len(time), bool)
    for sensor, columns in SENSORS.items():
        raw = np.stack([_column(table, column) for column in columns], axis=1)  # [S, 3]
        check_finite(np.where(np.isnan(raw), 0, raw), str(path), [_NAMES[column - 1] for column in columns])
        there = ~np.isnan(raw).any(axis=1)
        if not there.any():
            warnings.warn(
                f"{path}: left out, as the {sensor} sensor (columns {columns[0]} to {columns[2]}) is NaN in all "
                f"{len(raw)} rows",
                stacklevel=3,
            )
            return time[:0], np.empty((0, len(CHANNELS)), np.float32), label[:0]
        values, near = interpolate(time[there], raw[there] * G_PER_UNIT, time, MAX_LOSS_US)
        check_unit(values[there], str(path), CHANNELS[3 * len(acceleration) :][:3])
        acceleration.append(values)
        kept &= near
    return time[kept], np.concatenate(acceleration, axis=1)[kept], label[kept]


def _table(path: Path) -> pa.Table:
    """The columns that are needed, float64 with null for NaN; by one thread, as only then Arrow counts rows."""
    wanted = [_NAMES[column - 1] for column in (CLOCK, *SENSORS["back"], *SENSORS["thigh"], LABEL)]
    try:
        return pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names_of_cells(path, _NAMES)),
            parse_options=pyarrow.csv.ParseOptions(delimiter=" "),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.float64())
            ),
        )
    except pa.ArrowInvalid as error:
        expected = dict.fromkeys(wanted, "a number or NaN")
        raise ValueError(f"{path}: {what_is_wrong(str(error), _NAMES, expected, 0)}") from error


def _column(table: pa.Table, column: int) -> np.ndarray:
    return table[_NAMES[column - 1]].to_numpy()  # null becomes NaN


def _time(table: pa.Table, path: Path) -> np.ndarray:
    """Microseconds since the first row, int64 [S]; ValueError unless they increase at about 30 Hz."""
    clock = _column(table, CLOCK)
    if (bad := np.flatnonzero(~np.isfinite(clock))).size:
        raise ValueError(
            f"{path}: {_NAMES[CLOCK - 1]} of {row_text(int(bad[0]), 0)} is {clock[bad[0]]}, expected milliseconds: "
            "copy the file again"
        )
    time = np.rint((clock - clock[0]) * 1e3).astype(np.int64)
    check_time(time, str(path), RATE_HZ, 0)
    return time


def _label(table: pa.Table, path: Path) -> np.ndarray:
    """Codes of Locomotion, int16 [S], -1 where there is none; ValueError naming the first one unknown."""
    code = np.nan_to_num(_column(table, LABEL), nan=NULL)
    if (unknown := np.flatnonzero(~np.isin(code, [NULL, *ACTIVITIES]))).size:
        row = int(unknown[0])
        known = ", ".join(map(str, [NULL, *ACTIVITIES]))
        raise ValueError(
            f"{path}: label {code[row]:g} ({_NAMES[LABEL - 1]}) of {row_text(row, 0)} is unknown, "
            f"Locomotion has {known}"
        )
    return np.where(code == NULL, UNLABELLED, code).astype(np.int16)
