"""Reader of RealWorld (2016): `proband1` .. `proband15`, phones at seven places of the body, one activity a file.

`proband1/data/acc_walking_csv.zip` holds `acc_walking_waist.csv`, `acc_walking_thigh.csv` and five more, with columns
id, attr_time (milliseconds since 1970), attr_x, attr_y, attr_z (m/s^2). Where an activity was recorded in parts, files
are called `acc_walking_2_waist.csv`, and the zip may hold a zip for each part. Zips are read where they lie; files that
have been unpacked, anywhere below the proband's folder, are read as well.
"""

import csv
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_pipelines.contract import Recording
from data_pipelines.orientation import check_gravity, rotate
from data_pipelines.readers.checks import STANDARD_GRAVITY, STEP_US, check_finite, check_unit, row_text
from data_pipelines.readers.csv_columns import check_complete, what_is_wrong
from data_pipelines.readers.interpolation import interpolate
from selfpab_jax.signals.stft import CHANNELS, SAMPLE_RATE_HZ

POSITIONS = {"back": "waist", "thigh": "thigh"}
CODES = {
    "climbingdown": 1,
    "climbingup": 2,
    "jumping": 3,
    "lying": 4,
    "running": 5,
    "sitting": 6,
    "standing": 7,
    "walking": 8,
}
ACTIVITIES = {code: name.replace("climbing", "climbing ") for name, code in CODES.items()}
STANDING, SITTING = (CODES["standing"],), (CODES["sitting"],)
MAX_GAP_US = 500_000
MAX_MEMBER_BYTES = 1 << 28  # 256 MB; ten minutes take 2 MB
DEEPEST = 2  # a zip in a zip
# How the phones were turned is not documented. At the waist x is the axis that moves most in running (its standard
# deviation is reported as 7.7 m/s^2 on average over the set, that of y as 3.6, of z as 4.1), so the phone lay on its
# side. Assumed: x points up there and the screen (z) forward; in the front pocket y points up and the screen forward.
# `check_gravity` says in which recording that cannot be. Rows: x down, y left, z forward at the back; x down, y right,
# z backward at the thigh.
ROTATIONS = {
    "back": np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    "thigh": np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]]),
}

TYPES = {"attr_time": pa.float64(), **dict.fromkeys(("attr_x", "attr_y", "attr_z"), pa.float64())}
EXPECTED = {
    "attr_time": "milliseconds since 1970",
    **dict.fromkeys(("attr_x", "attr_y", "attr_z"), "a number in m/s^2"),
}
FROM_MS, TO_MS = 946_684_800_000, 4_102_444_800_000  # the years 2000 to 2099
_SUBJECT = re.compile(r"proband\d+")
_PART = rf"acc_({'|'.join(CODES)})(?:_\d+)?"
_ZIP = re.compile(_PART + r"_csv\.zip")
_CSV = re.compile(_PART + rf"_({'|'.join(POSITIONS.values())})\.csv")


def subject_folders(folder: str | Path) -> dict[str, Path]:
    """Subject, such as proband1 -> folder, in and below a folder, in order of their numbers.

    Raises:
      ValueError: two folders of one subject.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("proband*")):
        if not _SUBJECT.fullmatch(path.name) or not path.is_dir() or "__MACOSX" in path.parts:
            continue
        if path.name in found:
            raise ValueError(f"{folder}: {found[path.name]} and {path} name the same subject, keep one of them")
        found[path.name] = path
    return dict(sorted(found.items(), key=lambda item: int(item[0].removeprefix("proband"))))


def recording_files(folder: str | Path) -> list[Path]:
    """One subject's zips of accelerometers, and unpacked csv files of our positions, in order of their paths."""
    return sorted(
        path
        for path in Path(folder).rglob("acc_*")
        if path.is_file() and (_ZIP.fullmatch(path.name) or _CSV.fullmatch(path.name))
    )


def read(folder: str | Path) -> Recording:
    """All activities of one subject in order of time: waist as back sensor and thigh, in HUNT4's axes, at 50 Hz.

    The phones' samples are neither regular nor simultaneous. Both are put on the 20-ms grid of 1970 by straight
    lines, over the time they share; gaps of more than 0.5 s in either stay gaps. Samples are sorted by time, and
    of several with the same time the first in the files (in order of their names) counts. Where two activities claim
    the same time, the one that began first has it.

    An activity that lacks one of the two positions, or in which they share no time, is left out with a warning.

    Args:
      folder: one subject's folder `proband<n>`; its name is that of the subject and the recording.

    Raises:
      ValueError: one sentence naming file and row, for anything that does not fit the layout, a damaged zip, or a
        folder without a usable activity.

    Source: Sztyler and Stuckenschmidt 2016; the published archive.
    """
    folder = Path(folder)
    streams = _streams(folder)
    pieces = []
    for activity, of_position in streams.items():
        lacking = [place for place in POSITIONS.values() if not of_position[place]]
        if lacking:
            _leave_out(folder, activity, f"it has no file of the {' and the '.join(lacking)}")
            continue
        time, acceleration = _on_grid([_sorted(of_position[place]) for place in POSITIONS.values()])
        if len(time) == 0:
            _leave_out(folder, activity, f"the sensors of {' and '.join(POSITIONS.values())} share no time")
            continue
        check_unit(acceleration, f"{folder}: {activity}", CHANNELS)
        pieces.append((time, acceleration, np.full(len(time), CODES[activity], np.int16)))
    if not pieces:
        raise ValueError(
            f"{folder}: holds no activity with both {' and '.join(POSITIONS.values())}, expected "
            "files like data/acc_walking_csv.zip"
        )
    pieces.sort(key=lambda piece: (int(piece[0][0]), int(piece[2][0])))
    time, acceleration, label = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    time, first = np.unique(time, return_index=True)
    recording = Recording(
        folder.name, folder.name, acceleration[first], time, label[first], ACTIVITIES, rate_hz=SAMPLE_RATE_HZ
    )
    recording = rotate(recording, ROTATIONS)
    check_gravity(recording, STANDING, SITTING)
    return recording


