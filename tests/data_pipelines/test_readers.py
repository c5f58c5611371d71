"""Readers: a round trip per layout, and the one sentence each broken input produces."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.readers import har_csv, hunt4
from selfpab_jax.signals.stft import CHANNELS

HEADER = "timestamp," + ",".join(CHANNELS) + ",label"


def csv_lines(rows: int = 200, start_ms: int = 0, step_ms: float = 20, label: int = 6) -> list[str]:
    """Header and rows of a still person: back_x and thigh_x at -1 g."""
    lines = [HEADER]
    for i in range(rows):
        moment = np.datetime64("2019-01-12T00:00:00", "us") + np.timedelta64(
            round((start_ms + i * step_ms) * 1000), "us"
        )
        lines.append(f"{str(moment).replace('T', ' ')},-1.0,0.{i % 10},0.1,-0.98,0.0,0.25,{label}")
    return lines


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def set_cell(lines: list[str], row: int, column: str, value: str) -> list[str]:
    """Copy of the lines with one cell of a data row (from 1) replaced."""
    cells = lines[row].split(",")
    cells[HEADER.split(",").index(column)] = value
    return [*lines[:row], ",".join(cells), *lines[row + 1 :]]


def test_csv_round_trip(tmp_path):
    recording = har_csv.read(write(tmp_path / "S006.csv", csv_lines()))
    assert (recording.subject, recording.name) == ("S006", "S006")
    assert recording.acceleration.dtype == np.float32 and recording.acceleration.shape == (200, 6)
    np.testing.assert_array_equal(recording.acceleration[3], np.float32([-1, 0.3, 0.1, -0.98, 0, 0.25]))
    first = np.datetime64("2019-01-12T00:00:00", "us").astype(np.int64)
    np.testing.assert_array_equal(recording.time, first + 20_000 * np.arange(200))
    assert recording.label.dtype == np.int16 and set(recording.label) == {6}
    assert recording.activities[130] == "cycling (sit, inactive)"


def test_csv_ignores_extra_columns_bom_and_order(tmp_path):
    plain = har_csv.read(write(tmp_path / "a.csv", csv_lines()))
    lines = [f"{i - 1 if i else ''},{line}" for i, line in enumerate(csv_lines())]
    lines[0] = "\ufeff" + lines[0]
    shuffled = [",".join(reversed(line.split(","))) for line in csv_lines()]
    for variant in (lines, shuffled):
        read = har_csv.read(write(tmp_path / "b.csv", variant))
        np.testing.assert_array_equal(read.acceleration, plain.acceleration)
        np.testing.assert_array_equal(read.time, plain.time)
        np.testing.assert_array_equal(read.label, plain.label)


def test_csv_accepts_nanoseconds_jitter_and_gaps(tmp_path):
    lines = csv_lines()
    lines = set_cell(lines, 1, "timestamp", "2019-01-12 00:00:00.000000000")
    lines = set_cell(lines, 3, "timestamp", "2019-01-12 00:00:00.041")
    late = csv_lines(100, start_ms=60_000)[1:]
    recording = har_csv.read(write(tmp_path / "S1.csv", lines + late))
    assert recording.time[2] - recording.time[1] == 21_000
    assert recording.time[200] - recording.time[199] == 60_000_000 - 199 * 20_000


def test_csv_without_labels_when_asked(tmp_path):
    path = write(tmp_path / "S1.csv", [line.rsplit(",", 1)[0] for line in csv_lines()])
    assert har_csv.read(path, need_label=False).label is None
    with pytest.raises(ValueError, match="column label is missing"):
        har_csv.read(path)


BROKEN = {
    "missing column": (
        lambda lines: [lines[0].replace("back_y", "back_why"), *lines[1:]],
        "column back_y is missing in line 1, found: timestamp, back_x, back_why",
    ),
    "column twice": (
        lambda lines: [lines[0].replace("back_y", "back_x"), *lines[1:]],
        "column back_x occurs more than once",
    ),
    "no number": (
        lambda lines: set_cell(lines, 7, "thigh_x", "abc"),
        r"thigh_x of row 7 \(line 8\) is 'abc', expected a number in g",
    ),
    "NaN": (lambda lines: set_cell(lines, 7, "back_z", "nan"), r"back_z of row 7 \(line 8\) is empty or NaN"),
    "empty cell": (
        lambda lines: set_cell(lines, 7, "label", ""),
        r"label of row 7 \(line 8\) is empty or NaN",
    ),
    "infinite": (lambda lines: set_cell(lines, 7, "back_z", "inf"), "back_z of row 7 is inf"),
    "malformed timestamp": (
        lambda lines: set_cell(lines, 9, "timestamp", "12.01.2019 0:00"),
        r"timestamp of row 9 \(line 10\) is '12.01.2019 0:00', expected a time like",
    ),
    "backwards": (
        lambda lines: [*lines[:101], *csv_lines(50)[1:]],
        r"timestamp of row 101 \(line 102\) goes back by 1.98 s",
    ),
    "repeated": (
        lambda lines: [*lines[:5], lines[4], *lines[5:]],
        r"timestamp of row 5 \(line 6\) repeats the one before",
    ),
    "wrong rate": (lambda lines: csv_lines(200, step_ms=10), r"sampling rate is 100 Hz .* expected 50 Hz"),
    "m/s^2": (
        lambda lines: [lines[0], *(line.replace("-0.98,", "-9.61,") for line in lines[1:])],
        "thigh sensor seems to be in m/s.2 .*divide all axes by 9.80665",
    ),
    "raw counts": (
        lambda lines: [lines[0], *(line.replace(",-1.0,", ",-256,") for line in lines[1:])],
        "back sensor seems to be in raw counts",
    ),
    "unknown label": (
        lambda lines: set_cell(lines, 11, "label", "9"),
        r"label 9 of row 11 \(line 12\) is unknown, layout harth has 1, 2",
    ),
    "fractional label": (
        lambda lines: set_cell(lines, 11, "label", "6.5"),
        r"label of row 11 \(line 12\) is '6.5'",
    ),
    "too short": (lambda lines: lines[:20], "only 19 rows, expected at least 50"),
    "header only": (lambda lines: lines[:1], "only 0 rows"),
    "cut off": (
        lambda lines: [*lines[:-1], lines[-1][:30]],
        r"row 200 \(line 201\) has 2 columns, the header 8",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_csv(tmp_path, case):
    damage, sentence = BROKEN[case]
    path = write(tmp_path / "S006.csv", damage(csv_lines()))
    with pytest.raises(ValueError, match=sentence) as caught:
        har_csv.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08\x00\xff\xfe" * 99, "not a text file"),
        (b"PK\0\0\0\n", "not a text file"),
    ],
)
def test_files_that_are_no_csv(tmp_path, content, sentence):
    (tmp_path / "S1.csv").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        har_csv.read(tmp_path / "S1.csv")


def test_har70plus_has_no_cycling(tmp_path):
    path = write(tmp_path / "501.csv", csv_lines(label=13))
    assert har_csv.read(path, "harth").label[0] == 13
    with pytest.raises(ValueError, match=r"label 13 of row 1 \(line 2\) is unknown, layout har70plus"):
        har_csv.read(path, "har70plus")
    with pytest.raises(ValueError, match="layout is 'hart', expected one of harth, har70plus"):
        har_csv.read(path, "hart")


def still(rows: int = 15_000, columns: int = 6) -> np.ndarray:
    signal = np.random.default_rng(rows).normal(0, 0.01, (rows, columns))
    signal[:, ::3] -= 1
    return signal


def test_hunt4_round_trip(tmp_path):
    folder = tmp_path / "4711.7z"
    folder.mkdir()
    later, earlier = still(15_000), still(16_000, 8)
    np.savez(folder / "2018-03-14_10.npz", later)
    np.savez(folder / "2018-03-14_09.npz", earlier)
    recording = hunt4.read(folder)
    assert recording.subject == "4711" and recording.label is None
    np.testing.assert_array_equal(recording.acceleration[:15_000], earlier[:15_000, :6].astype(np.float32))
    np.testing.assert_array_equal(recording.acceleration[15_000:], later.astype(np.float32))
    assert recording.time[0] == np.datetime64("2018-03-14T09", "us").astype(np.int64)
    assert recording.time[15_000] - recording.time[0] == 3_600_000_000
    assert (np.diff(recording.time) > 0).all()


def test_hunt4_subjects_are_sorted_and_unique(tmp_path):
    for name in ("b", "a.7z", "c", ".hidden"):
        (tmp_path / name).mkdir()
    assert list(hunt4.subject_folders(tmp_path)) == ["a", "b", "c"]
    (tmp_path / "b.7z").mkdir()
    with pytest.raises(ValueError, match="b and b.7z name the same subject"):
        hunt4.subject_folders(tmp_path)


def _npz_without_key() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, other=still())
    return buffer.getvalue()


def _npz(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, array)
    return buffer.getvalue()


def _flipped() -> bytes:
    content = bytearray(_npz(still()))
    content[len(content) // 2] ^= 1
    return bytes(content)


def _with_nan() -> np.ndarray:
    array = still()
    array[41, 2] = np.nan
    return array


def _pickled() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("arr_0.npy", "w") as member:
        np.lib.format.write_array(member, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no zip at all", "not a readable npz file"),
        (_npz(still())[:-5000], "not a readable npz file"),
        (_flipped(), "not a readable npz file"),
        (_npz_without_key(), "holds other.npy, expected the key arr_0"),
        (_npz(still(14_999)), r"arr_0 is float64 \[14999, 6\], expected numbers of shape"),
        (_npz(still(15_000, 3)), r"arr_0 is float64 \[15000, 3\]"),
        (_pickled(), "holds Python objects, which are never unpickled"),
        (_npz(_with_nan()), "back_z of row 42 is nan"),
        (_npz(still() * 9.81), "m/s"),
    ],
)
def test_broken_hunt4(tmp_path, content, sentence):
    path = tmp_path / "2018-03-14_09.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        hunt4.read(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_hunt4_names_every_broken_file(tmp_path):
    np.savez(tmp_path / "2018-03-14_09.npz", still())
    np.savez(tmp_path / "noon.npz", still())
    (tmp_path / "2018-03-14_25.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="2018-03-14_25.npz: the name is no date and hour.*noon.npz"):
        hunt4.read(tmp_path)
