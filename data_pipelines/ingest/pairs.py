"""The pairing table: a line for each raw file that says who wore it where."""

import csv
import difflib
import functools
import io
import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_pipelines.contract import PLACES
from data_pipelines.ingest.flips import parse_orientation
from data_pipelines.ingest.people import LONGEST_NAME, Person, Sensor, check_folder, files_below, first_few
from data_pipelines.readers import declared, raw_files

COLUMNS = ("file", "person", "place")
OPTIONAL = ("orientation", "recording", "columns")
MISSPELT = 0.7  # likeness, by difflib, from which a column's name is taken for a misspelt one; comments is no columns
_SAFE = re.compile(r"\w[\w.-]*")
_SEPARATOR = re.compile(r"\"?sep=(.)", re.IGNORECASE)  # what Excel writes into a first line
_AXIS = re.compile(r"[+-]? *[xyz]", re.IGNORECASE)
_PART = re.compile(rf"({'|'.join(declared.KEYS)}) *=")


class Pairs(NamedTuple):
    """What a pairing table says.

    Attributes:
      people: in order of their names.
      files: those of all lines, whatever their place, by their paths below the input folder.
    """

    people: list[Person]
    files: frozenset[str]


def read(folder: Path, table: Path, places: Sequence[str]) -> Pairs:
    """The persons and files of a pairing table; a warning names columns that are not used, and who wears none of
    `places` and is left out.

    Args:
      folder: where the files are.
      table: csv with the columns file (a path below `folder`), person, place (one of `PLACES`) and, if wanted,
        orientation (see `flips.parse_orientation`), recording (tells several recordings of a person apart) and columns
        (of a csv or npy file, see `declared`).
      places: those that each person must have; a person who lacks one is reported when it is that person's turn.
        Sensors of other places are left out.

    Raises:
      FileNotFoundError: no such folder or table.
      ValueError: one sentence naming line and column.
    """
    check_folder(folder)
    if not table.is_file():
        raise FileNotFoundError(f"pairing table {table} does not exist, expected a csv file with {', '.join(COLUMNS)}")
    sensors: dict[str, dict[str, Sensor]] = {}
    subjects: dict[str, str] = {}
    everybody: set[str] = set()
    seen: dict[str, int] = {}
    listed: dict[str, dict[str, str]] = {}
    for line, row in _rows(table):
        where = f"{table}, line {line}"
        file, place = _on_disk(folder, _file(where, row, folder), listed), row["place"].lower()
        if file in seen:
            raise ValueError(
                f"{where}: file {file} is on line {seen[file]} already, expected each file once: a raw file holds one "
                "sensor; where one file holds both, split it by sensor (HARTH's and HAR70+'s layouts: selfpab prepare "
                "--layout harth)"
            )
        seen[file] = line
        if place not in PLACES:
            raise ValueError(f"{where}: place is '{row['place']}', expected one of {', '.join(PLACES)}")
        person = unicodedata.normalize("NFC", row["person"])
        everybody.add(person)
        if place not in places:
            continue
        name = f"{person}_{row['recording']}" if row["recording"] else person
        if not _SAFE.fullmatch(name) or len(name) > LONGEST_NAME:
            allowed = f"up to {LONGEST_NAME} letters, digits, '.', '_' and '-'"
            raise ValueError(f"{where}: person is '{name}', expected {allowed}")
        if place in sensors.setdefault(name, {}):
            raise ValueError(
                f"{where}: {name} has a {place} sensor already ({sensors[name][place].file}): name the recordings of "
                "one person in a column recording"
            )
        if subjects.setdefault(name, person) != person:
            raise ValueError(f"{where}: {name} is a recording of {subjects[name]} already")
        try:
            parse_orientation(row["orientation"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        sensors[name][place] = Sensor(file, place, row["orientation"], where, _columns(where, row))
    if not seen:
        raise ValueError(f"{table}: holds no row, expected one for each file")
    if not sensors:
        raise ValueError(f"{table}: holds no row of {' or '.join(places)} (--sensors)")
    if without := sorted(everybody - set(subjects.values())):
        who = "1 person" if len(without) == 1 else f"{len(without):,} persons"
        wears, are = ("wears", "is") if len(without) == 1 else ("wear", "are")
        none = f"{who} of {table} {wears} none of {', '.join(places)} (--sensors)"
        warnings.warn(f"{none} and {are} left out: {first_few(without)}", stacklevel=2)
    people = [
        Person(name, subjects[name], folder, tuple(sensors[name][place] for place in places if place in sensors[name]))
        for name in sorted(sensors)
    ]
    return Pairs(people, frozenset(seen))


def unnamed_files(folder: Path, table: Path, named: Collection[str]) -> tuple[list[str], int]:
    """The raw files below the folder that are not `named` in the table, sorted, and how many raw files there are.

    Csv and npy files count where the table names any: elsewhere they are what lies beside raw files. A file is named
    in any of the ways to write its letters in Unicode, and by any link to its folder.
    """
    real = functools.cache(os.path.realpath)

    def address(file: str) -> str:
        parent, name = os.path.split(os.path.join(folder, file))
        return unicodedata.normalize("NFC", os.path.join(real(parent), name))

    known, own = {address(file) for file in named}, address(os.path.abspath(table))
    columns = any(file.lower().endswith(raw_files.DECLARED) for file in named)
    endings = raw_files.ENDINGS if columns else raw_files.AXIVITY + raw_files.GENEACTIV
    there = {file: address(file) for file in files_below(folder) if file.lower().endswith(endings)}
    there = {file: where for file, where in there.items() if where != own}
    return [file for file, where in there.items() if where not in known], len(there)


def _file(where: str, row: Mapping[str, str], folder: Path) -> str:
    """The path of a line's file below the folder."""
    for column in COLUMNS:
        if not row[column]:
            raise ValueError(f"{where}: {column} is empty")
    if "\\" in row["file"]:
        raise ValueError(f"{where}: file is {row['file']}, write / between folders")
    path = PurePosixPath(row["file"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{where}: file is {path}, expected a path below the input folder {folder}")
    return str(path)


def _on_disk(folder: Path, file: str, listed: dict[str, dict[str, str]]) -> str:
    """The path as the disk has it where that differs in how letters are written in Unicode (å is one sign, or two).

    Args:
      listed: folder -> names in it by their normal form; of the folders that were looked at.
    """
    if file.isascii() or os.path.lexists(folder / file):
        return file
    parent, name = os.path.split(file)
    parent = _on_disk(folder, parent, listed)
    if parent not in listed:
        try:
            names = sorted(os.listdir(folder / parent))
        except OSError:
            names = []
        listed[parent] = {unicodedata.normalize("NFC", one): one for one in names}
    return os.path.join(parent, listed[parent].get(unicodedata.normalize("NFC", name), name))


def _columns(where: str, row: Mapping[str, str]) -> declared.Declared | None:
    """What a line says of its file's columns."""
    if not row["columns"]:
        return None
    if not row["file"].lower().endswith(raw_files.DECLARED):
        endings = ", ".join(raw_files.DECLARED)
        raise ValueError(
            f"{where}: columns of {row['file']} are '{row['columns'][:100]}', expected none: only files that end in "
            f"{endings} need them"
        )
    try:
        return declared.parse(row["columns"])
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).removeprefix('--')}") from error


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row by column) with all columns and no blanks around the cells."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table}: not a text file in UTF-8 ({error.reason}): save it as CSV UTF-8") from error
    first = text.partition("\n")[0]
    separator = _SEPARATOR.match(first)
    delimiter = separator[1] if separator else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ValueError(f"{table}, line {reader.line_num}: {error}: look for a quote that is not closed") from error
    lines = [(number, cells) for number, cells in lines[bool(separator) :] if any(cells)]
    header = [name.lower() for name in lines[0][1]] if lines else []
    _check_header(table, header)
    return [(number, _row(f"{table}, line {number}", header, cells)) for number, cells in lines[1:]]


