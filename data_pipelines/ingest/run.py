"""Everybody's raw files -> a prepared folder: what is missing is done by an engine, then the manifest is written.

An engine is a function of (people, settings, out) that yields an `Outcome` a person, in any order. The bytes that
people's files become do not depend on it.
"""

import contextlib
import fcntl
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from data_pipelines.folder import FAILED, check_out, finish, sweep
from data_pipelines.ingest import entries
from data_pipelines.ingest.one import Outcome, attempt, existing, failure
from data_pipelines.ingest.people import Person
from data_pipelines.ingest.settings import LAYOUT, IngestSettings
from data_pipelines.locks import lock, locked
from data_pipelines.manifest import MANIFEST
from data_pipelines.processes import outcomes
from data_pipelines.shards import SHARDS, read_sidecar, sidecar_path

PATIENCE_S = 3600  # for the task that writes the manifest; minutes for tens of thousands of people
Engine = Callable[[Sequence[Person], IngestSettings, Path], Iterator[Outcome]]


def ingest(
    people: Sequence[Person], settings: IngestSettings, out: Path, engine: Engine, progress: bool = True
) -> tuple[dict, list[Outcome]]:
    """The manifest of the prepared folder `out`, which is made or completed, and what became of each person.

    People who are in `out` already, of the same files and settings, with correct checksums, are not done again; who
    failed is tried again. Stopped half-way, the folder has no manifest yet and the same call continues.

    Args:
      people: in the order in which the manifest has them.
      engine: see above.
      progress: a bar on stderr.

    Raises:
      ValueError: nobody's files can be used, or they hold no window.
      FileExistsError: `out` holds something else or was made with other settings.
      OSError: the disk is full, or another process is writing to `out`.
    """
    _claim(people, settings, out)
    with locked(out):
        sweep(out)
        (out / MANIFEST).unlink(missing_ok=True)  # what it says would no longer be so
        try:
            found = _watched(engine(people, settings, out), len(people), progress)
        except BaseException:
            sweep(out)
            _remove_empty(out)
            raise
        sweep(out)  # after a worker that died
        manifest = complete(people, settings, out)
    return manifest, found


def begin(people: Sequence[Person], settings: IngestSettings, out: Path) -> None:
    """Makes `out` ready for tasks that will `share` the work: nothing in it counts as done that is not.

    Raises:
      FileExistsError, OSError: as `ingest`.
    """
    _claim(people, settings, out)
    with locked(out):
        sweep(out)
        (out / MANIFEST).unlink(missing_ok=True)
        for person in people:
            (out / FAILED / f"{person.name}.json").unlink(missing_ok=True)
            with contextlib.suppress(ValueError, FileNotFoundError):  # the task's business
                if existing(person, settings, out, intact=False):
                    continue
            sidecar_path(out, person.name).unlink(missing_ok=True)


def share(
    people: Sequence[Person], settings: IngestSettings, out: Path, engine: Engine, number: int, of: int
) -> tuple[dict | None, list[Outcome]]:
    """One task of several that share the work, each on any machine that sees `out`: every `of`-th person.

    Returns:
      The manifest, written by the task that ends last; None for the others. What became of this task's people.

    Raises:
      As `ingest`.
    """
    _claim(people, settings, out)
    mine = people[number::of]
    with locked(out, shared=True, patience_s=PATIENCE_S) as handle:  # another one may be writing the manifest
        (out / MANIFEST).unlink(missing_ok=True)
        found = _watched(engine(mine, settings, out), len(mine), progress=False)
        if not lock(handle, fcntl.LOCK_EX):  # others are still at work
            return None, found
        if not all(_is_done(out, person.name) for person in people):
            return None, found
        sweep(out)
        return complete(people, settings, out), found


def local(workers: int) -> Engine:
    """The engine of this machine: so many processes."""

    def engine(people: Sequence[Person], settings: IngestSettings, out: Path) -> Iterator[Outcome]:
        jobs = [(person, settings, out) for person in people]
        for number, outcome in outcomes(attempt, jobs, workers, isolated=True):
            try:
                found = outcome()
            except ChildProcessError as error:
                found = failure(people[number], out, str(error))
            yield found

    return engine


def complete(people: Sequence[Person], settings: IngestSettings, out: Path) -> dict:
    """The manifest of all sidecars, which is written, with those who failed.

    Raises:
      ValueError: nobody's files can be used, or they hold no window.
    """
    names = {person.name for person in people}
    for path in (out / FAILED).glob("*.json"):
        if path.stem not in names:  # of somebody who is no longer among the people
            path.unlink()
    failed = []
    for person in people:
        if note := read_sidecar(out / FAILED / f"{person.name}.json"):
            failed.append(entries.failed(person, note["reason"]))
        elif not sidecar_path(out, person.name).is_file():
            failed.append(entries.failed(person, f"no result came: does every worker see {out} under this path?"))
    bad = {note["name"] for note in failed}
    good = [person.name for person in people if person.name not in bad]
    if not good:
        raise ValueError(
            f"none of the {len(people)} recordings can be used; the first, {failed[0]['name']}: {failed[0]['reason']}"
        )
    with contextlib.suppress(OSError):
        (out / FAILED).rmdir()  # empty: nobody failed
    return finish((_sidecar(out, name) for name in good), LAYOUT, settings.recorded(), out, failed)


def _sidecar(out: Path, name: str) -> dict:
    path = sidecar_path(out, name)
    if (sidecar := read_sidecar(path)) is None:
        raise ValueError(f"{path} cannot be read: delete it and run the same command again")
    return sidecar


def _claim(people: Sequence[Person], settings: IngestSettings, out: Path) -> None:
    check_out(out, settings.recorded(), {person.name for person in people})
    for folder in (out, out / SHARDS, out / FAILED):
        folder.mkdir(parents=True, exist_ok=True)


def _watched(found: Iterator[Outcome], total: int, progress: bool) -> list[Outcome]:
    """All outcomes, counted by a bar while they come."""
    done: list[Outcome] = []
    windows = failed = 0
    with tqdm(total=total, desc="ingest", unit="recording", disable=not progress, smoothing=0.1) as bar:
        for outcome in found:
            done.append(outcome)
            windows += outcome.windows
            if outcome.reason:
                failed += 1
                bar.write(f"selfpab ingest: {outcome.name} failed: {outcome.reason}", file=sys.stderr)
            bar.set_postfix(windows=windows, failed=failed)
            bar.update()
    return done


def _is_done(out: Path, name: str) -> bool:
    return sidecar_path(out, name).is_file() or (out / FAILED / f"{name}.json").is_file()


def _remove_empty(out: Path) -> None:
    for folder in (out / SHARDS, out / FAILED, out):
        with contextlib.suppress(OSError):  # what holds finished recordings stays
            folder.rmdir()
