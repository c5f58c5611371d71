"""Where recordings come from: the list of a data set's recordings before any of them is read."""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from data_pipelines import synthetic
from data_pipelines.contract import Recording
from data_pipelines.ingest import ukbiobank
from data_pipelines.manifest import file_crc32
from data_pipelines.readers import capture24, har_csv, hunt4, opportunity, pamap2, realworld, usc_had


class Layout(NamedTuple):
    """How a raw format is found and read.

    Attributes:
      find: folder -> path of each recording (a file or a folder) by its name; empty where nothing fits.
      read: such a path -> the recording.
      expected: what `find` looks for, in words.
      files: such a path -> the files that it consists of, in order.
    """

    find: Callable[[Path], dict[str, Path]]
    read: Callable[[Path], Recording]
    expected: str
    files: Callable[[Path], list[Path]] = lambda path: [path]


LAYOUTS = {
    "harth": Layout(har_csv.recording_files, har_csv.read, "csv files like S006.csv"),
    "har70plus": Layout(har_csv.recording_files, partial(har_csv.read, layout="har70plus"), "csv files like 501.csv"),
    "hunt4": Layout(
        hunt4.subject_folders,
        hunt4.read,
        "subjects' folders with files like 2018-03-14_09.npz",
        hunt4.snippet_files,
    ),
    "ukbiobank": Layout(ukbiobank.recording_files, ukbiobank.read, ukbiobank.EXPECTED),
    "capture24": Layout(
        capture24.recording_files,
        capture24.read,
        "files P001.csv.gz to P151.csv.gz and the dictionary of their annotations",
        capture24.files_of,
    ),
    "pamap2": Layout(pamap2.recording_files, pamap2.read, "files Protocol/subject101.dat to subject109.dat"),
    "usc_had": Layout(
        usc_had.subject_folders, usc_had.read, "folders Subject1 to Subject14 with files like a1t1.mat", usc_had.trials
    ),
    "opportunity": Layout(
        opportunity.recording_files,
        opportunity.read,
        "files S1-ADL1.dat to S4-Drill.dat",
        opportunity.session_files,
    ),
    "realworld": Layout(
        realworld.subject_folders,
        realworld.read,
        "folders proband1 to proband15 with files like data/acc_walking_csv.zip",
        realworld.recording_files,
    ),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """One recording to be: a file, a folder of files, or an index of the synthetic cohort.

    Attributes:
      name: unique in the data set and free of slashes.
      file: the path below the input folder, for the manifest; empty if synthetic.
      path: where it is now; None if synthetic.
      index, seed, hours: of the synthetic person.
    """

    layout: str
    name: str
    file: str = ""
    path: Path | None = None
    index: int = 0
    seed: int = 0
    hours: float = 0.0


def find(
    layout: str, folder: str | Path | None, *, seed: int = 0, subjects: int = 0, hours: float = 0.0
) -> list[Source]:
    """The recordings of a data set, in order of their names.

    Args:
      layout: a name of LAYOUTS, or "synthetic" (no folder; the first `subjects` people of the cohort `seed`, `hours`
        each).

    Raises:
      ValueError: an unknown layout.
      FileNotFoundError: no such folder, or nothing in it that fits the layout.
    """
    if layout == "synthetic":
        if not 1 <= subjects <= synthetic.SUBJECTS:
            raise ValueError(f"subjects is {subjects}, expected 1 to {synthetic.SUBJECTS} synthetic subjects")
        return [Source(layout, f"P{i + 1:02d}", index=i, seed=seed, hours=hours) for i in range(subjects)]
    if layout not in LAYOUTS:
        raise ValueError(f"layout is '{layout}', expected one of {', '.join([*LAYOUTS, 'synthetic'])}")
    expected = LAYOUTS[layout].expected
    if folder is None or not Path(folder).is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist, expected a folder with {expected}")
    folder = Path(folder)
    paths = LAYOUTS[layout].find(folder)
    if not paths:
        raise FileNotFoundError(f"{folder}: nothing in layout {layout} found, expected {expected}")
    return [Source(layout, name, path.relative_to(folder).as_posix(), path) for name, path in sorted(paths.items())]


def recordings(layout: str, folder: str | Path) -> Iterator[Recording]:
    """The recordings of a folder in this layout, one after the other in order of their names.

    Raises:
      ValueError, OSError: as `find` and `read`.
    """
    return map(read, find(layout, folder))


def files_of(source: Source) -> list[Path]:
    """The files a source consists of, in order; none if synthetic."""
    return [] if source.path is None else LAYOUTS[source.layout].files(source.path)


def read(source: Source) -> Recording:
    """The recording; ValueError or OSError naming the file where it cannot be used."""
    if source.layout == "synthetic":
        return synthetic.recording(source.index, seed=source.seed, hours=source.hours)
    return LAYOUTS[source.layout].read(source.path)


def stamp(source: Source) -> str:
    """What changes when the source does, without reading data: names, sizes and times of change of its files.

    For the synthetic cohort: the person and the generator's own code.
    """
    if source.layout == "synthetic":
        code = [file_crc32(path) for path in sorted(Path(synthetic.__file__).parent.glob("synthetic*.py"))]
        return f"{source.index} {source.seed} {source.hours} {zlib.crc32(repr(code).encode()):08x}"
    crc, size = 0, 0
    for path in files_of(source):
        state = path.stat()
        size += state.st_size
        crc = zlib.crc32(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode(), crc)
    return f"{size} {crc:08x}"


def provenance(source: Source) -> dict:
    """The manifest's words for the source: relative name, bytes, CRC-32 of the content; reads every byte."""
    if source.layout == "synthetic":
        return {"synthetic": source.index, "seed": source.seed, "hours": source.hours}
    files = files_of(source)
    crc = file_crc32(files[0])
    for path in files[1:]:
        crc = zlib.crc32(file_crc32(path).to_bytes(4, "little"), crc)
    return {
        "file": source.file,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "crc32": crc,
    }
