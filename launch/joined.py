"""A job as one of several processes: joined before it begins, left at once where it fails."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from launch import cluster
from launch.command_line import run_job
from selfpab_jax.train.stop import EXIT_STATUS, StopRequest


def run_joined(job: str, function: Callable[[], int | None]) -> int:
    """As `run_job`, but a process that fails does not wait for the others, who may be waiting for it."""
    try:
        status = run_job(job, function)
    except Exception:
        _leave(1)
        raise
    if status not in (0, EXIT_STATUS):
        _leave(status)
    return status


def _leave(status: int) -> None:
    if "jax" in sys.modules:  # else nothing has been joined
        from selfpab_jax.train import hosts

        hosts.leave(status)


@contextlib.contextmanager
def joined(flags: argparse.Namespace, stop: StopRequest) -> Iterator[bool]:
    """Whether this process is the first; inside, it is one of those that flags or environment tell of.

    Raises:
      ValueError, RunFailed: as `cluster.place` and `cluster.connect`; RunFailed if another process is lost later on.
    """
    place = cluster.place(flags, os.environ)
    if place:
        cluster.connect(place, flags.heartbeat)
        stop.nothing_to_save = False  # from now on processes stop together
    from selfpab_jax.train import hosts

    with hosts.losses_named():
        yield hosts.is_first()
