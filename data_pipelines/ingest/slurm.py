"""The SLURM engine: an array of tasks of the same command, each of which does its share of the people."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ID, FIRST, LAST, STEP, COUNT = (f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP", "COUNT"))


class Task(NamedTuple):
    """Where a task stands among those of its array."""

    number: int
    of: int


def task(environ: Mapping[str, str]) -> Task | None:
    """This process' place in a SLURM array; None outside of one.

    Raises:
      ValueError: an array with holes, such as --array=3,5, whose tasks would share the people in another way.
    """
    if ID not in environ:
        return None
    number = int(environ[ID])
    first, last, step = (int(environ.get(name, default)) for name, default in ((FIRST, 0), (LAST, number), (STEP, 1)))
    found = Task((number - first) // step, (last - first) // step + 1)
    if (count := int(environ.get(COUNT, found.of))) != found.of:
        raise ValueError(
            f"the array has {count} tasks between {first} and {last}, expected {found.of} without holes: submit all of "
            "them again, those who are done are not done again"
        )
    return found


def array(command: Sequence[str], tasks: int, options: Sequence[str]) -> list[str]:
    """The arguments of sbatch that submit an array.

    Args:
      command: the command line of each task.
      tasks: of the array.
      options: sbatch's, such as --time=4:00:00.
    """
    ours = [f"--array=0-{tasks - 1}", "--job-name=selfpab-ingest", "--output=ingest-%A_%a.log"]
    return [*ours, *options, f"--wrap={shlex.join(command)}"]


def submit(array: Sequence[str]) -> str:
    """The number of the job that sbatch makes of an `array`; held, until `release`.

    Raises:
      ValueError: no sbatch on this machine; OSError: sbatch refused.
    """
    if shutil.which("sbatch") is None:
        raise ValueError(
            "--engine slurm submits its array with sbatch, which is not on this machine: log in where it is"
        )
    return _call("sbatch", "--parsable", "--hold", *array).partition(";")[0]  # a cluster's name may follow


def release(job: str) -> None:
    """Lets a job begin that was submitted; OSError where SLURM refuses."""
    try:
        _call("scontrol", "release", job)
    except OSError as error:
        raise OSError(f"{error}; the array is held until `scontrol release {job}`") from error


def cancel(job: str) -> None:
    """Takes back a job that was submitted; OSError where SLURM refuses."""
    _call("scancel", job)


def _call(*command: str) -> str:
    """What it prints; OSError, with what it says, where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        raise OSError(f"{command[0]} refused: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def this_command(argv: Sequence[str]) -> list[str]:
    """The command line that runs `selfpab ingest` with these arguments by this very interpreter."""
    return [sys.executable, "-m", "launch", "ingest", *argv]
