"""Jobs over processes of this machine: outcomes as they come, nothing left running after a stop."""

import contextlib
import itertools
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

Outcome = tuple[int, Callable[[], Any]]  # number of the job; returns its result or raises what it raised
STARTS = 3  # processes in a row that may die while they start
FILES, FILES_A_WORKER = 256, 10  # open ones: of this process without workers, and of a pool with one
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
      isolated: one worker is spawned too, so that its death is not this process'.

    Raises:
      ChildProcessError: (from an outcome) the worker died; (from the iterator) workers cannot start.
    """
    workers = _allowed(min(workers, len(jobs)))
    if workers <= 1 and not isolated:
        for number, job in enumerate(jobs):
            yield number, lambda job=job: function(*job)
        return
    before = set(multiprocessing.active_children())
    cores = sorted(os.sched_getaffinity(0)) if share_cores and hasattr(os, "sched_getaffinity") else []
    free = [_Worker(place, cores[place::workers] or cores) for place in range(workers)]
    staff, waiting = tuple(free), iter(enumerate(jobs))
    running: dict[Future, tuple[int, _Worker]] = {}
    stillborn = 0  # processes in a row that died while they started

    def feed() -> None:
        for number, job in itertools.islice(waiting, len(free)):
            worker = free.pop()
            running[worker.give(function, job)] = number, worker

    try:
        feed()
        while running:
            ended = {future: running.pop(future) for future in wait(running, return_when=FIRST_COMPLETED).done}
            for future, (number, worker) in list(ended.items()):
                died = isinstance(future.exception(), BrokenProcessPool)
                unseen = died and not worker.began  # the job, by a process that died while it started
                stillborn = stillborn + 1 if unseen else 0
                if stillborn == STARTS:
                    raise ChildProcessError(
                        "worker processes end before they begin: too little memory, or a script that does not keep its "
                        'calls below `if __name__ == "__main__":`'
                    )
                if died:
                    worker.replace()
                if unseen:
                    running[worker.give(function, jobs[number])] = number, worker
                    del ended[future]
                else:
                    free.append(worker)
            feed()
            for future, (number, _) in ended.items():
                yield number, lambda future=future: _result(future)
    except BaseException:  # stopped: do not wait for what the workers are at
        for worker in staff:
            worker.pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
            process.join()
        raise
    for worker in staff:
        worker.pool.shutdown()


class _Worker:
    """A process that does one job after the other, and is replaced where it died.

    A pool of its own: one of several processes does not say which job its dead one had, and fails all that are left.
    """

    def __init__(self, number: int, cores: Sequence[int]):
        self._start = _start, (number, cores)
        self._employ()

    def _employ(self) -> None:
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), *self._start)
        self._first: Future | None = None

    def give(self, function: Callable, job: tuple) -> Future:
        """The job's future."""
        try:
            if self._first is None:
                resource_tracker.ensure_running()  # which lets all signals through
                with _ctrl_c_later():
                    self._first = self.pool.submit(worker_number)  # starts the process
            return self.pool.submit(function, *job)
        except BrokenProcessPool:  # it died between two jobs
            self.replace()
            return self.give(function, job)

    @property
    def began(self) -> bool:
        """Whether the process, if it is dead, had started before."""
        return self._first is not None and self._first.exception() is None

    def replace(self) -> None:
        """Makes another process of it."""
        self.pool.shutdown()
        self._employ()


@contextlib.contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Inside, Ctrl-C waits; a process that is started here never hears of it, not even while it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _allowed(workers: int) -> int:
    """As many workers as the limit of open files admits, once that is raised as far as this process may."""
    wanted, (soft, hard) = FILES + FILES_A_WORKER * workers, resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return workers
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(1, min(workers, (limit - FILES) // FILES_A_WORKER))


def _result(future: Future) -> Any:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died with it, perhaps for lack of memory: run again with fewer --workers or more memory"
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
