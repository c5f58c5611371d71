"""One person's raw files in, one shard and sidecar out: the unit of work of every engine, safe to repeat anywhere."""

import json
import os
import traceback
from pathlib import Path
from typing import NamedTuple

from data_pipelines.folder import FAILED
from data_pipelines.ingest import entries
from data_pipelines.ingest.people import Person
from data_pipelines.ingest.processing import Processed, process
from data_pipelines.ingest.settings import IngestSettings
from data_pipelines.manifest import json_lines, write_atomically
from data_pipelines.shards import ENDING, SHARDS, finished, sidecar_path, store, write_sidecar


class Outcome(NamedTuple):
    """What became of a person; small, as it travels between machines.

    Attributes:
      name: the person's.
      written: False where the shard was there already.
      windows: how many there are.
      reason: why there is no shard; empty where there is one.
    """

    name: str
    written: bool
    windows: int
    reason: str = ""


def attempt(person: Person, settings: IngestSettings, out: Path) -> Outcome:
    """What became of a person; where it is no shard, `out`/failed/NAME.json says why.

    Raises:
      OSError: `out` cannot be written; that is nobody's failure, and ends the run.
    """
    stale = False
    try:
        done = existing(person, settings, out)
        stale = not done  # what an earlier run made, if anything, is of other bytes or settings
        processed = process(person, settings) if stale else None
    except Exception as error:  # one of 35,000 files must not stop the others, whatever it does to its reader
        if os.environ.get("SELFPAB_DEBUG") == "1":
            raise
        expected = isinstance(error, (ValueError, OSError))
        reason = _sentence(error) if expected else f"unexpected {type(error).__name__} ({error})"
        # Wherever the same files lie, the same manifest.
        reason = reason.replace(f"{person.folder}{os.sep}", "").removeprefix(f"{person.name}: ")
        if stale and not isinstance(error, OSError):
            for path in (sidecar_path(out, person.name), out / SHARDS / f"{person.name}{ENDING}"):
                path.unlink(missing_ok=True)
        return failure(person, out, reason, **({} if expected else {"traceback": traceback.format_exc()}))
    sidecar = done or _write(person, processed, settings, out)
    _note(person, out).unlink(missing_ok=True)
    return Outcome(person.name, not done, sidecar["entry"]["windows"])


def failure(person: Person, out: Path, reason: str, **more: str) -> Outcome:
    """The outcome of a person without a shard; `out`/failed/NAME.json says why, and whatever `more` there is."""
    write_atomically(_note(person, out), json_lines(entries.failed(person, reason) | more))
    return Outcome(person.name, False, 0, reason)


def _note(person: Person, out: Path) -> Path:
    return out / FAILED / f"{person.name}.json"


def ingest_one(person: Person, settings: IngestSettings, out: Path) -> tuple[dict, bool]:
    """The sidecar of a person, and whether the shard had to be written.

    Raises:
      ValueError, OSError: naming the file, where the recording cannot be used or the shard not be written.
    """
    done = existing(person, settings, out)
    return (done, False) if done else (_write(person, process(person, settings), settings, out), True)


def existing(person: Person, settings: IngestSettings, out: Path, *, intact: bool = True) -> dict | None:
    """The sidecar of a person who is done: of these settings and files, with files that match their checksums.

    Where raw files are no longer there, what was made of files of these names, places and orientations counts.

    Args:
      intact: compare the checksums.

    Raises:
      FileNotFoundError: a raw file is not there, and nothing was made of it.
      ValueError: the person lacks a sensor.
    """
    lacking = [place for place in settings.cut.sensors if place not in [sensor.place for sensor in person.sensors]]
    if lacking:
        raise ValueError(
            f"{person.name}: no file of the {' and the '.join(lacking)} sensor, expected one of each of "
            f"{', '.join(settings.cut.sensors)}"
        )
    recorded = _recorded(settings)
    there = {sensor.place: person.path(sensor).is_file() for sensor in person.sensors}
    gone = [sensor.file for sensor in person.sensors if not there[sensor.place]]
    if not gone:
        return finished(person.name, recorded, person.stamp(), out, intact=intact)
    sidecar = finished(person.name, recorded, None, out, intact=intact)
    known = sidecar["sensors"] if sidecar else {}
    for sensor in person.sensors:
        one = known.get(sensor.place, {"described": None})
        same = one["described"] == person.described(sensor)
        if not same or there[sensor.place] and one["state"] != person.state(sensor):
            raise FileNotFoundError(f"{person.name}: {' and '.join(gone)} not in {person.folder}")
    return sidecar


def _write(person: Person, processed: Processed, settings: IngestSettings, out: Path) -> dict:
    """Writes the shard, then the sidecar, and returns the latter."""
    stored = store(person.name, processed.counts, processed.judged.stretches, settings.cut, out)
    content = {
        "entry": entries.entry(person, processed, stored, settings.cut),
        "moments": stored["moments"],
        "movement": stored["movement"],
        "sensors": entries.sensors(processed),
    }
    return write_sidecar(out, person.name, _recorded(settings), processed.stamp, content)


def _recorded(settings: IngestSettings) -> dict:
    """The settings as they are read back."""
    return json.loads(json.dumps(settings.recorded()))


def _sentence(error: Exception) -> str:
    """An error of the operating system as `file: reason`."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)
