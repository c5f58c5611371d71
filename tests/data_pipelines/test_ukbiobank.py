"""The reader of the UK Biobank tool's csv files: a round trip, and the one sentence each broken input produces."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.readers import ukbiobank
from data_pipelines.readers.ukbiobank import read, recording_files

START = np.datetime64("2014-05-07T13:29:50.430", "ms")
ZONE = "+0100 [Europe/London]"


def lines(rows: int = 300, hz: float = 100, zone: str = "") -> list[str]:
    """Header and rows of a wrist on a table, z at 0.95 g, times in milliseconds."""
    times = START + np.rint(np.arange(rows) * 1000 / hz).astype("timedelta64[ms]")
    return ["time,x,y,z"] + [f"{str(t).replace('T', ' ')}{zone},0.1,-0.{i % 10},0.95" for i, t in enumerate(times)]


def write(folder: Path, content: list[str], name: str = "1000012_90001_0_0.csv") -> Path:
    data = ("\n".join(content) + "\n").encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


def with_cell(content: list[str], row: int, column: int, value: str) -> list[str]:
    """Copy of the lines with one cell of a data row (from 1) replaced."""
    cells = content[row].split(",")
    cells[column] = value
    return [*content[:row], ",".join(cells), *content[row + 1 :]]


def test_round_trip(tmp_path):
    recording = read(write(tmp_path, lines()))
    assert (recording.subject, recording.name) == ("1000012", "1000012_90001_0_0")
    assert recording.channels == ("wrist_x", "wrist_y", "wrist_z") and recording.rate_hz == 100
    assert recording.label is None and recording.activities == {}
    assert recording.acceleration.dtype == np.float32 and recording.acceleration.shape == (300, 3)
    np.testing.assert_array_equal(recording.acceleration[13], np.float32([0.1, -0.3, 0.95]))
    np.testing.assert_array_equal(recording.time, START.astype("datetime64[us]").astype(int) + 10_000 * np.arange(300))


@pytest.mark.parametrize("zone", [ZONE, " " + ZONE, "+0100", "-05:30", " [Europe/London]"])
def test_zones_are_left_out_and_gzip_is_read(tmp_path, zone):
    plain = read(write(tmp_path, lines()))
    for name in ("2.csv", "2.csv.gz"):
        zoned = read(write(tmp_path, lines(zone=zone), name))
        np.testing.assert_array_equal(zoned.time, plain.time)
        np.testing.assert_array_equal(zoned.acceleration, plain.acceleration)


@pytest.mark.parametrize("block", [1 << 23, 1000])  # in one piece and in several
def test_the_clock_runs_on_when_summer_time_ends(tmp_path, monkeypatch, block):
    monkeypatch.setattr(ukbiobank, "BLOCK_BYTES", block)
    summer = [f"2014-10-26 01:59:59.{10 * i:03d}{ZONE},0,0,1" for i in range(100)]
    winter = [f"2014-10-26 01:00:00.{10 * i:03d}+0000 [Europe/London],0,0,1" for i in range(100)]
    recording = read(write(tmp_path, ["time,x,y,z", *summer, *winter]))
    first = np.datetime64("2014-10-26T01:59:59", "us").astype(int)
    np.testing.assert_array_equal(recording.time, first + 10_000 * np.arange(200))


def test_more_columns_in_another_order(tmp_path):
    plain = read(write(tmp_path, lines()))
    content = [f"light,{','.join(line.split(',')[::-1])}" for line in lines()]
    other = read(write(tmp_path, content, "3.csv"))
    np.testing.assert_array_equal(other.acceleration, plain.acceleration)
    np.testing.assert_array_equal(other.time, plain.time)


@pytest.mark.parametrize("hz", [20, 30, 50, 64, 100, 150, 200])
def test_rate_is_the_one_between_gaps(tmp_path, hz):
    content = lines(1000, hz)
    assert read(write(tmp_path, content)).rate_hz == hz  # milliseconds show 64 and 150 Hz in steps of two lengths
    recording = read(write(tmp_path, [*content[:400], *content[700:]]))
    assert recording.rate_hz == hz and len(recording.time) == 700


BROKEN = {
    "missing column": (
        lambda rows: [rows[0].replace("z", "w"), *rows[1:]],
        "column z is missing in line 1, found: time, x, y, w; expected time, x, y, z",
    ),
    "no number": (lambda rows: with_cell(rows, 207, 2, "abc"), r"y of row 207 \(line 208\) is 'abc', expected a numb"),
    "empty": (lambda rows: with_cell(rows, 207, 1, ""), r"x of row 207 \(line 208\) is empty or NaN"),
    "NaN": (lambda rows: with_cell(rows, 207, 3, "nan"), r"z of row 207 \(line 208\) is empty or NaN"),
    "infinite": (lambda rows: with_cell(rows, 207, 3, "-inf"), "wrist_z of row 207 is -inf"),
    "no time": (
        lambda rows: with_cell(rows, 207, 0, "7.5.2014 13:29"),
        r"time of row 207 \(line 208\) is '7.5.2014 13:29', expected a time like 2014-05-07 13:29:50.430",
    ),
    "empty time": (lambda rows: with_cell(rows, 207, 0, ""), r"time of row 207 \(line 208\) is '', expected a time"),
    "backwards": (lambda rows: [*rows, *rows[291:]], r"timestamp of row 301 \(line 302\) goes back by 0.09 s"),
    "repeated": (lambda rows: [*rows[:9], *rows[8:]], r"timestamp of row 9 \(line 10\) repeats the one before"),
    "slow": (lambda rows: lines(300, 10), "sampling rate is 10 Hz .* expected 20 to 200 Hz"),
    "fast": (lambda rows: lines(300, 500), "sampling rate is 500 Hz .* expected 20 to 200 Hz"),
    "m/s^2": (
        lambda rows: [row.replace(",0.95", ",9.6") for row in rows],
        "the wrist sensor seems to be in m/s.2 .*divide all axes by 9.80665",
    ),
    "raw counts": (
        lambda rows: [row.replace(",0.95", ",60") for row in rows],
        "wrist sensor seems to be in raw counts",
    ),
    "too short": (lambda rows: rows[:100], "only 99 rows, expected at least 100"),
    "header only": (lambda rows: rows[:1], "only 0 rows"),
    "cut off": (lambda rows: [*rows, rows[-1][:10]], r"row 301 \(line 302\) has 1 columns, the header 4"),
}


@pytest.mark.parametrize("block", [1 << 23, 1000])  # row numbers count on from piece to piece
@pytest.mark.parametrize("name", ["1000012_90001_0_0.csv", "1000012_90001_0_0.csv.gz"])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_rows(tmp_path, monkeypatch, case, name, block):
    monkeypatch.setattr(ukbiobank, "BLOCK_BYTES", block)
    damage, sentence = BROKEN[case]
    path = write(tmp_path, damage(lines()), name)
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


PACKED = gzip.compress("\n".join(lines(5000)).encode(), mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("1.csv", b"", "the file is empty"),
        ("1.csv.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("1.csv", PACKED, "not a text file"),
        ("1.csv.gz", b"time,x,y,z\n", "not a readable gzip file"),
        ("1.csv.gz", PACKED[: len(PACKED) // 2], "cannot be unpacked"),
        ("1.csv.gz", PACKED[:-12] + bytes(4) + PACKED[-8:], "cannot be unpacked"),
    ],
)
def test_broken_files(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for name in ("1.csv", "1.csv.gz"):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / name)


def test_files_of_a_folder(tmp_path):
    for name in ("20_90001_1_0.csv.gz", "20_90001_0_0.csv", "3_90001_0_0.csv", ".4.csv", "notes.txt"):
        (tmp_path / name).touch()
    found = recording_files(tmp_path)
    assert list(found) == ["20_90001_0_0", "20_90001_1_0", "3_90001_0_0"]
    assert found["20_90001_1_0"] == tmp_path / "20_90001_1_0.csv.gz"
    (tmp_path / "3_90001_0_0.csv.gz").touch()
    with pytest.raises(ValueError, match="3_90001_0_0.csv and 3_90001_0_0.csv.gz name the same recording"):
        recording_files(tmp_path)
