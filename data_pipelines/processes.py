"""Jobs over processes of this machine: outcomes as they come, nothing left running after a stop."""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

Outcome = tuple[int, Callable[[], Any]]  # number of the job; returns its result or raises what it raised
_place = {"number": 0}  # of this process among the workers


def worker_number() -> int:
    """0, 1, ... in the worker processes of `outcomes`; 0 in any other process."""
    return _place["number"]


def outcomes(
    function: Callable, jobs: Sequence[tuple], workers: int, *, share_cores: bool = False
) -> Iterator[Outcome]:
    """The outcome of `function(*job)` for each job, in the order in which they end.

    One worker, or one job, runs in this process, one after the other. More are spawned (forking with live threads
    deadlocks), so that `function` and the jobs must be importable and picklable; they end with this process, however
    it dies.

    Args:
      share_cores: give each worker its own share of the cores (on Linux), so that libraries which start a thread a
        core do not disturb each other.

    Raises:
      ChildProcessError: (from an outcome) a worker died.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for number, job in enumerate(jobs):
            yield number, lambda job=job: function(*job)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0)) if share_cores and hasattr(os, "sched_getaffinity") else []
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(workers, cores))
    try:
        futures = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], lambda future=future: _result(future)
    except BaseException:  # stopped: do not wait for what the workers are at
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
            worker.join()
        raise
    pool.shutdown()


def _result(future) -> Any:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps for lack of memory: run again with fewer --workers"
        ) from error


def _start(workers: int, cores: Sequence[int]) -> None:
    """Leaves Ctrl-C to the parent, and ends this process when the parent is gone, however it died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Children are numbered one after the other, those of one pool too: SpawnProcess-7, SpawnProcess-1:7.
    number = int(re.split("[-:]", multiprocessing.current_process().name)[-1]) % workers
    _place["number"] = number
    if cores:
        os.sched_setaffinity(0, cores[number::workers] or cores)
    os.environ["TQDM_DISABLE"] = "1"  # the bar is the parent's
    # Several processes may share a GPU: none takes all of its memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
