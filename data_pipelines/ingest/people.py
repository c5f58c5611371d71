"""Who wore which sensor where: the pairing table, or one file a person."""

import csv
import dataclasses
import io
import os
import re
import unicodedata
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from data_pipelines.contract import PLACES
from data_pipelines.ingest.flips import parse_orientation
from data_pipelines.readers import raw_files
from data_pipelines.readers.declared_checks import nearest

COLUMNS = ("file", "person", "place")
OPTIONAL = ("orientation", "recording")
NEAREST = 5  # so many of the missing files get the nearest name, which takes long in large folders
LONGEST_NAME = 60  # letters; of four bytes and with the endings that shards get they fit into any file system
_SAFE = re.compile(r"\w[\w.-]*")
_UK_BIOBANK = re.compile(r"\d+_\d+_\d+_\d+")  # participant, field, visit, part
_SEPARATOR = re.compile(r"\"?sep=(.)", re.IGNORECASE)  # what Excel writes into a first line
_AXIS = re.compile(r"[+-]? *[xyz]", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Sensor:
    """One file of a person.

    Attributes:
      file: its path below the input folder.
      place: where the sensor was worn, one of `PLACES`.
      orientation: the words of the pairing table, see `flips.parse_orientation`.
      stated: the table and line that say so, for people; empty without a table.
    """

    file: str
    place: str
    orientation: str = ""
    stated: str = dataclasses.field(default="", compare=False)


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
            crc = zlib.crc32(repr((self.described(sensor), self.state(sensor))).encode(), crc)
        return f"{crc:08x}"

    def described(self, sensor: Sensor) -> list[str]:
        """What the pairing table says of a sensor's file."""
        return [self.subject, sensor.file, sensor.place, sensor.orientation]

    def state(self, sensor: Sensor) -> list[int]:
        """Bytes of a sensor's file and nanoseconds since 1970 of its last change."""
        found = self.path(sensor).stat()
        return [found.st_size, found.st_mtime_ns]


def one_file_each(folder: Path, place: str) -> list[Person]:
    """A person for each raw file below the folder; the name of a file up to its first dot is the recording's.

    That is the subject too, but in UK Biobank's 1000001_90001_0_0.cwa only what comes before the first underscore.
    Folders are searched by links as well. What a name may not hold becomes "_" in it; what is named like a raw file
    and is none is skipped with a warning.

    Raises:
      FileNotFoundError: no such folder, or no raw file in it.
      ValueError: the folder is a file, or two files name one recording.
    """
    _check_folder(folder)
    found: dict[str, Person] = {}
    for file in _raw_files(folder):
        name = unicodedata.normalize("NFC", PurePosixPath(file).name.split(".")[0])
        name = re.sub(r"^-|[^\w-]", "_", name)[:LONGEST_NAME]
        if name in found:
            raise ValueError(
                f"{folder}: {found[name].sensors[0].file} and {file} name the same recording, '{name}': rename one or "
                "name the persons in --pairs"
            )
        subject = name.split("_")[0] if _UK_BIOBANK.fullmatch(name) else name
        found[name] = Person(name, subject, folder, (Sensor(file, place),))
    if not found:
        raise FileNotFoundError(
            f"{folder}: no raw file found, expected files that end in {', '.join(raw_files.ENDINGS)}"
        )
    return [found[name] for name in sorted(found)]


def from_table(folder: Path, table: Path, places: Sequence[str]) -> list[Person]:
    """The persons of a pairing table, in order of their names.

    Args:
      folder: where the files are.
      table: csv with the columns file (a path below `folder`), person, place (one of `PLACES`) and, if wanted,
        orientation (see `flips.parse_orientation`) and recording (tells several recordings of a person apart).
      places: those that each person must have; a person who lacks one is reported when it is that person's turn.
        Sensors of other places are left out.

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
        if "\\" in row["file"]:
            raise ValueError(f"{where}: file is {row['file']}, write / between folders")
        path, place = PurePosixPath(row["file"]), row["place"].lower()
        file, person = str(path), unicodedata.normalize("NFC", row["person"])
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{where}: file is {file}, expected a path below the input folder {folder}")
        if file in seen:
            raise ValueError(
                f"{where}: file {file} is on line {seen[file]} already, expected each file once: a raw file holds one "
                "sensor; where one file holds both, split it by sensor (HARTH's and HAR70+'s layouts: selfpab prepare "
                "--layout harth)"
            )
        seen[file] = line
        if place not in PLACES:
            raise ValueError(f"{where}: place is '{row['place']}', expected one of {', '.join(PLACES)}")
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
        sensors[name][place] = Sensor(file, place, row["orientation"], where)
    if not seen:
        raise ValueError(f"{table}: holds no row, expected one for each file")
    if not sensors:
        raise ValueError(f"{table}: holds no row of {' or '.join(places)} (--sensors)")
    return [
        Person(name, subjects[name], folder, tuple(sensors[name][place] for place in places if place in sensors[name]))
        for name in sorted(sensors)
    ]


def missing_files(people: Sequence[Person]) -> list[str]:
    """A text for each file that is not there, such as "pairs.csv, line 3: 5_tihgh.cwa is not in raw, did you mean
    5_thigh.cwa?"; the nearest name, of those that nobody has, only for the first few."""
    texts: list[str] = []
    missing = [(one, sensor) for one in people for sensor in one.sensors if not os.path.isfile(one.path(sensor))]
    for person, sensor in missing:
        text = f"{sensor.file} is not in {person.folder}"
        if len(texts) < NEAREST and (near := _nearest_file(person, sensor, people)):
            text += f", did you mean {near}?"
        texts.append(f"{sensor.stated}: {text}" if sensor.stated else text)
    return texts


def _nearest_file(person: Person, sensor: Sensor, people: Sequence[Person]) -> str | None:
    """The file of the nearest name in the sensor's folder that is nobody's."""
    parent = PurePosixPath(sensor.file).parent
    try:
        names = os.listdir(person.folder / parent)
    except OSError:
        return None
    theirs = {one.file for other in people for one in other.sensors}
    return nearest(sensor.file, [file for name in names if (file := str(parent / name)) not in theirs])


def _raw_files(folder: Path) -> list[str]:
    """Files named like raw ones below a folder, by their paths below it."""
    found: list[str] = []
    skipped: list[str] = []
    for here, name in _names_below(folder):
        if name.startswith(".") or not name.lower().endswith(raw_files.ENDINGS):
            continue
        path = os.path.join(here, name)
        (found if os.path.isfile(path) else skipped).append(Path(path).relative_to(folder).as_posix())
    if skipped:
        warnings.warn(
            f"{folder}: {len(skipped)} skipped that are named like raw files, folders or links that lead nowhere: "
            + ", ".join(sorted(skipped)[:3] + ["..."] * (len(skipped) > 3)),
            stacklevel=3,
        )
    return sorted(found)


def _names_below(folder: Path) -> Iterator[tuple[str, str]]:
    """(folder, name) of all that is in the folders below one, by links as well, each folder once."""
    waiting, seen = [os.fspath(folder)], set()
    for top in waiting:  # grows: links come after all folders, which so are found by their own names
        for here, folders, names in os.walk(top, onerror=_warn_not_searched):
            real = os.path.realpath(here)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [path for name in folders if os.path.islink(path := os.path.join(here, name))]
            yield from ((here, name) for name in (*folders, *names))


def _warn_not_searched(error: OSError) -> None:
    warnings.warn(f"{error.filename}: not searched ({error.strerror})", stacklevel=2)


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
    if any(column not in header for column in COLUMNS):
        raise ValueError(
            f"{table}: the first line is '{', '.join(header)[:200]}', expected the columns {', '.join(COLUMNS)} and, "
            f"if wanted, {' and '.join(OPTIONAL)}"
        )
    named = [column for column in header if column]
    if unknown := [f"'{column}'" for column in named if column not in COLUMNS + OPTIONAL]:
        which = f"column {unknown[0]} is" if len(unknown) == 1 else f"columns {', '.join(unknown)[:200]} are"
        it = "it" if len(unknown) == 1 else "them"
        raise ValueError(f"{table}: {which} unknown: delete or rename {it}; known are {', '.join(COLUMNS + OPTIONAL)}")
    if twice := [column for column in named if named.count(column) > 1]:
        raise ValueError(f"{table}: column '{twice[0]}' is there twice, expected it once")


def _row(where: str, header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """The cells of a line by their columns; columns without a name must be empty."""
    if len(cells) != len(header):
        axes = [cells[at : at + 3] for at in range(len(cells) - 2) if all(map(_AXIS.fullmatch, cells[at : at + 3]))]
        advice = f": put {','.join(axes[0])} in quotes" if axes else ""
        raise ValueError(f"{where}: found {len(cells)} cells, expected {len(header)}{advice}")
    for number, (column, cell) in enumerate(zip(header, cells, strict=True)):
        if cell and not column:
            raise ValueError(f"{where}: found '{cell}' in column {number + 1}, which has no name: name or delete it")
    return dict.fromkeys(COLUMNS + OPTIONAL, "") | dict(zip(header, cells, strict=True))


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise ValueError(f"input folder {folder} is a file, expected the folder that holds it")
    if not folder.is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist, expected a folder with raw sensor files")
