"""Reader of Capture-24: a day at the wrist of each of 151 people, 100 Hz in g, annotated from cameras and diaries.

`P001.csv.gz` .. `P151.csv.gz` with the columns time, x, y, z, annotation, and beside them
`annotation-label-dictionary.csv`, which sorts the 206 annotations into labels in six ways: a column
`label:<label set>` each.
"""

import csv
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_pipelines.contract import UNLABELLED, Labelled, Recording, channels_of
from data_pipelines.readers.checks import check_finite, check_time, check_unit, row_text
from data_pipelines.readers.csv_columns import check_complete, read_header, what_is_wrong

DICTIONARY = "annotation-label-dictionary.csv"
LABEL_SET = "Walmsley2020"  # sleep, sedentary, light, moderate-vigorous: the one of the published benchmark
ANNOTATION = "annotation"  # the label set that keeps every annotation apart
RATE_HZ = 100
WINDOW_S = 10
CHANNELS = channels_of(("wrist",))
FEWEST_ROWS = RATE_HZ  # 1 s
# The people of the published benchmark's two parts.
TRAIN = tuple(f"P{number:03d}" for number in range(1, 101))
TEST = tuple(f"P{number:03d}" for number in range(101, 152))

TYPES = {
    "time": pa.timestamp("ns"),
    **dict.fromkeys("xyz", pa.float32()),
    ANNOTATION: pa.dictionary(pa.int32(), pa.string()),  # as text a day would take half a gigabyte
}
EXPECTED = {"time": "a time like 2016-11-13 02:18:00.010000 (no zone)"}
BLOCK_BYTES = 1 << 23
_NAME = re.compile(r"P\d{3}\.csv\.gz")
_PREFIX = "label:"


def recording_files(folder: str | Path) -> dict[str, Path]:
    """Participant -> csv.gz file, in order, of the folder or else of the folder `capture24` in it.

    Raises:
      FileNotFoundError: there are such files, and no dictionary beside them.
    """
    for place in (Path(folder), Path(folder) / "capture24"):
        found = sorted(path for path in place.glob("P*.csv.gz") if _NAME.fullmatch(path.name))
        if found:
            _dictionary_in(place)
            return {_name(path): path for path in found}
    return {}


def files_of(path: str | Path) -> list[Path]:
    """The files that decide a recording: its own, and the dictionary that its labels come from."""
    return [Path(path), Path(path).parent / DICTIONARY]


def label_sets(folder: str | Path) -> dict[str, dict[str, str]]:
    """Label set -> annotation -> label, as the dictionary in the folder has them, and `ANNOTATION` -> itself.

    An annotation that a set has no label for is not in that set; all are in `ANNOTATION`.

    Raises:
      FileNotFoundError: no dictionary there.
      ValueError: it is no csv file, lacks its columns, or names an annotation twice.
    """
    path = _dictionary_in(Path(folder))
    columns = [name for name in read_header(path, [ANNOTATION]) if name.startswith(_PREFIX)]
    if not columns:
        raise ValueError(f"{path}: no column {_PREFIX}<name of a label set> in line 1, such as {_PREFIX}{LABEL_SET}")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row[ANNOTATION]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as csv ({error}): copy it again") from error
    annotations = [row[ANNOTATION] for row in rows]
    twice = next((name for name in annotations if annotations.count(name) > 1), None)
    if twice:
        raise ValueError(f"{path}: annotation {twice!r} has more than one row, expected one: keep the right one")
    sets = {c.removeprefix(_PREFIX): {row[ANNOTATION]: row[c] for row in rows if row[c]} for c in columns}
    return sets | {ANNOTATION: {name: name for name in annotations}}


def activities_of(labels: Mapping[str, str]) -> dict[int, str]:
    """Code -> label of a label set (annotation -> label): the places of its labels in alphabetical order."""
    return dict(enumerate(sorted(set(labels.values()))))


def codes_of(labels: Mapping[str, str], annotations: Sequence[str]) -> np.ndarray:
    """Codes, int16 [A + 1], of these A annotations in a label set, -1 where it has none for them.

    The last one is -1 as well, so that the index -1, a missing annotation, gets it.
    """
    code = {label: code for code, label in activities_of(labels).items()}
    return np.array([*(code.get(labels.get(name), UNLABELLED) for name in annotations), UNLABELLED], np.int16)


