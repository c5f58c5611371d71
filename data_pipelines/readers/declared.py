"""Raw sensor files whose columns, unit and rate the user declares: csv, csv.gz and npy, a few minutes at a time.

The declaration is one text, `time=timestamp,x=acc_x,y=acc_y,z=acc_z,unit=g,time_unit=ms,rate=100,range=8`:
  x, y, z: columns of the acceleration, by name, or all by number from 0. By number, a csv file's first line is data if
    its x is a number, and a header otherwise.
  unit: g, mg or m/s2.  rate: nominal samples a second.  range: g at which the device clips, if known.
  time: column of the times; `YYYY-MM-DD HH:MM:SS[.f]`, a zone may follow, is recognised by itself. Without it
    samples are regular, and the first one is taken at start.
  time_unit: s, ms, us or ns of times that are numbers.
  start: 2020-01-31T12:00:00, local; times that are numbers count from there instead of from 1970.
  skip: lines before a csv file's header.  decimal: comma or point, the latter being the rule.
"""

import dataclasses
import datetime
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from data_pipelines.raw import Piece, RawFile, Report
from data_pipelines.readers import declared_csv, declared_npy
from data_pipelines.readers.declared_checks import UNITS, check_rate, check_unit, nearest

TIME_UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
DECIMALS = {"point": ".", "comma": ","}
COLUMNS, NEEDED = ("x", "y", "z", "time"), ("x", "y", "z", "unit", "rate")
KEYS = (*NEEDED, "time", "time_unit", "start", "range", "skip", "decimal")
LOWEST_HZ, HIGHEST_HZ = 1, 1000
# Of numbers read in a wrong unit, or of such that do not count from 1970, next to none lie within.
EARLIEST_US, LATEST_US = (int(np.datetime64(year, "us").astype(int)) for year in ("1990", "2100"))
MOST_UNSORTED = 0.1
NO_NUMBER, NO_TIME = "rows without a number", "rows with a time before 1990 or after 2099"
NOT_LATER = "time not increasing"


@dataclasses.dataclass(frozen=True)
class Declared:
    """What the columns of a file are.

    Attributes:
      columns: x, y, z and, if the file has it, time -> the column's name, or its number from 0.
      unit: one of UNITS.
      rate_hz: nominal samples a second.
      time_unit: one of TIME_UNITS_US; None if times are text or absent.
      start_us: int, microseconds since 1970: when the first sample was taken, or what times count from.
      range_g: g at which the device clips; None if unknown.
      skip: lines before the header of a csv file.
      decimal: "." or ",".
    """

    columns: Mapping[str, str | int]
    unit: str
    rate_hz: float
    time_unit: str | None = None
    start_us: int | None = None
    range_g: float | None = None
    skip: int = 0
    decimal: str = "."


def parse(text: str) -> Declared:
    """The declaration in a text as above.

    Raises:
      ValueError: one sentence naming the part that is wrong, and what is expected.
    """
    parts: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value:
            raise ValueError(
                f"--columns: {part.strip()!r} is no part like x=acc_x; a column with a comma goes by number"
            )
        if key not in KEYS:
            near = nearest(key, KEYS)
            raise ValueError(
                f"--columns: {key!r} in {part.strip()!r} is unknown"
                + (f" (did you mean {near}?)" if near else "")
                + f", expected some of {', '.join(KEYS)}"
            )
        if key in parts:
            raise ValueError(f"--columns: {key} is there twice, {parts[key]!r} and {value!r}; expected one")
        parts[key] = value
    if lacking := [key for key in NEEDED if key not in parts]:
        raise ValueError(f"--columns: {', '.join(lacking)} missing in {text!r}, expected at least {', '.join(NEEDED)}")
    return _checked(parts)


