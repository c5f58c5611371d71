"""Reader of the published csv layout of HARTH and HAR70+: timestamp, back_x .. thigh_z, label at 50 Hz in g.

Some published files carry an unnamed or `index` column as well; columns that are not needed are ignored.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_pipelines.contract import Recording
from data_pipelines.readers.checks import check_finite, check_time, check_unit, row_text
from data_pipelines.readers.csv_columns import check_complete, read_header, what_is_wrong
from selfpab_jax.signals.stft import CHANNELS, N_FFT, SAMPLE_RATE_HZ

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
EXPECTED = {
    "timestamp": "a time like 2019-01-12 00:00:00.020 (no zone)",
    "label": "a whole number, the code of an activity",
}


def recording_files(folder: str | Path) -> dict[str, Path]:
    """Name -> csv file of a folder, or else of the only folder below it that has some, in order of the names.

    Raises:
      ValueError: several folders below have csv files.
    """
    folder = Path(folder)
    files = _visible(folder.glob("*.csv")) or _visible(folder.rglob("*.csv"))
    held = list(dict.fromkeys(path.parent for path in files))
    if len(held) > 1:
        shown = ", ".join(map(str, held[:5]))
        raise ValueError(f"{folder}: there are csv files in {shown}; expected one folder of them: name one of these")
    return {path.stem: path for path in files}


def _visible(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if not path.name.startswith("."))


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
    header = read_header(path, names)
    table = _table(path, names, header)
    if table.num_rows < N_FFT:
        raise ValueError(f"{path}: only {table.num_rows} rows, expected at least {N_FFT} (1 s at 50 Hz)")
    check_complete(table, path)
    acceleration = np.stack([table[name].to_numpy() for name in CHANNELS], axis=1)  # [S, C]
    time = table["timestamp"].cast(pa.int64()).to_numpy() // 1000
    check_finite(acceleration, str(path), CHANNELS)
    check_time(time, str(path), SAMPLE_RATE_HZ)
    check_unit(acceleration, str(path), CHANNELS)
    label = None
    if need_label:
        label = table["label"].to_numpy().astype(np.int16)
        _check_labels(label, ACTIVITIES[layout], layout, path)
    return Recording(path.stem, path.stem, acceleration, time, label, ACTIVITIES[layout] if need_label else {})


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
        raise ValueError(f"{path}: {what_is_wrong(str(error), header, EXPECTED)}") from error


def _check_labels(label: np.ndarray, activities: dict[int, str], layout: str, path: Path):
    """Raises ValueError naming the first code that the layout does not have."""
    unknown = np.flatnonzero(~np.isin(label, list(activities)))
    if unknown.size:
        row = int(unknown[0])
        known = ", ".join(str(code) for code in activities)
        raise ValueError(f"{path}: label {label[row]} of {row_text(row)} is unknown, layout {layout} has {known}")
