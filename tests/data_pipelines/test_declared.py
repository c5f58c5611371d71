"""Csv and npy files of declared columns: what comes out of them, and the one sentence each mistake produces."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.raw import Report
from data_pipelines.readers import declared_csv, declared_npy
from data_pipelines.readers.declared import open_file, parse

PROJECT = Path(__file__).resolve().parents[2]
START = np.datetime64("2020-01-31T12:00:00", "us")
START_US = int(START.astype(int))
TEXT = "time=t,x=a,y=b,z=c,unit=g,rate=100"
NUMBERS = "x=0,y=1,z=2,unit=g,rate=100,start=2020-01-31T12:00:00"
EPOCH = "time=0,x=1,y=2,z=3,unit=g,rate=100,time_unit={}"


def lines(rows: int = 1500, hz: float = 100, mark: str = ",", zone: str = "") -> list[str]:
    """Header and rows of a sensor on a table, z at 0.95 g."""
    times = START + np.rint(np.arange(rows) * 1e6 / hz).astype("timedelta64[us]")
    cells = [[f"{t}".replace("T", " ") + zone, "0.1", f"-0.{i % 10}", "0.95"] for i, t in enumerate(times)]
    return [mark.join(row) for row in [["t", "a", "b", "c"], *cells]]


def write(folder: Path, content: list[str], name: str = "1.csv") -> Path:
    data = ("\n".join(content) + "\n").encode()
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return folder / name


def save(folder: Path, array: np.ndarray, name: str = "1.npy") -> Path:
    np.save(folder / name, array)
    return folder / name


def matrix(rows: int = 1500, unit_us: float = 1e6) -> np.ndarray:
    """float64 [rows, 4]: time since 1970 of 100 Hz, and z at 0.95 g."""
    time = (START_US + 10_000 * np.arange(rows)) / unit_us
    return np.stack([time, np.full(rows, 0.1), -(np.arange(rows) % 10) / 10, np.full(rows, 0.95)], axis=1)


def read(path: Path, text: str) -> tuple[np.ndarray, np.ndarray, Report]:
    """Time, acceleration and report of a whole file."""
    report = Report()
    pieces = list(open_file(path, parse(text)).read(report))
    assert all(piece.time.dtype == np.int64 and piece.acceleration.dtype == np.float32 for piece in pieces)
    time, acceleration = (np.concatenate([piece[i] for piece in pieces]) for i in (0, 1))
    assert (np.diff(time) > 0).all()
    assert (report.samples, report.first_us, report.last_us) == (len(time), time[0], time[-1])
    return time, acceleration, report


def check_all_rows(time: np.ndarray, acceleration: np.ndarray, rows: int = 1500):
    np.testing.assert_array_equal(time, START_US + 10_000 * np.arange(rows))
    expected = np.stack([np.full(rows, 0.1), -(np.arange(rows) % 10) / 10, np.full(rows, 0.95)], axis=1)
    np.testing.assert_allclose(acceleration, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("block", [1 << 23, 1000])  # in one piece and in several
@pytest.mark.parametrize("name", ["1.csv", "1.csv.gz"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("zone", ["", "+0100 [Europe/Oslo]", "Z"])
def test_csv_by_name(tmp_path, monkeypatch, block, name, mark, zone):
    monkeypatch.setattr(declared_csv, "BLOCK_BYTES", block)
    time, acceleration, report = read(write(tmp_path, lines(mark=mark, zone=zone), name), TEXT)
    check_all_rows(time, acceleration)
    assert report.bad_blocks == {} and report.gaps == 0 and report.effective_rate_hz == pytest.approx(100)


def test_what_is_known_of_a_file(tmp_path):
    found = open_file(write(tmp_path, lines()), parse(TEXT + ",range=8"))
    assert (found.device, found.rate_hz, found.range_g) == ("csv", 100, 8)
    assert found.facts["unit"] == "g" and found.facts["column z"] == "c"


def test_other_columns_in_another_order_below_some_lines(tmp_path):
    content = ["made by a device", "", *(f"{row.rpartition(',')[2]},éä,{row}" for row in lines())]
    content[2] = 'c2,"name, with comma",t,a,b,c'
    check_all_rows(*read(write(tmp_path, content), TEXT + ",skip=2")[:2])


@pytest.mark.parametrize("header", [True, False])
def test_csv_by_number_with_and_without_header(tmp_path, header):
    path = write(tmp_path, lines()[0 if header else 1 :])
    check_all_rows(*read(path, "time=0,x=1,y=2,z=3,unit=g,rate=100")[:2])


def test_decimal_comma(tmp_path):
    path = write(tmp_path, [row.replace(".", ",") for row in lines(mark=";")])
    check_all_rows(*read(path, TEXT + ",decimal=comma")[:2])


@pytest.mark.parametrize("ending", ["csv", "npy"])
@pytest.mark.parametrize(("unit", "us"), [("s", 1e6), ("ms", 1e3), ("us", 1), ("ns", 1e-3)])
def test_times_that_are_numbers(tmp_path, ending, unit, us):
    array = matrix(unit_us=us)
    if ending == "npy":
        path = save(tmp_path, array)
    else:
        path = write(tmp_path, [f"{row[0]:.6f},{row[1]},{row[2]},{row[3]}" for row in array])
    check_all_rows(*read(path, EPOCH.format(unit))[:2])


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_times_that_count_from_the_start(tmp_path, ending):
    array = matrix()
    array[:, 0] = np.arange(1500) / 100
    path = save(tmp_path, array) if ending == "npy" else write(tmp_path, [",".join(map(str, row)) for row in array])
    check_all_rows(*read(path, EPOCH.format("s") + ",start=2020-01-31T12:00:00")[:2])


@pytest.mark.parametrize(("unit", "per_g"), [("g", 1), ("mg", 1000), ("m/s2", 9.80665)])
def test_units(tmp_path, unit, per_g):
    array = matrix()[:, 1:] * per_g
    check_all_rows(*read(save(tmp_path, array), NUMBERS.replace("unit=g", f"unit={unit}"))[:2])


@pytest.mark.parametrize("rows", [declared_npy.ROWS, 400])
@pytest.mark.parametrize("kind", ["time", "number", "no time"])
def test_npy_of_named_fields(tmp_path, monkeypatch, rows, kind):
    monkeypatch.setattr(declared_npy, "ROWS", rows)
    values = matrix()
    dtype = [("t", "M8[ns]" if kind == "time" else "i8"), ("a", "f4"), ("b", "f8"), ("c", "f4"), ("name", "U3")]
    array = np.zeros(1500, dtype)
    array["t"] = START + (10_000 * np.arange(1500)).astype("timedelta64[us]") if kind == "time" else values[:, 0] * 1e6
    array["a"], array["b"], array["c"] = values[:, 1:].T
    text = {"number": TEXT + ",time_unit=us", "no time": TEXT.replace("time=t", "start=2020-01-31 12:00")}
    check_all_rows(*read(save(tmp_path, array), text.get(kind, TEXT))[:2])


def test_npy_by_columns_in_memory_order_of_fortran(tmp_path):
    check_all_rows(*read(save(tmp_path, np.asfortranarray(matrix(1500))), EPOCH.format("s"))[:2])


@pytest.mark.parametrize("kind", ["M8[us]", "f8"])
def test_npy_rows_without_a_time_are_left_out(tmp_path, kind):
    array = np.zeros(1500, [("t", kind), ("a", "f4"), ("b", "f4"), ("c", "f4")])
    array["t"], array["c"] = (START_US + 10_000 * np.arange(1500)).astype(kind), 1
    array["t"][[0, 700]] = np.array("nat" if kind[0] == "M" else "nan", kind)
    time, _, report = read(save(tmp_path, array), TEXT + (",time_unit=us" if kind == "f8" else ""))
    np.testing.assert_array_equal(time, START_US + 10_000 * np.delete(np.arange(1500), [0, 700]))
    assert report.bad_blocks == {"rows without a number": 2}


@pytest.mark.parametrize("block", [1 << 23, 1000])
def test_rows_without_a_number_are_gaps(tmp_path, monkeypatch, block):
    monkeypatch.setattr(declared_csv, "BLOCK_BYTES", block)
    content = lines()
    for row, cells in {7: ",0.1,0.1,0.9", 8: "{},,0,1", 9: "{},0,nan,1", 10: "{},0,0,inf", 700: "{},NaN,,"}.items():
        content[row] = cells.format(content[row].split(",")[0])
    time, _, report = read(write(tmp_path, content), TEXT)
    rows = np.delete(np.arange(1, 1501), [6, 7, 8, 9, 699])
    np.testing.assert_array_equal(time, START_US + 10_000 * (rows - 1))
    assert report.bad_blocks == {"rows without a number": 5}
    assert (report.gaps, report.longest_gap_s) == (2, 0.05) and report.missing_s == pytest.approx(0.05)


def test_rows_without_a_number_keep_the_clock_of_regular_samples(tmp_path):
    array = matrix()[:, 1:]
    array[100:200, 1] = np.nan
    time, _, report = read(save(tmp_path, array), NUMBERS)
    assert time[100] == START_US + 2_000_000 and report.missing_s == pytest.approx(1)


@pytest.mark.parametrize("block", [1 << 23, 1000])
def test_times_that_do_not_increase_are_left_out(tmp_path, monkeypatch, block):
    monkeypatch.setattr(declared_csv, "BLOCK_BYTES", block)
    content = lines()
    overlap = [*content[:901], *content[801:]]  # a second of rows twice
    time, acceleration, report = read(write(tmp_path, overlap), TEXT)
    check_all_rows(time, acceleration)
    assert report.bad_blocks == {"time not increasing": 100}


def test_impossible_times_are_left_out(tmp_path):
    array = matrix()
    array[500:503, 0] = 1e300, np.inf, 0
    time, _, report = read(save(tmp_path, array), EPOCH.format("s"))
    np.testing.assert_array_equal(time, START_US + 10_000 * np.delete(np.arange(1500), [500, 501, 502]))
    assert report.bad_blocks == {"rows with a time before 1990 or after 2099": 3}


@pytest.mark.parametrize("hz", [12.5, 31.25, 64, 150, 180])
def test_clocks_in_milliseconds_show_their_rate(tmp_path, hz):
    array = matrix(4000)
    array[:, 0] = START_US // 1000 + np.rint(np.arange(4000) * 1000 / hz)
    assert len(read(save(tmp_path, array), EPOCH.format("ms").replace("100", str(hz)))[0]) == 4000


def test_zeros_of_a_sleeping_device_say_nothing_of_its_unit(tmp_path):
    array = matrix(4000)
    array[:2500, 1:] = 0
    assert len(read(save(tmp_path, array), EPOCH.format("s"))[0]) == 4000


# A process of its own, so that what is measured is the reader's; the peak before is that of the imports. By
# the kernel's file, as the peak that getrusage tells is at least the size of the process that started this one.
WEEK = """
import re, sys
from data_pipelines.raw import Report
from data_pipelines.readers.declared import open_file, parse

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

before, report = peak(), Report()
for piece in open_file(sys.argv[1], parse(sys.argv[2])).read(report):
    pass
print(report.samples, peak() - before)
"""


@pytest.mark.parametrize(("name", "limit_mb"), [("1.csv", 150), ("1.csv.gz", 150), ("1.npy", 60)])
def test_memory_does_not_grow_with_the_file(tmp_path, name, limit_mb):
    rows, text = 1_500_000, "time=0,x=1,y=2,z=3,unit=g,rate=100,time_unit=us"
    if name == "1.npy":
        path = save(tmp_path, matrix(rows, 1))  # 48 MB
    else:
        row = "".join(f"{{:d}},0.1{i % 10},-0.2,0.95\n" for i in range(1000))
        data = "".join(
            row.format(*range(first, first + 10_000_000, 10_000))
            for first in range(START_US, START_US + rows * 10_000, 10_000_000)
        ).encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    ran = subprocess.run([sys.executable, "-c", WEEK, str(path), text], cwd=PROJECT, capture_output=True, check=True)
    samples, grown = ran.stdout.split()
    assert int(samples) == rows and float(grown) < limit_mb