def read(path: str | Path, label_set: str = LABEL_SET) -> Recording:
    """The recording of one participant, channels wrist_x .. wrist_z, with the labels of one label set.

    Rows without acceleration (empty or NaN in x, y or z) are left out, as gaps, with a warning that counts them.
    Labels are -1 where the annotation is missing or the label set has none for it.

    Args:
      path: `P001.csv.gz`, columns time (`YYYY-MM-DD HH:MM:SS[.f]`), x, y, z (g), annotation; the dictionary lies
        beside it.
      label_set: a column of the dictionary without its `label:`, or `ANNOTATION`.

    Raises:
      ValueError: one sentence naming file and row, for anything that does not fit the layout.
      FileNotFoundError: no such file, or no dictionary beside it.
    """
    path = Path(path)
    sets = label_sets(path.parent)
    if label_set not in sets:
        raise ValueError(f"{path.parent / DICTIONARY}: label set is '{label_set}', expected one of {', '.join(sets)}")
    labels, time, acceleration, label, rows = sets[label_set], [], [], [], 0
    for batch in _batches(path):
        check_complete(batch.select(["time"]), path, rows)
        time.append(batch["time"].cast(pa.int64()).to_numpy() // 1000)
        # [N, 3], NaN where empty
        acceleration.append(np.stack([batch[axis].to_numpy(zero_copy_only=False) for axis in "xyz"], axis=1))
        label.append(_codes(batch[ANNOTATION], labels, sets[ANNOTATION], path, rows))
        rows += len(batch)
    if rows < FEWEST_ROWS:
        raise ValueError(f"{path}: only {rows} rows, expected at least {FEWEST_ROWS} (1 s at {RATE_HZ} Hz)")
    clock, signal, code = np.concatenate(time), np.concatenate(acceleration), np.concatenate(label)
    del time, acceleration, label  # a day takes 200 MB
    check_time(clock, str(path), RATE_HZ)
    clock, signal, code = _without_lost(clock, signal, code, path)
    check_unit(signal, str(path), CHANNELS)
    name = _name(path)
    return Recording(name, name, signal, clock, code, activities_of(labels), channels=CHANNELS, rate_hz=RATE_HZ)


def windows_10s(recording: Recording | Labelled) -> tuple[np.ndarray, np.ndarray]:
    """First samples (int64 [N]) and labels (int16 [N]) of the benchmark's windows of 10 s.

    The clock is cut every 10 s from the first sample on, without overlap. A window counts if all its samples are
    there (1000 at 100 Hz), and any is labelled; its label is the most frequent one, of several the lowest code.

    Raises:
      ValueError: a recording without labels.
    Source: Chan et al., Scientific Data 2024, at 100 Hz.
    """
    if recording.label is None:
        raise ValueError(f"{recording.name}: holds no labels, choose a labelled recording")
    window = (recording.time - recording.time[:1]) // (WINDOW_S * 1_000_000)
    starts = np.flatnonzero(np.diff(window, prepend=-1))
    samples = round(WINDOW_S * recording.rate_hz)
    starts = starts[np.diff(starts, append=len(window)) == samples]
    if not starts.size:
        return starts, np.empty(0, np.int16)
    label = np.lib.stride_tricks.sliding_window_view(recording.label, samples)[starts]  # [N, samples]
    codes = np.unique(label[label != UNLABELLED])
    if not codes.size:
        return starts[:0], codes
    votes = np.stack([np.count_nonzero(label == code, axis=1) for code in codes], axis=1)  # [N, K]
    kept = votes.any(axis=1)
    return starts[kept], codes[votes[kept].argmax(axis=1)]


def benchmark_split(subjects: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of the subjects whom the benchmark trains on (P001 to P100), and those it tests on (P101 to P151).

    Raises:
      ValueError: a subject who is none of these.
    """
    subjects = list(subjects)
    if foreign := sorted(set(subjects) - {*TRAIN, *TEST}):
        raise ValueError(f"subject is {foreign[0]}, expected {TRAIN[0]} to {TEST[-1]}: the benchmark has no others")
    return [s for s in subjects if s in TRAIN], [s for s in subjects if s in TEST]


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _dictionary_in(folder: Path) -> Path:
    if not (folder / DICTIONARY).is_file():
        raise FileNotFoundError(f"{folder}: {DICTIONARY} is missing, expected beside the csv.gz files: copy it there")
    return folder / DICTIONARY


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The columns of TYPES in pieces; by one thread, as only then Arrow counts rows."""
    header = read_header(path, list(TYPES))
    try:
        yield from pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=TYPES, include_columns=list(TYPES), strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {what_is_wrong(str(error), header, EXPECTED)}") from error
    except FileNotFoundError:
        raise
    except OSError as error:  # what Arrow says of gzip data that do not fit
        raise ValueError(f"{path}: cannot be unpacked ({error}): copy it again") from error


def _codes(
    annotation: pa.DictionaryArray, labels: Mapping[str, str], known: Mapping[str, str], path: Path, first_row: int
) -> np.ndarray:
    """Codes int16 [N] of a piece's annotations; ValueError naming the first that the dictionary does not have."""
    index = annotation.indices.fill_null(-1).to_numpy()
    names = annotation.dictionary.to_pylist()
    unknown = [i for i, name in enumerate(names) if name not in known]
    if unknown:
        row = int(np.flatnonzero(np.isin(index, unknown))[0])
        raise ValueError(
            f"{path}: annotation of {row_text(first_row + row)} is {names[index[row]][:80]!r}, expected one of the "
            f"{len(known)} in {DICTIONARY}: take the dictionary that was published with the recordings"
        )
    return codes_of(labels, names)[index]


def _without_lost(
    time: np.ndarray, acceleration: np.ndarray, label: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that have acceleration, checked to be finite."""
    lost = np.isnan(acceleration).any(axis=1)
    acceleration[lost] = 0  # so that the rows keep their numbers in what the check says
    check_finite(acceleration, str(path), CHANNELS)
    count = np.count_nonzero(lost)
    if not count:
        return time, acceleration, label
    if len(lost) - count < FEWEST_ROWS:
        raise ValueError(
            f"{path}: {count} of {len(lost)} rows have no acceleration, expected at least {FEWEST_ROWS} that do: "
            "copy the file again or leave it out"
        )
    warnings.warn(f"{path}: {count} of {len(lost)} rows have no acceleration, they become gaps", stacklevel=3)
    return time[~lost], acceleration[~lost], label[~lost]
