"""Times and accelerations of a csv file with any columns; `,`, `;` or tab between them."""

import csv
import dataclasses
import gzip
import itertools
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data_pipelines.raw import Report
from data_pipelines.readers.checks import row_text
from data_pipelines.readers.clock_text import clock_us, has_zone
from data_pipelines.readers.csv_columns import what_is_wrong
from data_pipelines.readers.declared_checks import nearest

BLOCK_BYTES = 1 << 20  # 5 minutes at 100 Hz; Arrow holds several of them
LONGEST_LINE = 1 << 16
_CELL = re.compile(r"invalid value '([^']*)'")
DELIMITERS = "\t;,"  # the first that occurs: a line with the others in it may have commas in its cells


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a file's columns are.

    Attributes:
      names: of all columns, for people.
      places: x, y, z and time, if there is one -> number of the column from 0.
      delimiter: between cells.
      lines: those before the data.
    """

    names: Sequence[str]
    places: Mapping[str, int]
    delimiter: str
    lines: int


def layout(path: Path, columns: Mapping[str, str | int], skip: int) -> Layout:
    """Finds the columns in the first line after `skip` lines.

    Args:
      columns: role -> the column's name, or its number from 0.

    Raises:
      ValueError: the file is no text or ends before that line, or a column is missing or there twice.
    """
    line = _line(path, skip)
    delimiter = next((mark for mark in DELIMITERS if mark in line), ",")
    try:
        found = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error as error:
        raise ValueError(
            f"{path}: line {skip + 1} cannot be split into columns ({error}): save it with ordinary line ends"
        ) from error
    by_number = all(isinstance(column, int) for column in columns.values())
    other = len(found) < len(columns) or not (by_number or set(found) & set(columns.values()))
    above = "; if lines stand before the header say how many with skip= in --columns" if other else ""
    if by_number:
        for role, place in columns.items():
            if place >= len(found):
                raise ValueError(
                    f"{path}: --columns says {role}={place}, but line {skip + 1} has {len(found)} columns, expected 0 "
                    f"to {len(found) - 1}{above}"
                )
        header = not _is_number(found[columns["x"]])
        names = found if header else [f"column {number}" for number in range(len(found))]
        return Layout(names, columns, delimiter, skip + header)
    for role, name in columns.items():
        if found.count(name) != 1:
            near = nearest(name, found)
            raise ValueError(
                f"{path}: --columns says {role}={name}, "
                + ("but there is no such column" if name not in found else "but several columns are named so")
                + (f", the nearest is {near}" if near and near != name else "")
                + f"; line {skip + 1} has: {', '.join(found)[:200]}{above}"
            )
    return Layout(found, {role: found.index(name) for role, name in columns.items()}, delimiter, skip + 1)


def rows(
    path: Path, layout: Layout, numeric_time: bool, decimal: str, report: Report
) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
    """Times [N] and acceleration float32 [N, 3], a few megabytes of the file at once.

    Times are float64 as they stand if `numeric_time`, otherwise int64 microseconds of the local clock at the first
    row, whose zone goes into the report; None without such a column. Cells that are empty or NaN are NaN, and so is
    the acceleration of a row without time.

    Raises:
      ValueError: one sentence naming the first row that does not fit, or that packed data cannot be unpacked.
    """
    read, first_zone = 0, None
    for batch in _batches(path, layout, numeric_time, decimal):
        acceleration = np.stack([batch[axis].to_numpy(zero_copy_only=False) for axis in "xyz"], axis=1)
        time = batch["time"] if "time" in layout.places else None
        if time is not None:
            acceleration[time.is_null().to_numpy(zero_copy_only=False)] = np.nan
        if time is None or numeric_time:
            yield time if time is None else time.to_numpy(zero_copy_only=False), acceleration
        elif time.null_count == len(time):
            yield np.zeros(len(time), np.int64), acceleration
        else:
            # A row without time gets its neighbour's, so that rows keep their numbers.
            text = pc.fill_null_backward(pc.fill_null_forward(time))
            text = pc.replace_substring(text, ",", ".") if decimal == "," else text
            name = layout.names[layout.places["time"]]
            if _is_number(text[0].as_py()):
                raise ValueError(
                    f"{path}: {name} of {row_text(read, layout.lines)} is {text[0].as_py()!r}, a number; say with "
                    "time_unit= in --columns whether it is in s, ms, us or ns"
                )
            clock, zone = clock_us(text, path, read, layout.lines, name)
            if first_zone is None:
                first_zone = zone[0]
                report.utc_offset_us = int(first_zone) if has_zone(text[0].as_py()) else None
            yield clock - (zone - first_zone), acceleration
        read += len(batch)


def _batches(path: Path, layout: Layout, numeric_time: bool, decimal: str) -> Iterator[pa.RecordBatch]:
    """The columns by role, typed; by one thread, as only then Arrow counts rows."""
    names = [str(number) for number in range(len(layout.names))]
    for role, place in layout.places.items():
        names[place] = role
    types = dict.fromkeys("xyz", pa.float32()) | {"time": pa.float64() if numeric_time else pa.string()}
    expected = dict.fromkeys(layout.names, "a number")
    if "time" in layout.places:
        expected[layout.names[layout.places["time"]]] = "a number; leave out time_unit in --columns if times are text"
    read = 0
    try:
        for batch in pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, skip_rows=layout.lines, column_names=names
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=layout.delimiter),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={role: types[role] for role in layout.places},
                include_columns=list(layout.places),
                strings_can_be_null=True,
                decimal_point=decimal,
            ),
        ):
            yield batch
            read += len(batch)
    except pa.ArrowInvalid as error:
        wrong = what_is_wrong(str(error), layout.names, expected, layout.lines) + _other_decimal(str(error), decimal)
        raise ValueError(f"{path}: {wrong}") from error
    except FileNotFoundError:
        raise
    except OSError as error:  # what Arrow says of gzip data that do not fit
        raise ValueError(f"{path}: cannot be unpacked beyond data row {read} ({error}): copy it again") from error


def _other_decimal(message: str, decimal: str) -> str:
    """What to declare where a cell of Arrow's complaint is a number by the other decimal mark."""
    cell = _CELL.search(message)
    other = {",": ".", ".": ","}[decimal]
    if not cell or other not in cell[1] or not _is_number(cell[1]):
        return ""
    if decimal == ",":
        return "; --columns says decimal=comma, leave it out"
    return "; without decimal=comma in --columns numbers have decimal points, add it"


def _line(path: Path, skip: int) -> str:
    """The line after `skip` lines."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            line = b"".join(itertools.islice(iter(lambda: file.readline(LONGEST_LINE), b""), skip, skip + 1))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a readable gzip file ({error}): copy it again") from error
    if not line.strip():
        raise ValueError(f"{path}: line {skip + 1} is empty or missing, expected the first with columns (skip={skip})")
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        text = line.decode("latin-1").rstrip("\r\n")  # a degree sign in a header, as a rule
    if "\0" in text:
        raise ValueError(f"{path}: not a text file (line {skip + 1} holds zero bytes), expected csv in UTF-8")
    return text


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return not cell  # an empty cell lacks a number; a header has a name there
    return True
