"""`selfpab ingest`: raw sensor files -> a folder of windows, on this machine, a Beam runner or a SLURM array."""

import argparse
import os
import sys
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

from launch.command_line import run_job, sigterm_like_ctrl_c
from launch.described import table
from launch.ingest_line import parse, settings_of

MISSING_SHOWN = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag or where no file can be used, 130 after Ctrl-C or SIGTERM."""
    argv = sys.argv[1:] if argv is None else argv
    return run_job("ingest", lambda: _ingest(parse(argv), argv))


def _ingest(flags: argparse.Namespace, argv: Sequence[str]) -> None:
    from data_pipelines.describe import describe
    from data_pipelines.ingest import pairs, people, run, slurm

    settings = settings_of(flags)
    folder, out = flags.input.resolve(), flags.out.resolve()  # as tasks on other machines see them
    if flags.pairs:
        found, named = pairs.read(folder, flags.pairs, settings.cut.sensors)
    else:
        found = people.one_file_each(folder, *settings.cut.sensors)
        _say_what_is_assumed(found, *settings.cut.sensors)
    _look_for_files(people.missing_files(found), sum(len(person.sensors) for person in found), out)
    task = slurm.task(os.environ) if flags.engine == "slurm" else None
    if flags.pairs and task is None:  # once an array, as it searches the folder
        _look_for_unnamed(folder, flags.pairs, named)
    if flags.engine == "slurm" and task is None:
        array = slurm.array(slurm.this_command(argv), min(flags.tasks or 100, len(found)), flags.options)
        job = slurm.submit(array)  # held: an array that is refused must not cost the folder its manifest
        try:
            run.begin(found, settings, out)
        except BaseException:
            slurm.cancel(job)
            raise
        slurm.release(job)
        print(f"Submitted batch job {job}")
        return
    with sigterm_like_ctrl_c():  # workers end, half-written files go
        if task:
            manifest, done = run.share(found, settings, out, run.local(1), *task)
        elif flags.engine == "beam":
            from data_pipelines.ingest.beam import beam

            manifest, done = run.ingest(found, settings, out, beam(flags.options), progress=False)
        else:
            manifest, done = run.ingest(found, settings, out, run.local(flags.workers or os.cpu_count() or 1))
    failed = [one for one in done if one.reason]
    print(f"{len(done)} recordings: {sum(one.written for one in done)} written, {len(failed)} failed")
    if manifest is None:
        print("no manifest yet: other tasks are at work, or did not do their share; the last one writes it")
    else:
        print(table(manifest, describe(manifest)))
        print(out)


def _say_what_is_assumed(found: Sequence, place: str) -> None:
    """Prints whose the files are taken for, and warns where their names say something else."""
    from data_pipelines.contract import PLACES
    from data_pipelines.ingest.people import other_places

    files, persons = len(found), len({person.subject for person in found})
    whose = f"{persons:,} persons'" if persons != 1 else "1 person's"
    many = "s" * (files != 1)
    print(f"{files:,} file{many} taken as {whose} {place} sensor{many} (no --pairs)", flush=True)
    others = other_places(found)
    if len(others) > 1:
        places = " or ".join(one for one in PLACES if any(one in named for named in others.values()))
        warnings.warn(
            f"the names of {len(others):,} files hold {places}, but without --pairs each is taken as one person's "
            f"{place} sensor: name persons and places in --pairs",
            stacklevel=2,
        )


def _look_for_unnamed(folder: Path, table: Path, named: Collection[str]) -> None:
    """Warns of raw files that no line of the pairing table names."""
    from data_pipelines.ingest import pairs, people

    unnamed, there = pairs.unnamed_files(folder, table, named)
    if unnamed:
        are = "are" if len(unnamed) > 1 else "is"
        raw = f"{len(unnamed):,} of {there:,} raw files in {folder} {are} in no line of {table}"
        warnings.warn(f"{raw}: {people.first_few(unnamed)}", stacklevel=2)


def _look_for_files(missing: Sequence[str], files: int, out: Path) -> None:
    """Warns of files that are not there; FileNotFoundError where that is all of them and none was ingested before."""
    if missing and len(missing) == files and not any((out / "shards").glob("*.json")):
        raise FileNotFoundError(f"none of the {files} files is there, is the folder mounted? {missing[0]}")
    for text in missing[:MISSING_SHOWN]:
        warnings.warn(text, stacklevel=2)
    if len(missing) > MISSING_SHOWN:
        warnings.warn(f"and {len(missing) - MISSING_SHOWN:,} more files are not there", stacklevel=2)


if __name__ == "__main__":
    sys.exit(main())
