"""Who wore which sensor where: the pairing table, or one file a person."""

import csv
import dataclasses
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.contract import PLACES
from data_pipelines.ingest.flips import parse_orientation
from data_pipelines.readers import raw_files

COLUMNS = ("file", "person", "place")
OPTIONAL = ("orientation", "recording")
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_UK_BIOBANK = re.compile(r"\d+_\d+_\d+_\d+")  # participant, field, visit, part


@dataclasses.dataclass(frozen=True)
class Sensor:
    """One file of a person.

    Attributes:
      file: its path below the input folder.
      place: where the sensor was worn, one of `PLACES`.
      orientation: the words of the pairing table, see `flips.parse_orientation`.
    """

    file: str
    place: str
    orientation: str = ""


@dataclasses.dataclass(frozen=True)
class Person:
    """The sensors that make one recording: what is done at once, and becomes one shard.

    Attributes:
      name: unique; becomes the shard's file name.
      subject: who wore them; splits are made by it.
      folder: the input folder.
      sensors: in the order of `PLACES`.
    """

    name: str
    subject: str
    folder: Path
    sensors: tuple[Sensor, ...]

    def path(self, sensor: Sensor) -> Path:
        """Where a sensor's file is."""
        return self.folder / sensor.file

    def stamp(self) -> str:
        """What changes when the files or their description do, without reading data."""
        crc = 0
        for sensor in self.sensors:
            state = self.path(sensor).stat()
            text = f"{self.subject} {sensor} {state.st_size} {state.st_mtime_ns}\n"
            crc = zlib.crc32(text.encode(), crc)
        return f"{crc:08x}"


def one_file_each(folder: Path, place: str) -> list[Person]:
    """A person for each raw file below the folder; the name of a file up to its first dot is the recording's.

    That is the subject too, but in UK Biobank's 1000001_90001_0_0.cwa only what comes before the first underscore.

    Raises:
      FileNotFoundError: no such folder, or no raw file in it.
      ValueError: two files of one name.
    """
    _check_folder(folder)
    found: dict[str, Person] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.name.lower().endswith(raw_files.ENDINGS) or not path.is_file():
            continue
        name, file = path.name.split(".")[0], path.relative_to(folder).as_posix()
        if not _SAFE.fullmatch(name):
            raise ValueError(f"{path}: the name may hold letters, digits, '_' and '-' only: rename the file")
        if name in found:
            other = found[name].sensors[0].file
            raise ValueError(f"{folder}: {other} and {file} name the same recording, keep or rename one of them")
        found[name] = Person(
            name, name.split("_")[0] if _UK_BIOBANK.fullmatch(name) else name, folder, (Sensor(file, place),)
        )
    if not found:
        raise FileNotFoundError(
            f"{folder}: no raw file found, expected files that end in {', '.join(raw_files.ENDINGS)}"
        )
    return [found[name] for name in sorted(found)]


def from_table(folder: Path, table: Path, places: Sequence[str]) -> list[Person]:
    """The persons of a pairing table, in order of their names.

    Args:
      folder: where the files are.
      table: csv with the columns file (a path below `folder`), person, place (one of `places`) and, if wanted,
        orientation (see `flips.parse_orientation`) and recording (tells several recordings of a person apart).
      places: those that each person must have; a person who lacks one is reported when it is that person's turn.

    Raises:
      FileNotFoundError: no such folder or table.
      ValueError: one sentence naming line and column.
    """
    _check_folder(folder)
    if not table.is_file():
        raise FileNotFoundError(f"pairing table {table} does not exist, expected a csv file with {', '.join(COLUMNS)}")
    sensors: dict[str, dict[str, Sensor]] = {}
    subjects: dict[str, str] = {}
    seen: dict[str, int] = {}
    for line, row in _rows(table):
        where = f"{table}, line {line}"
        for column in COLUMNS:
            if not row[column]:
                raise ValueError(f"{where}: {column} is empty")
        file, place, person = row["file"], row["place"], row["person"]
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise ValueError(f"{where}: file is {file}, expected a path below the input folder {folder}")
        if file in seen:
            raise ValueError(f"{where}: file {file} is on line {seen[file]} already, expected each file once")
        if place not in places:
            raise ValueError(
                f"{where}: place is '{place}', expected one of {', '.join(places)} (--sensors; known places: "
                f"{', '.join(PLACES)})"
            )
        name = f"{person}_{row['recording']}" if row["recording"] else person
        if not _SAFE.fullmatch(name):
            raise ValueError(f"{where}: person is '{name}', expected letters, digits, '.', '_' and '-' only")
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
        seen[file] = line
        sensors[name][place] = Sensor(file, place, row["orientation"])
    if not sensors:
        raise ValueError(f"{table}: holds no row, expected one for each file")
    return [
        Person(name, subjects[name], folder, tuple(sensors[name][place] for place in places if place in sensors[name]))
        for name in sorted(sensors)
    ]


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row by column) with all columns and no blanks around the cells."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table}: not a text file in UTF-8 ({error.reason}): save it as csv again") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [column for column in COLUMNS if column not in header]
    unknown = [column for column in header if column not in COLUMNS + OPTIONAL]
    if missing or unknown or len(set(header)) < len(header):
        raise ValueError(
            f"{table}: the first line is '{', '.join(header)[:200]}', expected the columns {', '.join(COLUMNS)} and, "
            f"if wanted, {' and '.join(OPTIONAL)}"
        )
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise ValueError(f"{table}, line {reader.line_num}: found {len(cells)} cells, expected {len(header)}")
        row = dict.fromkeys(COLUMNS + OPTIONAL, "") | dict(zip(header, map(str.strip, cells), strict=True))
        rows.append((reader.line_num, row))
    return rows


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist, expected a folder with raw sensor files")
