"""Several things timed in turns on one machine, and the rows that compare them."""

import contextlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, TypeVar

PAUSE_S = 0.02  # threads spin for a moment after their work and would slow the next in turn

Found = TypeVar("Found")


class Seconds(NamedTuple):
    """By the clock, and by the processor summed over the threads of this process."""

    wall: float
    cpu: float


class Row(NamedTuple):
    """A line of the table; `ratio` says how many times better ours is."""

    what: str
    ours: float
    pytorch: float
    ratio: float
    unit: str


def timed(action: Callable[[], object]) -> Seconds:
    """What `action()` takes; it must wait for its own result."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def settled(action: Callable[[], object]) -> Seconds:
    """What `action()` takes once it has run before.

    Work that repeats keeps its memory; the first time after another's pays for pages that the other gave back, half
    of a full-size training step.
    """
    action()
    return timed(action)


def in_turns(candidates: Mapping[str, Callable[[], Found]], repeats: int, title: str) -> dict[str, list[Found]]:
    """What each candidate returns, such as a time, in `repeats` rounds A B C A B C ..., after one that does not count.

    Turns let a change in the machine's load meet all of them alike.
    """
    from tqdm import tqdm

    times = {name: [] for name in candidates}
    with tqdm(total=(repeats + 1) * len(candidates), desc=title, unit="turn", delay=3, file=sys.stderr) as bar:
        for turn in range(repeats + 1):
            for name, candidate in candidates.items():
                bar.set_postfix_str(name)
                time.sleep(PAUSE_S)
                found = candidate()
                times[name] += [found] if turn else []
                bar.update()
    return times


def compare(what: str, ours: list[Seconds], pytorch: list[Seconds], windows: int = 0) -> list[Row]:
    """Minimum and median, by the clock and by the processor: seconds, or windows a second where given."""
    rows = []
    for clock, unit in (("wall", "s"), ("cpu", "core s")):
        first, second = ([vars_of[clock] for vars_of in map(Seconds._asdict, times)] for times in (ours, pytorch))
        for name, pick in (("minimum", min), ("median", statistics.median)):
            a, b = pick(first), pick(second)
            values = (windows / a, windows / b) if windows else (a, b)
            rows.append(Row(f"{what}: {name}", *values, b / a, f"windows/{unit}" if windows else unit))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | ours | PyTorch | ratio | unit |", "| --- | ---: | ---: | ---: | --- |"]
    lines += [f"| {r.what} | {r.ours:,.4g} | {r.pytorch:,.4g} | {r.ratio:.2f} | {r.unit} |" for r in rows]
    return "\n".join(lines)


@contextlib.contextmanager
def first_cores(count: int) -> Iterator[None]:
    """Threads begun inside run on the first `count` cores this process may use; where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def machine(threads: int) -> dict[str, object]:
    """What the numbers depend on: cores, threads used, load before the start, versions."""
    return {
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "machine": platform.machine(),
        "python": platform.python_version(),
    } | {name: _version(name) for name in ("jax", "jaxlib", "numpy", "scipy", "grain", "torch")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
