"""Where recordings come from: the list of a data set's recordings before any of them is read."""

import dataclasses
import zlib
from pathlib import Path

from data_pipelines import synthetic
from data_pipelines.contract import Recording
from data_pipelines.manifest import file_crc32
from data_pipelines.readers import har_csv, hunt4, ukbiobank

LAYOUTS = ("harth", "hunt4", "ukbiobank", "synthetic")


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
      layout: "harth" (HARTH and HAR70+: a folder of csv files), "hunt4" (a folder of subjects' folders),
        "ukbiobank" (a folder of csv files of wrist sensors) or "synthetic" (no folder; the first `subjects`
        people of the cohort `seed`, `hours` each).

    Raises:
      FileNotFoundError: no such folder; ValueError: an unknown layout, or nothing in the folder that fits it.
    """
    if layout == "synthetic":
        if not 1 <= subjects <= synthetic.SUBJECTS:
            raise ValueError(f"subjects is {subjects}, expected 1 to {synthetic.SUBJECTS} synthetic subjects")
        return [Source(layout, f"P{i + 1:02d}", index=i, seed=seed, hours=hours) for i in range(subjects)]
    if layout not in LAYOUTS:
        raise ValueError(f"layout is '{layout}', expected one of {', '.join(LAYOUTS)}")
    if folder is None or not Path(folder).is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist: --input names the folder of the recordings")
    folder = Path(folder)
    if layout == "hunt4":
        paths = hunt4.subject_folders(folder)
        expected = "subjects' folders with files like 2018-03-14_09.npz"
    elif layout == "ukbiobank":
        paths = ukbiobank.recording_files(folder)
        expected = "csv files like 1000001_90001_0_0.csv.gz"
    else:
        paths = {path.stem: path for path in sorted(folder.glob("*.csv")) if not path.name.startswith(".")}
        expected = "csv files like S006.csv"
    if not paths:
        below = sorted({str(path.parent) for path in folder.glob("*/*.csv")})
        hint = f"; there are csv files in {', '.join(below[:5])}" if layout != "hunt4" and below else ""
        raise ValueError(f"{folder}: nothing in layout {layout} found, expected {expected}{hint}")
    return [Source(layout, name, path.name, path) for name, path in sorted(paths.items())]


def files_of(source: Source) -> list[Path]:
    """The files a source consists of, in order; none if synthetic."""
    if source.path is None:
        return []
    return hunt4.snippet_files(source.path) if source.layout == "hunt4" else [source.path]


def read(source: Source) -> Recording:
    """The recording; ValueError or OSError naming the file where it cannot be used."""
    if source.layout == "synthetic":
        return synthetic.recording(source.index, seed=source.seed, hours=source.hours)
    return {"harth": har_csv, "hunt4": hunt4, "ukbiobank": ukbiobank}[source.layout].read(source.path)


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