def text(declared: Declared) -> str:
    """The declaration as the text that `parse` reads, in one way whatever the way it was written."""
    start = None
    if declared.start_us is not None:
        start = (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=declared.start_us)).isoformat()
    parts = {
        **declared.columns,
        "unit": declared.unit,
        "rate": declared.rate_hz,
        "time_unit": declared.time_unit,
        "start": start,
        "range": declared.range_g,
        "skip": declared.skip or None,
        "decimal": "comma" if declared.decimal == "," else None,
    }
    words = {key: f"{value:.10g}" if isinstance(value, float) else value for key, value in parts.items()}
    return ",".join(f"{key}={word}" for key, word in words.items() if word is not None)


def open_file(path: str | Path, declared: Declared) -> RawFile:
    """A csv, csv.gz or npy file. Its pieces leave out rows without a number and rows not later than all before, counted
    in the report.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not a file of its kind, or a column is missing. Reading raises it for a row that is broken, where unit
        or rate are not the declared ones, and at the end if more than a tenth of the rows are not in order.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    numeric = declared.time_unit is not None
    if path.name.lower().endswith(".npy"):
        if declared.skip or declared.decimal != ".":
            raise ValueError(f"{path}: skip= and decimal= in --columns are for csv files, leave them out")
        fields = declared_npy.fields(path, declared.columns, numeric)
        kind, rows = "npy", lambda report: declared_npy.rows(path, fields)
    else:
        layout = declared_csv.layout(path, declared.columns, declared.skip)
        kind, rows = "csv", partial(declared_csv.rows, path, layout, numeric, declared.decimal)
    facts = {"unit": declared.unit} | {f"column {role}": column for role, column in declared.columns.items()}
    read = partial(_pieces, path, declared, rows)
    return RawFile(path, kind, declared.rate_hz, declared.range_g, facts, read)


def _checked(parts: Mapping[str, str]) -> Declared:
    columns = {role: parts[role] for role in COLUMNS if role in parts}
    by_number = [role for role, column in columns.items() if column.isdecimal()]
    if by_number and len(by_number) < len(columns):
        shown = ", ".join(f"{role}={column}" for role, column in columns.items())
        raise ValueError(f"--columns: {shown} mixes names and numbers, expected all of them by name or all by number")
    if len(set(columns.values())) < len(columns):
        shown = ", ".join(f"{role}={column}" for role, column in columns.items())
        raise ValueError(f"--columns: {shown} names one column twice, expected a column each")
    time_unit = _one_of(parts, "time_unit", TIME_UNITS_US)
    if "time" not in columns and (time_unit or "start" not in parts):
        raise ValueError(
            "--columns: time is missing, expected time=COLUMN, or start=2020-01-31T12:00:00 without time_unit for "
            "samples at a regular rate"
        )
    if "time" in columns and "start" in parts and not time_unit:
        raise ValueError("--columns: start needs time_unit, the unit of the times that count from start; leave out one")
    return Declared(
        columns={role: int(column) for role, column in columns.items()} if by_number else columns,
        unit=_one_of(parts, "unit", UNITS),
        rate_hz=_number(parts, "rate", LOWEST_HZ, HIGHEST_HZ, "samples a second"),
        time_unit=time_unit,
        start_us=_start_us(parts["start"]) if "start" in parts else None,
        range_g=_number(parts, "range", 1, 1000, "g") if "range" in parts else None,
        skip=int(_number(parts, "skip", 0, 10_000, "whole lines", whole=True)) if "skip" in parts else 0,
        decimal=DECIMALS[_one_of(parts, "decimal", DECIMALS) or "point"],
    )


def _one_of(parts: Mapping[str, str], key: str, known: Mapping[str, object]) -> str | None:
    if key in parts and parts[key] not in known:
        raise ValueError(f"--columns: {key} is {parts[key]!r}, expected one of {', '.join(known)}")
    return parts.get(key)


def _number(parts: Mapping[str, str], key: str, low: float, high: float, of: str, whole: bool = False) -> float:
    try:
        number = float(parts[key])
    except ValueError:
        number = math.nan
    if not low <= number <= high or (whole and number % 1):
        raise ValueError(f"--columns: {key} is {parts[key]!r}, expected {low} to {high} {of}")
    return number


def _start_us(text: str) -> int:
    try:
        start = datetime.datetime.fromisoformat(text)
    except ValueError:
        start = None
    if start is None or start.tzinfo is not None:
        raise ValueError(
            f"--columns: start is {text!r}, expected a local time like 2020-01-31T12:00:00, without a zone"
        )
    return int(np.datetime64(start, "us").astype(int))


Rows = Iterator[tuple[np.ndarray | None, np.ndarray]]


def _pieces(path: Path, declared: Declared, rows: Callable[[Report], Rows], report: Report) -> Iterator[Piece]:
    """The pieces of a file, from `rows`: time (int64 microseconds, or float64 of the declared unit, or None) [N] and
    acceleration float32 [N, 3] of the declared unit, NaN where a value or the time is missing."""
    last, read, unsorted, first_unsorted = None, 0, 0, 0
    rate_seen = unit_seen = False
    for time, acceleration in rows(report):
        usable = np.isfinite(acceleration).all(axis=1)
        _count_left_out(report, NO_NUMBER, usable)
        clock = _clock_us(path, declared, time, usable, read)
        if declared.time_unit:
            possible = (clock >= EARLIEST_US) & (clock < LATEST_US)
            _count_left_out(report, NO_TIME, possible[usable])
            usable &= possible
        row = read + np.flatnonzero(usable)
        read += len(acceleration)
        clock, acceleration = clock[usable], acceleration[usable] * np.float32(UNITS[declared.unit])
        if not len(clock):
            continue
        before = np.maximum.accumulate(np.append(clock[0] - 1 if last is None else last, clock))[:-1]
        later = clock > before
        _count_left_out(report, NOT_LATER, later)
        if not later.all():
            first_unsorted = first_unsorted if unsorted else int(row[~later][0])
            unsorted += int(np.count_nonzero(~later))
        clock, acceleration = clock[later], acceleration[later]
        if not len(clock):
            continue
        last = clock[-1]
        rate_seen = rate_seen or time is None or check_rate(path, declared.rate_hz, clock, len(later))
        unit_seen = unit_seen or check_unit(path, declared.unit, declared.rate_hz, acceleration)
        report.add(clock, declared.rate_hz)
        yield Piece(clock, acceleration)
    if unsorted > MOST_UNSORTED * read:
        raise ValueError(
            f"{path}: the time of {unsorted} of {read} rows is not later than that of the rows before, first in data "
            f"row {first_unsorted + 1}; expected times that increase: sort the rows or remove the overlap"
        )
    if last is None:
        raise ValueError(f"{path}: none of {read} rows has numbers and a time in the columns that --columns names")


def _count_left_out(report: Report, reason: str, kept: np.ndarray):
    """Counts the rows that are not kept (bool [N])."""
    if not kept.all():
        report.bad(reason, np.count_nonzero(~kept))


def _clock_us(path: Path, declared: Declared, time: np.ndarray | None, usable: np.ndarray, row: int) -> np.ndarray:
    """int64 [N] microseconds; those that are no number, before 1970 or after 2099 are 0 or LATEST_US."""
    if time is None:
        return declared.start_us + np.rint((row + np.arange(len(usable))) * 1e6 / declared.rate_hz).astype(np.int64)
    if declared.time_unit is None:
        return time
    clock = time * TIME_UNITS_US[declared.time_unit] + (declared.start_us or 0)
    usable = usable & np.isfinite(clock)
    if row == 0 and usable.any() and not EARLIEST_US <= np.median(clock[usable]) < LATEST_US:
        since = "start" if declared.start_us else "1970"
        raise ValueError(
            f"{path}: the median of the first {len(time)} times is {np.median(time[usable]):.17g}, by time_unit="
            f"{declared.time_unit} and counted from {since} that is not between 1990 and 2100: correct time_unit, or "
            "give start= if times count from the start of the recording"
        )
    return np.where(usable, np.clip(np.rint(clock), 0, LATEST_US), 0).astype(np.int64)
