"""Weak scaling of the input: several processes at once, each reading its own rows of every global batch."""

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import BrokenBarrierError

import numpy as np

from launch.benchmarks.feed import prepared, read
from launch.benchmarks.timing import in_turns

TURN_S = 1.0  # each process reads for so long, so that none has the machine to itself in the end
WAIT_S = 120  # for the others to be ready
CONFIG = {"seed": 0, "data": {"random_start": False, "sampling": "uniform"}}


def measure(counts: Sequence[int], batch: int, repeats: int, data: str | None, turn_s: float = TURN_S) -> list[dict]:
    """A row (`columns.SCALING`) for one process and for each of the given numbers of them.

    Args:
      batch: windows that each process reads of a global batch.
      data: a prepared folder; None for a synthetic one.

    Raises:
      ValueError: the folder cannot be read.
      ChildProcessError: a process died.
    """
    counts = sorted({1, *counts})
    with prepared(data) as folder, _readers(counts, folder, batch, turn_s) as pipes:
        rounds = in_turns({str(n): partial(_turn, pipes[:n]) for n in counts}, repeats, "input, processes")
    rows = []
    for count, found in zip(counts, rounds.values(), strict=True):
        mean = statistics.median(map(statistics.mean, found))
        rows.append(
            {
                "processes": count,
                "batch": batch,
                "batches_per_s": mean,
                "ratio": mean / rows[0]["batches_per_s"] if rows else 1.0,
                "slowest": statistics.median(map(min, found)),
                "windows_per_s": mean * count * batch,
                "rounds": found,
            }
        )
    return rows


@contextlib.contextmanager
def _readers(counts: Sequence[int], folder: Path, batch: int, turn_s: float) -> Iterator[list[Connection]]:
    """Pipes to as many reading processes as the largest count needs; they end with the block."""
    context = multiprocessing.get_context("spawn")  # forking with live threads deadlocks
    barriers, pipes, processes = {count: context.Barrier(count) for count in counts}, [], []
    try:
        for place in range(counts[-1]):
            ours, theirs = context.Pipe()
            given = (theirs, barriers, folder, batch, place, turn_s)
            processes.append(context.Process(target=_reader, args=given, daemon=True))
            processes[-1].start()
            theirs.close()
            pipes.append(ours)
        yield pipes
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _turn(pipes: Sequence[Connection]) -> list[float]:
    """Batches a second of each of these processes, which read at the same time."""
    for pipe in pipes:
        pipe.send(len(pipes))
    found, waiting = {}, list(pipes)
    while waiting:
        for pipe in multiprocessing.connection.wait(waiting):
            try:
                found[pipe] = pipe.recv()
            except EOFError as error:
                raise ChildProcessError("a reading process died, perhaps for lack of memory") from error
            if isinstance(found[pipe], str):
                raise ValueError(found[pipe])
            waiting.remove(pipe)
    return [found[pipe] for pipe in pipes]


def _reader(pipe: Connection, barriers: dict, folder: Path, batch: int, place: int, turn_s: float) -> None:
    """Answers a number of processes with the batches a second that this one read among them; ends with the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    with contextlib.suppress(EOFError):
        while count := pipe.recv():
            rows = np.arange(place * batch, (place + 1) * batch)
            try:
                with read(folder, CONFIG, count * batch, rows) as batches:
                    barriers[count].wait(WAIT_S)
                    pipe.send(_rate(batches, turn_s))
            except (ValueError, OSError, BrokenBarrierError) as error:
                barriers[count].abort()
                pipe.send(str(error) or f"{count} processes were not ready within {WAIT_S} s")


def _rate(batches: Iterator, turn_s: float) -> float:
    """Batches a second over a turn."""
    read_so_far, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < turn_s:
        next(batches)
        read_so_far += 1
    return read_so_far / spent
