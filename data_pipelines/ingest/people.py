"""Who wore which sensor where: persons, their files, and one file a person where no table says who is who."""

import dataclasses
import os
import re
import unicodedata
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from data_pipelines.contract import PLACES
from data_pipelines.readers import declared, raw_files
from data_pipelines.readers.declared_checks import nearest

NEAREST = 5  # so many of the missing files get the nearest name, which takes long in large folders
LONGEST_NAME = 60  # letters; of four bytes and with the endings that shards get they fit into any file system
_UK_BIOBANK = re.compile(r"\d+_\d+_\d+_\d+")  # participant, field, visit, part
_LETTER = r"[^\W\d_]"
_PLACE = re.compile(rf"(?<!{_LETTER})({'|'.join(PLACES)})(?!{_LETTER})", re.IGNORECASE)  # none in backup or feedback


@dataclasses.dataclass(frozen=True)
class Sensor:
    """One file of a person.

    Attributes:
      file: its path below the input folder.
      place: where the sensor was worn, one of `PLACES`.
      orientation: the words of the pairing table, see `flips.parse_orientation`.
      stated: the table and line that say so, for people; empty without a table.
      columns: what the columns of this csv or npy file are; None if the table does not say.
    """

    file: str
    place: str
    orientation: str = ""
    stated: str = dataclasses.field(default="", compare=False)
    columns: declared.Declared | None = None


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
        columns = [declared.text(sensor.columns)] if sensor.columns else []
        return [self.subject, sensor.file, sensor.place, sensor.orientation, *columns]

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
    check_folder(folder)
    found: dict[str, Person] = {}
    for file in files_below(folder):
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


def other_places(people: Sequence[Person]) -> dict[str, set[str]]:
    """The files whose path holds, as a word, a place at which their sensor was not worn, with those places."""
    found = {
        sensor.file: {word.lower() for word in _PLACE.findall(sensor.file)} - {sensor.place}
        for person in people
        for sensor in person.sensors
    }
    return {file: places for file, places in found.items() if places}


def first_few(names: Sequence[str]) -> str:
    """The first three of them, for people."""
    return ", ".join([*names[:3], *["..."] * (len(names) > 3)])


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


def files_below(folder: Path) -> list[str]:
    """The raw files below a folder, by their paths below it, sorted.

    Folders are searched by links as well; what is named like a raw file and is none is skipped with a warning.
    """
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
            + first_few(sorted(skipped)),
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


def check_folder(folder: Path) -> None:
    """Raises FileNotFoundError or ValueError, one sentence, unless the input folder is one."""
    if folder.is_file():
        raise ValueError(f"input folder {folder} is a file, expected the folder that holds it")
    if not folder.is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist, expected a folder with raw sensor files")
