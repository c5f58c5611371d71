"""`selfpab ingest`: raw sensor files -> a folder of windows, on this machine, a Beam runner or a SLURM array."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
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
    from data_pipelines.ingest import people, run, slurm

    settings = settings_of(flags)
    folder, out = flags.input.resolve(), flags.out.resolve()  # as tasks on other machines see them
    if flags.pairs:
        found = people.from_table(folder, flags.pairs, settings.cut.sensors)
    else:
        found = people.one_file_each(folder, *settings.cut.sensors)
    _look_for_files(people.missing_files(found), sum(len(person.sensors) for person in found), out)
    task = slurm.task(os.environ) if flags.engine == "slurm" else None
    if flags.engine == "slurm" and task is None:
        slurm.sbatch()  # is there
        run.begin(found, settings, out)
        try:
            print(slurm.submit(slurm.this_command(argv), min(flags.tasks or 100, len(found)), flags.options))
        except OSError as error:
            raise OSError(f"{error}; an array, or --engine local, has to write the manifest of {out} now") from error
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
