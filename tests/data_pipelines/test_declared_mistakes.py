"""The one sentence that each mistake in a declaration, and each file that does not fit one, produces."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.raw import Report
from data_pipelines.readers import declared_csv
from data_pipelines.readers.declared import Declared, open_file, parse, text

DEVICE = "------------ Data File Created By ActiGraph GT3X+, 24.03.2021 at 30 Hz -----------"
START = np.datetime64("2020-01-31T12:00:00", "ms")
TEXT = "time=t,x=a,y=b,z=c,unit=g,rate=100"
EPOCH = "time=0,x=1,y=2,z=3,unit=g,rate=100,time_unit=s"


def test_a_declaration():
    assert parse(
        " time=my time, x=a,y=b,z=c,unit=m/s2,rate=85.7,time_unit=ms,range=8,skip=3,decimal=comma"
    ) == Declared(
        columns={"x": "a", "y": "b", "z": "c", "time": "my time"},
        unit="m/s2",
        rate_hz=85.7,
        time_unit="ms",
        range_g=8.0,
        skip=3,
        decimal=",",
    )
    without_time = parse("x=2,y=1,z=0,unit=g,rate=50,start=1970-01-01T00:00:01")
    assert without_time == Declared({"x": 2, "y": 1, "z": 0}, "g", 50, start_us=1_000_000)


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("unit=g, rate=100.0,time=t,x=a ,y=b,z=c,skip=0,decimal=point", "x=a,y=b,z=c,time=t,unit=g,rate=100"),
        ("x=2,y=1,z=0,unit=g,rate=85.7,start=2020-01-31", "x=2,y=1,z=0,unit=g,rate=85.7,start=2020-01-31T00:00:00"),
        (
            "time=0,x=1,y=2,z=3,unit=m/s2,rate=33.333333,time_unit=s,start=2020-01-31T12:00:00.25,range=8,skip=3,"
            "decimal=comma",
            "x=1,y=2,z=3,time=0,unit=m/s2,rate=33.333333,time_unit=s,start=2020-01-31T12:00:00.250000,range=8,skip=3,"
            "decimal=comma",
        ),
        ("x=a=1,y=b,z=c,time=v1.0,unit=mg,rate=25", "x=a=1,y=b,z=c,time=v1.0,unit=mg,rate=25"),
    ],
)
def test_a_declaration_as_text(said, again):
    assert text(parse(said)) == again and parse(again) == parse(said)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' is no part like x=acc_x"),
        ("x=a,y", "'y' is no part like x=acc_x"),
        ("x=a,y=", "'y=' is no part like x=acc_x"),
        (TEXT + ",unti=g", "'unti' in 'unti=g' is unknown .did you mean unit.., expected some of x, y"),
        (TEXT + ",RANGE=8", "'RANGE' in 'RANGE=8' is unknown .did you mean range.., expected"),
        (TEXT + ",device=AX3", "'device' in 'device=AX3' is unknown"),
        (TEXT + ",x=b", "x is there twice, 'a' and 'b'"),
        ("x=a,y=b,unit=g", "z, rate missing in 'x=a,y=b,unit=g'"),
        (TEXT.replace("t,", "0,"), "time=0 mixes names and numbers"),
        (TEXT.replace("=b", "=a"), "x=a, y=a, z=c, time=t names one column twice"),
        (TEXT.replace("=g", "=G"), "unit is 'G', expected one of g, mg, m/s2"),
        (TEXT + ",time_unit=min", "time_unit is 'min', expected one of s, ms, us, ns"),
        (TEXT + ",decimal=;", "decimal is ';', expected one of point, comma"),
        (TEXT.replace("100", "fast"), "rate is 'fast', expected 1 to 1000 samples a second"),
        (TEXT.replace("100", "0"), "rate is '0', expected 1 to 1000"),
        (TEXT.replace("100", "nan"), "rate is 'nan', expected 1 to 1000"),
        (TEXT + ",range=-8", "range is '-8', expected 1 to 1000 g"),
        (TEXT + ",skip=1.5", "skip is '1.5', expected 0 to 10000 whole lines"),
        (TEXT + ",time_unit=s,start=31.1.2020", "start is '31.1.2020', expected a local time like 2020-01-31T12:00:00"),
        (TEXT + ",time_unit=s,start=2020-01-31T12:00:00+01:00", "start is .* without a zone"),
        (TEXT + ",start=2020-01-31T12:00:00", "start needs time_unit"),
        (TEXT.replace("time=t,", ""), "time is missing, expected time=COLUMN, or start=2020-01-31T12:00:00"),
        (TEXT.replace("time=t", "time_unit=s,start=2020-01-31T12:00:00"), "time is missing"),
    ],
)
def test_mistakes_in_the_declaration(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        parse(text)
    assert str(caught.value).startswith("--columns: ") and "\n" not in str(caught.value)


def lines(rows: int = 1500, hz: float = 100, last: str = "0.95") -> list[str]:
    times = START + np.rint(np.arange(rows) * 1e3 / hz).astype("timedelta64[ms]")
    return ["t,a,b,c"] + [f"{str(t).replace('T', ' ')},0.1,0.2,{last}" for t in times]


def write(folder: Path, content: list[str], name: str = "1.csv") -> Path:
    data = ("\n".join(content) + "\n").encode()
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return folder / name


def check_sentence(path: Path, text: str, sentence: str):
    with pytest.raises(ValueError, match=sentence) as caught:
        list(open_file(path, parse(text)).read(Report()))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def with_row(row: int, cells: str) -> list[str]:
    """The lines with a data row (from 1) replaced."""
    content = lines()
    return [*content[:row], cells, *content[row + 1 :]]


NOT_A_TIME = "31.1.2020,0,0,1"
AT = "2020-01-31 12:00:14"
BROKEN = {
    "no number": (with_row(1407, f"{AT},0,abc,1"), TEXT, r"b of row 1407 \(line 1408\) is 'abc', expected a number"),
    "no time": (
        with_row(1407, "31.1.2020,0,0,1"),
        TEXT,
        r"t of row 1407 \(line 1408\) is '31.1.2020', expected a time",
    ),
    "too short": (with_row(1407, f"{AT},0"), TEXT, r"row 1407 \(line 1408\) has 2 columns, the header 4"),
    "below lines": (
        ["made by", "a device", *with_row(1407, f"{AT},0,abc,1")],
        TEXT + ",skip=2",
        r"b of row 1407 \(line 1410\) is 'abc'",
    ),
    "without header": (
        with_row(1407, f"{AT},0,abc,1")[1:],
        "time=0,x=1,y=2,z=3,unit=g,rate=100",
        "column 2 of row 1407 is 'abc'",
    ),
    "text for numbers": (
        lines(),
        TEXT + ",time_unit=ms",
        r"t of row 1 \(line 2\) is '2020-01-31.*', expected a number; leave out time_unit in --columns if times are",
    ),
    "points for commas": (
        [row.replace(",", ";") for row in lines()],
        TEXT + ",decimal=comma",
        r"a of row 1 \(line 2\) is '0.1', expected a number; --columns says decimal=comma, leave it out",
    ),
    "commas for points": (
        [row.replace(",", ";").replace(".", ",") for row in lines()],
        TEXT,
        r"a of row 1 \(line 2\) is '0,1', expected a number; without decimal=comma in --columns .* add it",
    ),
    "a word with a point": (
        [lines()[0].replace(",", ";"), "2020-01-31 12:00:00;a.b;0;1"],
        TEXT + ",decimal=comma",
        "'a.b', expected a number$",
    ),
    "time with a comma": (["t;a;b;c", "1580472000,5;0;0;1"], TEXT + ",time_unit=s", "'1580472000,5', .* decimal=comma"),
    "numbers for text": (
        ["t,a,b,c", "1580472000,0,0,1"],
        TEXT,
        r"t of row 1 \(line 2\) is '1580472000', a number; say",
    ),
    "misspelt": (lines(), TEXT.replace("=a", "=Q1").replace("=t", "=tt"), "x=Q1, but there is no such column; line 1"),
    "nearest": (["t,acc_x,b,c", *lines()[1:]], TEXT.replace("=a", "=accx"), "x=accx, .* the nearest is acc_x; line 1"),
    "other case": (["t,thigh_x,b,c", *lines()[1:]], TEXT.replace("=a", "=THIGH_X"), "column, the nearest is thigh_x; "),
    "preamble": (
        [DEVICE, "Serial Number: TAS1", *lines()],
        TEXT,
        "x=a, but there is no such column; line 1 has: -+ Data File .*; if lines stand before the header say how many "
        "with skip= in --columns$",
    ),
    "preamble, by number": (
        [DEVICE, *lines()],
        "time=0,x=1,y=2,z=3,unit=g,rate=100",
        "y=2, but line 1 has 2 columns, expected 0 to 1; if lines stand before the header say how many with skip=",
    ),
    "preamble with as many cells": ([f"{DEVICE},,", *lines()], TEXT, "; if lines stand before the header say how"),
    "preamble that is longer": (
        [DEVICE, DEVICE, *lines()],
        TEXT + ",skip=1",
        "line 2 has: .*; if lines stand before the header say how many with skip=",
    ),
    "some of the names": (lines(), TEXT.replace("=a", "=Q1"), "line 1 has: t, a, b, c$"),
    "named twice": (["t,a,a,c", *lines()[1:]], TEXT, "x=a, but several columns are named so; line 1 has: t, a, a, c"),
    "beyond": (lines(), "time=0,x=1,y=2,z=4,unit=g,rate=100", "z=4, but line 1 has 4 columns, expected 0 to 3$"),
    "another rate": (lines(hz=50), TEXT, "rows show 50 different times a second, .* rate=100: correct rate"),
    "backwards": (
        [*lines(), *lines()[1300:]],
        TEXT,
        "time of 201 of 1701 rows is not later than that of the rows before, first in data row 1501",
    ),
    "m/s2": (lines(last="9.75"), TEXT, "is 9.753 g, expected about 1, which is gravity: give unit=m/s2"),
    "g": (lines(), TEXT.replace("=g", "=mg"), "is 0.976 mg, expected about 1000, which is gravity: give unit=g"),
    "g for m/s2": (lines(), TEXT.replace("=g", "=m/s2"), "is 0.976 m/s2, expected about 9.807, .* give unit=g"),
    "counts": (lines(last="60"), TEXT, "is 60 g, expected about 1, which is gravity: wrong columns or unit"),
    "neither": (lines(last="6"), TEXT, "is 6.004 g, expected about 1, which is gravity: wrong columns or unit"),
    "wrong time unit": (
        [f"{1580472000000 + 10 * i},0,0,1" for i in range(1500)],
        EPOCH,
        "is 1580472007495, by time_unit=s and counted from 1970 that is not between 1990 and 2100: correct time_unit",
    ),
    "no start": ([f"{i / 100},0,0,1" for i in range(1500)], EPOCH, "counted from 1970 .* or give start="),
    "header only": (lines()[:1], TEXT, "none of 0 rows has numbers"),
    "no numbers": ([lines()[0], ",,,", ",,,"], TEXT, "none of 2 rows has numbers and a time"),
    "nothing": ([""], TEXT, "line 1 is empty or missing"),
    "fewer lines": (lines(5), TEXT + ",skip=9", r"line 10 is empty or missing, .* \(skip=9\)"),
    "no text": (["\0\0\0", "1"], TEXT, "not a text file"),
}


@pytest.mark.parametrize("block", [1 << 23, 45_000])  # row numbers count on from piece to piece
@pytest.mark.parametrize("name", ["1.csv", "1.csv.gz"])
@pytest.mark.parametrize("case", BROKEN)
def test_csv_that_does_not_fit(tmp_path, monkeypatch, case, name, block):
    monkeypatch.setattr(declared_csv, "BLOCK_BYTES", block)
    content, text, sentence = BROKEN[case]
    check_sentence(write(tmp_path, content, name), text, sentence)


def test_times_in_whole_seconds(tmp_path):
    content = [row if row[0] == "t" else f"{row[:19]}{row[23:]}" for row in lines(3000)]
    sentence = "rows show 1 different times a second, .* most times repeat the one before, leave time out"
    check_sentence(write(tmp_path, content), TEXT, sentence)


PACKED = gzip.compress("\n".join(lines(5000)).encode(), mtime=0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"t,a,b,c\n", "not a readable gzip file"),
        (PACKED[: len(PACKED) // 2], r"cannot be unpacked beyond data row \d+ .*: copy it again"),
        (PACKED[:-12] + bytes(4) + PACKED[-8:], r"cannot be unpacked beyond data row \d+"),
    ],
)
def test_gzip_that_is_damaged(tmp_path, content, sentence):
    (tmp_path / "1.csv.gz").write_bytes(content)
    check_sentence(tmp_path / "1.csv.gz", TEXT, sentence)


NAMED = np.zeros(9, [("t", "i8"), ("acc_x", "f4"), ("b", "f4"), ("c", "U3")])


@pytest.mark.parametrize(
    ("array", "text", "sentence"),
    [
        (np.zeros((9, 3)), EPOCH, "z=3, but the 3 columns have no names, expected a number from 0 to 2"),
        (np.zeros((9, 4)), TEXT, "x=a, but the 4 columns have no names"),
        (np.zeros(9), EPOCH, r"holds an array of shape \(9,\), expected \[samples, columns\]"),
        (np.zeros((9, 4), complex), EPOCH, "x is complex128, expected numbers"),
        (np.zeros((9, 4)), EPOCH.replace(",time_unit=s", ""), "times are float64; say with time_unit="),
        (NAMED, EPOCH, "x=1, but there is no such field; expected one of t, acc_x, b, c"),
        (NAMED, TEXT.replace("=a", "=accx"), "x=accx, but there is no such field, the nearest is acc_x"),
        (NAMED, TEXT.replace("=a", "=ACC_X"), "x=ACC_X, but there is no such field, the nearest is acc_x"),
        (NAMED, TEXT.replace("=a", "=acc_x"), "z is <U3, expected numbers"),
        (np.zeros(9, [("t", "M8[ms]"), *((n, "f4") for n in "abc")]), TEXT + ",time_unit=s", "leave time_unit out"),
        (np.zeros((9, 4)), EPOCH + ",skip=1", "skip= and decimal= in --columns are for csv files"),
        (np.zeros((0, 4)), EPOCH, "not a readable npy file|none of 0 rows"),
        (np.full((9, 4), np.nan), EPOCH, "none of 9 rows has numbers and a time"),
    ],
)
def test_npy_that_does_not_fit(tmp_path, array, text, sentence):
    np.save(tmp_path / "1.npy", array)
    check_sentence(tmp_path / "1.npy", text, sentence)


def test_npy_that_is_damaged(tmp_path):
    path = tmp_path / "1.npy"
    np.save(path, np.zeros((99, 4)))
    whole = path.read_bytes()
    for content in (b"", whole[:50], whole[:-9], b"t,a,b,c\n", b"PK\x03\x04"):
        path.write_bytes(content)
        check_sentence(path, EPOCH, "not a (readable )?npy file")
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros((9, 4)))
    check_sentence(path, EPOCH, r"not a npy file \(it begins with b'PK")
    with open(path, "wb") as file:
        np.save(file, np.array([[{}]]), allow_pickle=True)
    check_sentence(path, EPOCH, "not a readable npy file of numbers")


@pytest.mark.parametrize("name", ["1.csv", "1.csv.gz", "1.npy"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="1.* does not exist"):
        open_file(tmp_path / name, parse(TEXT))


def test_line_ends_that_split_no_header(tmp_path):
    path = tmp_path / "old.csv"
    path.write_bytes(b"time,x,y,z\r2020-01-01 00:00:00,0,0,1\r")
    with pytest.raises(ValueError, match=r"old.csv: line 1 cannot be split into columns .*ordinary line ends"):
        open_file(path, parse("time=time,x=x,y=y,z=z,unit=g,rate=50"))
