"""Jobs over processes of this machine: outcomes as they come, nothing left running after a stop."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

Outcome = tuple[int, Callable[[], Any]]  # number of the job; returns its result or raises what it raised
_place = {"number": 0}  # of this process among the workers


def worker_number() -> int:
    """0, 1, ... in the worker processes of `outcomes`; 0 in any other process."""
    return _place["number"]


def outcomes(
    function: Callable, jobs: Sequence[tuple], workers: int, *, share_cores: bool = False, isolated: bool = False
) -> Iterator[Outcome]:
    """The outcome of `function(*job)` for each job, in the order in which they end.

    One worker, or one job, runs in this process, one after the other. More are spawned (forking with live threads
    deadlocks), so that `function` and the jobs must be importable and picklable; they end with this process, however
    it dies. A worker that dies takes one job with it, and is replaced.

    Args:
      share_cores: give each worker its own share of the cores (on Linux), so that libraries which start a thread a
        core do not disturb each other.
      isolated: one worker with several jobs is spawned too, so that its death is not that of all of them.

    Raises:
      ChildProcessError: (from an outcome) the worker died.
    """
    workers = min(workers, len(jobs))
    if workers <= 1 and not (isolated and len(jobs) > 1):
        for number, job in enumerate(jobs):
            yield number, lambda job=job: function(*job)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0)) if share_cores and hasattr(os, "sched_getaffinity") else []

    def spawn(place: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, context, _start, (place, cores[place::workers] or cores))

    # A pool each: one of several processes does not say which job its dead one had, and fails all that are left.
    pools = [spawn(place) for place in range(workers)]
    waiting, free = iter(enumerate(jobs)), list(range(workers))
    running: dict[Future, tuple[int, int]] = {}  # -> numbers of the job and of the pool

    def replace(place: int) -> None:
        pools[place].shutdown()
        pools[place] = spawn(place)

    def feed() -> None:
        for number, job in itertools.islice(waiting, len(free)):
            place = free.pop()
            try:
                future = pools[place].submit(function, *job)
            except BrokenProcessPool:  # the worker died between two jobs
                replace(place)
                future = pools[place].submit(function, *job)
            running[future] = number, place

    try:
        feed()
        while running:
            ended = {future: running.pop(future) for future in wait(running, return_when=FIRST_COMPLETED).done}
            for future, (_, place) in ended.items():
                if isinstance(future.exception(), BrokenProcessPool):
                    replace(place)
                free.append(place)
            feed()
            for future, (number, _) in ended.items():
                yield number, lambda future=future: _result(future)
    except BaseException:  # stopped: do not wait for what the workers are at
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - before:
            worker.terminate()
            worker.join()
        raise
    for pool in pools:
        pool.shutdown()


def _result(future: Future) -> Any:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps for lack of memory: run again with fewer --workers"
        ) from error


def _start(number: int, cores: Sequence[int]) -> None:
    """Leaves Ctrl-C to the parent, and ends this process when the parent is gone, however it died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _place["number"] = number
    if cores:
        os.sched_setaffinity(0, cores)
    os.environ["TQDM_DISABLE"] = "1"  # the bar is the parent's
    # Several processes may share a GPU: none takes all of its memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
