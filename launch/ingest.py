"""`selfpab ingest`: raw sensor files -> a folder of windows, on this machine, a Beam runner or a SLURM array."""

import argparse
import os
import sys
from collections.abc import Sequence

from launch.command_line import run_job, sigterm_like_ctrl_c
from launch.described import table
from launch.ingest_line import parse, settings_of


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
    task = slurm.task(os.environ) if flags.engine == "slurm" else None
    if flags.engine == "slurm" and task is None:
        print(slurm.submit(slurm.this_command(argv), min(flags.tasks or 100, len(found)), flags.options))
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
    if manifest:
        print(table(manifest, describe(manifest)))
        print(out)


if __name__ == "__main__":
    sys.exit(main())
