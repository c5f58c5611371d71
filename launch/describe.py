"""`selfpab describe`: what a prepared folder holds, as numbers and as a picture. No jax without a picture."""

import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Prints what a prepared folder holds: hours, people, what is in no window and why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 for a folder that is not prepared."""
    return run_job("describe", lambda: _describe(argv))


def _describe(argv: Sequence[str] | None) -> None:
    parser = Parser("describe", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="a folder that `selfpab prepare` or `selfpab ingest` has written")
    parser.add_argument("--figure", metavar="FILE.png", help="draw a picture, too")
    files = "write a line for each raw file: device, bad blocks, gaps, calibration, orientation, clock, equal files"
    parser.add_argument("--files", metavar="FILE.csv", type=Path, help=files)
    people = "write a line for each recording: hours recorded, worn, in windows and lost by reason, and days"
    parser.add_argument("--people", metavar="FILE.csv", type=Path, help=people)
    parser.add_argument("--hours", metavar="H,H", help="what subsets of so many hours hold, such as 10,100,1000")
    flags = parser.parse_args(argv)
    amounts, figure = _amounts(flags.hours), flags.figure and Path(flags.figure)
    if figure and figure.suffix.lower() != ".png":
        raise ValueError(f"--figure is {figure}, expected a name that ends in .png")
    for flag, path in (("figure", figure), ("files", flags.files), ("people", flags.people)):
        if path and Path(flags.folder).resolve() in path.resolve().parents:
            raise ValueError(f"--{flag}: {path} lies in the prepared folder, expected a place outside of it")
        if path and path.is_dir():
            raise ValueError(f"--{flag}: {path} is a folder, expected the name of a file to write")
    if flags.files and flags.people and flags.files.resolve() == flags.people.resolve():
        raise ValueError(f"--files and --people are both {flags.files}, expected two files")
    from data_pipelines.describe import describe
    from data_pipelines.ingest.files_table import files_table
    from data_pipelines.manifest import read_manifest, write_atomically
    from data_pipelines.people_table import people_table
    from launch.described import subset_table, table

    manifest = read_manifest(flags.folder)
    cohort = describe(manifest)
    tables = {flags.files: files_table(flags.folder, manifest)} if flags.files else {}
    tables |= {flags.people: people_table(manifest)} if flags.people else {}
    print(table(manifest, cohort))
    for path, text in tables.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode("utf-8", "surrogateescape"))  # names of files may be no text
        print(f"\n{path}")
    if amounts:
        print("\n" + subset_table(manifest, amounts))
    if not figure:
        print(f"\n`selfpab describe {flags.folder} --figure cohort.png` draws this")
        return
    from selfpab_jax.evaluate.cohort_figures import cohort_figure

    name = Path(flags.folder).resolve().name
    parts = (cohort.subject_hours, cohort.dropped_h, cohort.recorded_h, cohort.cumulative_hours, cohort.by_hour)
    print(f"\n{cohort_figure(*parts, figure, name)}")


def _amounts(text: str | None) -> list[float]:
    """The hours of `10,100`."""
    try:
        amounts = [float(word) for word in text.split(",")] if text is not None else []
    except ValueError:
        amounts = [0.0]
    if not all(0 < hours < float("inf") for hours in amounts):
        raise ValueError(f"--hours is {text}, expected amounts of hours with commas between, such as 10,100,1000")
    return sorted(set(amounts))


if __name__ == "__main__":
    sys.exit(main())