def _leave_out(folder: Path, activity: str, why: str):
    name = ACTIVITIES[CODES[activity]]
    warnings.warn(f"{folder}: {name} is left out, as {why}", stacklevel=3)


def _streams(folder: Path) -> dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]]:
    """Activity -> position -> its files' time [S] and acceleration [S, 3], for every activity that a file names."""
    found: dict[str, dict[str, list]] = {}
    for path in recording_files(folder):
        named = _ZIP.fullmatch(path.name) or _CSV.fullmatch(path.name)
        found.setdefault(named[1], {place: [] for place in POSITIONS.values()})
        with path.open("rb") as file:
            members = _members(file, path, 1) if path.suffix == ".zip" else [(path, file.read())]
            for where, content in members:
                activity, place = _CSV.fullmatch(where.name).groups()
                held = found.setdefault(activity, {place: [] for place in POSITIONS.values()})
                held[place].append(_samples(content, where))
    return found


def _members(file: BinaryIO, where: Path, depth: int) -> Iterator[tuple[Path, bytes]]:
    """Path, the zip's path in front, and content of the csv files of our positions in a zip and in zips inside it."""
    try:
        with zipfile.ZipFile(file) as archive:
            for member in sorted(archive.infolist(), key=lambda info: info.filename):
                name = Path(member.filename).name
                if not (inner := _ZIP.fullmatch(name)) and not _CSV.fullmatch(name):
                    continue
                if member.file_size > MAX_MEMBER_BYTES:
                    raise ValueError(
                        f"{where}: {member.filename} would unpack to {member.file_size} bytes, expected at most "
                        f"{MAX_MEMBER_BYTES}: this is no zip as published"
                    )
                if inner and depth == DEEPEST:
                    raise ValueError(
                        f"{where}: holds a further zip, {member.filename}, expected csv files: this is no zip as "
                        "published"
                    )
                content = archive.read(member)
                if inner:
                    yield from _members(io.BytesIO(content), where / member.filename, depth + 1)
                else:
                    yield where / member.filename, content
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{where}: not a readable zip file ({error}): copy it again") from error


def _samples(content: bytes, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """Time, int64 [S] in microseconds, and acceleration, float64 [S, 3] in g, of one csv file as they stand in it."""
    line = content[:65536].split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip().replace("\0", "")
    header = next(csv.reader([line]), [])
    if lacking := [name for name in TYPES if header.count(name) != 1]:
        raise ValueError(
            f"{where}: column {lacking[0]} is missing in line 1, found: {', '.join(header)[:200] or 'nothing'}; "
            f"expected id, {', '.join(TYPES)}"
        )
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types=TYPES, include_columns=list(TYPES)),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{where}: {what_is_wrong(str(error), header, EXPECTED)}") from error
    if table.num_rows == 0:
        raise ValueError(f"{where}: the file has no rows, expected one a sample")
    check_complete(table, where)
    clock = table["attr_time"].to_numpy()
    if (bad := np.flatnonzero(~((clock >= FROM_MS) & (clock < TO_MS)))).size:
        row = int(bad[0])
        raise ValueError(
            f"{where}: attr_time of {row_text(row)} is {clock[row]:.15g}, expected milliseconds since 1970 in a year "
            "from 2000 to 2099"
        )
    signal = np.stack([table[name].to_numpy() for name in ("attr_x", "attr_y", "attr_z")], axis=1)  # [S, 3]
    check_finite(signal, str(where), ("attr_x", "attr_y", "attr_z"))
    return np.rint(clock * 1e3).astype(np.int64), signal / STANDARD_GRAVITY


def _sorted(files: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The samples of several files as one, strictly increasing in time; of equal times the first stays."""
    time, signal = (np.concatenate(parts) for parts in zip(*files, strict=True))
    time, first = np.unique(time, return_index=True)
    return time, signal[first]


def _on_grid(sensors: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Multiples of 20 ms, int64 [S] in microseconds, at which all sensors have values, and those, float32 [S, C]."""
    # Only what follows a sample within the longest gap, as parts of an activity may lie days apart.
    slot = sensors[0][0] // STEP_US
    grid = np.unique(slot[:, None] + np.arange(MAX_GAP_US // STEP_US + 1)) * STEP_US
    signals, near = zip(*(interpolate(time, signal, grid, MAX_GAP_US) for time, signal in sensors), strict=True)
    kept = np.logical_and.reduce(near)
    return grid[kept], np.concatenate(signals, axis=1)[kept]