def _check_header(table: Path, header: Sequence[str]) -> None:
    """Warns of columns that are not used; ValueError where one is missing, there twice, or likely misspelt."""
    known = COLUMNS + OPTIONAL
    if any(column not in header for column in COLUMNS):
        raise ValueError(
            f"{table}: the first line is '{', '.join(header)[:200]}', expected the columns {', '.join(COLUMNS)} and, "
            f"if wanted, {', '.join(OPTIONAL)}"
        )
    absent = [column for column in OPTIONAL if column not in header]
    unused = [column for column in header if column and column not in known]
    for column in unused:
        if near := difflib.get_close_matches(column, absent, 1, MISSPELT):
            raise ValueError(
                f"{table}: column '{column}' is unknown (did you mean {near[0]}?): rename or delete it; known are "
                f"{', '.join(known)}"
            )
    if twice := [column for column in known if header.count(column) > 1]:
        raise ValueError(f"{table}: column '{twice[0]}' is there twice, expected it once")
    if unused:
        which = f"column {unused[0]} is" if len(unused) == 1 else f"columns {', '.join(unused)[:200]} are"
        warnings.warn(f"{table}: {which} not used; known are {', '.join(known)}", stacklevel=4)


def _row(where: str, header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """The cells of a line by their columns; columns without a name must be empty."""
    if len(cells) != len(header):
        axes = [cells[at : at + 3] for at in range(len(cells) - 2) if all(map(_AXIS.fullmatch, cells[at : at + 3]))]
        split = [",".join(found) for found in (*axes[:1], list(filter(_PART.match, cells))) if len(found) > 1]
        advice = f": put {' and '.join(split)} in quotes" if split else ""
        raise ValueError(f"{where}: found {len(cells)} cells, expected {len(header)}{advice}")
    for number, (column, cell) in enumerate(zip(header, cells, strict=True)):
        if cell and not column:
            raise ValueError(f"{where}: found '{cell}' in column {number + 1}, which has no name: name or delete it")
    return dict.fromkeys(COLUMNS + OPTIONAL, "") | dict(zip(header, cells, strict=True))
