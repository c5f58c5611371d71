"""What the readers of csv files share: the header, empty cells, and Arrow's complaints in plain words."""

import csv
import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipelines.readers.checks import row_text

_CELL = re.compile(r"column #(\d+): Row #(\d+): .*invalid value '(.*)'", re.DOTALL)
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def read_header(path: Path, names: Sequence[str]) -> list[str]:
    """Column names of a csv or csv.gz file in file order.

    Raises:
      ValueError: the file is empty, no text, no gzip, or lacks one of `names`, or has it twice.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            line = file.readline(65536)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a readable gzip file ({error}): copy it again") from error
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


def names_of_cells(path: Path, names: Sequence[str]) -> list[str]:
    """The names of a file's columns that blanks separate, with one more where its lines end with a blank."""
    with open(path, "rb") as file:
        ends_blank = file.readline(65536).rstrip(b"\r\n").endswith(b" ")
    return [*names, "nothing"] if ends_blank else list(names)


def what_is_wrong(message: str, header: Sequence[str], expected: Mapping[str, str], header_lines: int = 1) -> str:
    """Arrow's complaint in the words of the layout; its row numbers count the header, if the file has one.

    Args:
      message: of the ArrowInvalid, from a read by one thread: only then it counts rows.
      header: column names in file order.
      expected: what a cell of a column should hold; columns not named hold numbers in g.
    """

    def row(line: str) -> str:
        return row_text(int(line) - 1 - header_lines, header_lines)

    if cell := _CELL.search(message):
        name = header[int(cell[1])]
        return f"{name} of {row(cell[2])} is {cell[3][:40]!r}, expected {expected.get(name, 'a number in g')}"
    if ragged := _RAGGED.search(message):
        line, columns, found = ragged.groups()
        than = f"the header {columns}" if header_lines else f"expected {columns}"
        return (
            f"{row(line)} has {found} columns, {than}: the file may have been cut off, copy it again or remove the row"
        )
    return f"cannot be read as csv: {message.splitlines()[0][:200]}"


def check_complete(table: pa.Table | pa.RecordBatch, path: Path, first_row: int = 0):
    """Raises ValueError naming the first empty or NaN cell; the table's first row is the file's `first_row`."""
    for name in table.schema.names:
        if table[name].null_count:
            row = first_row + int(np.flatnonzero(table[name].is_null().to_numpy(zero_copy_only=False))[0])
            raise ValueError(
                f"{path}: {name} of {row_text(row)} is empty or NaN, expected a value in every row: remove "
                "such rows, the gap is handled"
            )
