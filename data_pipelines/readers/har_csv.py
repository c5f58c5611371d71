"""Reader of the published csv layout of HARTH and HAR70+: timestamp, back_x .. thigh_z, label at 50 Hz in g.

Some published files carry an unnamed or `index` column as well; columns that are not needed are ignored.
"""

import csv
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_pipelines.contract import Recording
from data_pipelines.readers.checks import check_finite, check_time, check_unit, row_text
from selfpab_jax.signals.stft import CHANNELS, N_FFT

# The codes of HARTH v1.2; HAR70+ uses seven of them with the same meaning.
HARTH = {
    1: "walking",
    2: "running",
    3: "shuffling",
    4: "stairs (ascending)",
    5: "stairs (descending)",
    6: "standing",
    7: "sitting",
    8: "lying",
    13: "cycling (sit)",
    14: "cycling (stand)",
    130: "cycling (sit, inactive)",
    140: "cycling (stand, inactive)",
}
ACTIVITIES = {"harth": HARTH, "har70plus": {code: HARTH[code] for code in (1, 3, 4, 5, 6, 7, 8)}}

# Nanoseconds: one published file writes nine digits after the second.
TYPES = {"timestamp": pa.timestamp("ns"), **dict.fromkeys(CHANNELS, pa.float32()), "label": pa.int16()}
_CELL = re.compile(r"column #(\d+): Row #(\d+): .*invalid value '(.*)'", re.DOTALL)
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def read(path: str | Path, layout: str = "harth", *, need_label: bool = True) -> Recording:
    """The recording in a csv file; its subject and name are the file's stem.

    Args:
      path: a file with the columns timestamp (`YYYY-MM-DD HH:MM:SS[.f]`), back_x .. thigh_z (g), label.
      layout: "harth" or "har70plus"; they differ in the labels allowed.
      need_label: False reads a file without labels (or ignores those it has).

    Raises:
      ValueError: one sentence naming file and row, for anything that does not fit the layout.
      FileNotFoundError: no such file.
    """
    path = Path(path)
    if layout not in ACTIVITIES:
        raise ValueError(f"layout is '{layout}', expected one of {', '.join(ACTIVITIES)}")
    names = [name for name in TYPES if need_label or name != "label"]
    header = _header(path, names)
    table = _table(path, names, header)
    if table.num_rows < N_FFT:
        raise ValueError(f"{path}: only {table.num_rows} rows, expected at least {N_FFT} (1 s at 50 Hz)")
    _check_complete(table, path)
    acceleration = np.stack([table[name].to_numpy() for name in CHANNELS], axis=1)  # [S, C]
    time = table["timestamp"].cast(pa.int64()).to_numpy() // 1000
    check_finite(acceleration, str(path))
    check_time(time, str(path))
    check_unit(acceleration, str(path))
    label = None
    if need_label:
        label = table["label"].to_numpy().astype(np.int16)
        _check_labels(label, ACTIVITIES[layout], layout, path)
    return Recording(path.stem, path.stem, acceleration, time, label, ACTIVITIES[layout] if need_label else {})


def _header(path: Path, names: list[str]) -> list[str]:
    """Column names in file order; ValueError if the file is empty, no text, or lacks one of `names`."""
    with open(path, "rb") as file:
        line = file.readline(65536)
    if not line.strip():
        raise ValueError(f"{path}: the file is empty, expected a header with {','.join(names)}")
    try:
        found = next(csv.reader([line.decode("utf-8-sig")]))
    except (UnicodeDecodeError, csv.Error):
        found = None
    if found is None or b"\0" in line:
        raise ValueError(
            f"{path}: not a text file (row 0, the header, is no UTF-8), expected csv with {','.join(names)}"
        )
    for name in names:
        if found.count(name) != 1:
            problem = "is missing" if name not in found else "occurs more than once"
            shown = ", ".join(found)[:200]
            raise ValueError(f"{path}: column {name} {problem} in line 1, found: {shown}; expected {', '.join(names)}")
    return found


def _table(path: Path, names: list[str], header: list[str]) -> pa.Table:
    """The columns `names`, typed; by one thread, as only then it counts rows."""
    try:
        return pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: TYPES[name] for name in names}, include_columns=names
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {_what_is_wrong(str(error), header)}") from error


def _what_is_wrong(message: str, header: list[str]) -> str:
    """Arrow's complaint in the words of the layout; its row numbers count the header."""
    if cell := _CELL.search(message):
        name, line, value = header[int(cell[1])], int(cell[2]), cell[3][:40]
        expected = {
            "timestamp": "a time like 2019-01-12 00:00:00.020 (no zone)",
            "label": "a whole number, the code of an activity",
        }
        return f"{name} of {row_text(line - 2)} is {value!r}, expected {expected.get(name, 'a number in g')}"
    if ragged := _RAGGED.search(message):
        line, expected, found = (int(group) for group in ragged.groups())
        return (
            f"{row_text(line - 2)} has {found} columns, the header {expected}: the file may have been cut "
            "off, copy it again or remove the row"
        )
    return f"cannot be read as csv: {message.splitlines()[0][:200]}"


def _check_complete(table: pa.Table, path: Path):
    """Raises ValueError naming the first empty or NaN cell."""
    for name in table.column_names:
        if table[name].null_count:
            row = int(np.flatnonzero(table[name].is_null().to_numpy())[0])
            raise ValueError(
                f"{path}: {name} of {row_text(row)} is empty or NaN, expected a value in every row: remove "
                "such rows, the gap is handled"
            )


def _check_labels(label: np.ndarray, activities: dict[int, str], layout: str, path: Path):
    """Raises ValueError naming the first code that the layout does not have."""
    unknown = np.flatnonzero(~np.isin(label, list(activities)))
    if unknown.size:
        row = int(unknown[0])
        known = ", ".join(str(code) for code in activities)
        raise ValueError(f"{path}: label {label[row]} of {row_text(row)} is unknown, layout {layout} has {known}")
