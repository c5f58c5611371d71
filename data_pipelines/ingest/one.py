"""One person's raw files in, one shard and sidecar out: the unit of work of every engine, safe to repeat anywhere."""

import dataclasses
import datetime
import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.folder import FAILED
from data_pipelines.ingest import quality
from data_pipelines.ingest.calibration import Calibration, apply, calibrate
from data_pipelines.ingest.clocks import Lag, clock_lag, correct
from data_pipelines.ingest.flips import Flip, find_flip, parse_orientation, turned
from data_pipelines.ingest.people import Person, Sensor
from data_pipelines.ingest.regrid import regrid
from data_pipelines.ingest.settings import IngestSettings
from data_pipelines.ingest.survey import Survey, clipped, survey
from data_pipelines.manifest import file_crc32, json_bytes, write_atomically
from data_pipelines.raw import RawFile, Report
from data_pipelines.readers import raw_files
from data_pipelines.shards import Cut, finished, store, write_sidecar
from data_pipelines.wear import worn_spans
from data_pipelines.windows import quantise

LONGEST_DAYS = 100  # between the first and the last sample; more comes from a clock that was set in between
NOT_CALIBRATED = Calibration(np.ones(3), np.zeros(3), np.zeros(3), 0.0, float("nan"), float("nan"), 0, "not asked for")


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


@dataclasses.dataclass(frozen=True)
class _Read:
    """A sensor after the first pass over its file."""

    sensor: Sensor
    file: RawFile
    report: Report
    survey: Survey
    calibration: Calibration
    flip: Flip
    lag: Lag | None = None


def attempt(person: Person, settings: IngestSettings, out: Path) -> Outcome:
    """What became of a person; where it is no shard, `out`/failed/NAME.json says why.

    Raises nothing but what stops the whole run: a full or missing disk (OSError of `out`), Ctrl-C.
    """
    note = out / FAILED / f"{person.name}.json"
    try:
        sidecar, written = ingest_one(person, settings, out)
    except Exception as error:  # one of 35,000 files must not stop the others, whatever it does to the reader
        if os.environ.get("SELFPAB_DEBUG") == "1":
            raise
        expected = isinstance(error, (ValueError, OSError))
        reason = str(error) if expected else f"{person.name}: unexpected {type(error).__name__} ({error})"
        reason = reason.replace(f"{person.folder}{os.sep}", "")  # wherever the same files lie, the same manifest
        content = {"name": person.name, "reason": reason}
        content |= {} if expected else {"traceback": traceback.format_exc()}
        write_atomically(note, json_bytes(content))
        return Outcome(person.name, False, 0, reason)
    note.unlink(missing_ok=True)
    return Outcome(person.name, written, sidecar["entry"]["windows"])


def ingest_one(person: Person, settings: IngestSettings, out: Path) -> tuple[dict, bool]:
    """The sidecar of a person, and whether the shard had to be written.

    Every file is read twice: once to find gain, orientation and clock, once to bring the samples onto the grid of the
    recording, so that a week of two sensors takes less than half a gigabyte.

    Raises:
      ValueError, OSError: naming the file, where the recording cannot be used or the shard not be written.
    """
    recorded = json.loads(json.dumps(settings.recorded()))  # as it is read back
    missing = [s for s in settings.cut.sensors if s not in [sensor.place for sensor in person.sensors]]
    if missing:
        raise ValueError(
            f"{person.name}: no file of the {' and the '.join(missing)} sensor, expected one of each of "
            f"{', '.join(settings.cut.sensors)}"
        )
    stamp = person.stamp()
    done = finished(person.name, recorded, stamp, out)
    if done is not None:
        return done, False
    read = _in_step([_look(person, sensor, settings) for sensor in person.sensors], settings)
    first, counts, flags, beyond = _on_the_grid(person, read, settings)
    cut = settings.cut
    rules = quality.Rules(
        cut.rate_hz,
        cut.window,
        settings.daytime,
        cut.nonwear_min,
        settings.max_joined,
        settings.max_clipped,
        settings.max_nonwear,
    )
    for number in range(len(read)):
        quality.mark_worn(counts[3 * number : 3 * number + 3], flags[number], cut.scale_g, rules)
    judged = quality.judge(flags, first, rules)
    stored = store(person.name, counts, judged.stretches, cut, out)
    content = {
        "entry": _entry(person, read, judged, stored, first, counts.shape[1], beyond, cut),
        "moments": stored["moments"],
        "movement": stored["movement"],
        "sensors": {one.sensor.place: _words(person, one) for one in read},
    }
    return write_sidecar(out, person.name, recorded, stamp, content), True


def _look(person: Person, sensor: Sensor, settings: IngestSettings) -> _Read:
    """The first pass over a file."""
    path = person.path(sensor)
    file, report = raw_files.open_file(path, settings.columns), Report()
    found = survey(file.read(report), file.rate_hz, file.range_g)
    if report.samples < file.rate_hz:
        raise ValueError(f"{path}: holds {report.samples} samples that can be used, expected at least a second of them")
    days = (report.last_us - report.first_us) / 86_400e6
    if days > LONGEST_DAYS:
        raise ValueError(
            f"{path}: its clock goes from {_date(report.first_us)} to {_date(report.last_us)}, {days:,.0f} days, "
            f"expected at most {LONGEST_DAYS}: it was set while the sensor recorded; cut the file where it was"
        )
    calibration = NOT_CALIBRATED
    if settings.calibrate:
        calibration = calibrate(found.mean, found.std, found.temperature, found.complete, found.clipped)
    chosen = found.complete & worn_spans(found.span, found.std, settings.cut.nonwear_min or 90)
    mean = apply(found.mean[chosen], found.temperature[chosen], calibration)
    flip = find_flip(mean, found.std[chosen], sensor.place)
    if (rotation := parse_orientation(sensor.orientation)) is not None:
        flip = dataclasses.replace(flip, matrix=rotation, status="as stated")
    return _Read(sensor, file, report, found, calibration, flip)


def _in_step(read: list[_Read], settings: IngestSettings) -> list[_Read]:
    """With the lags of the clocks of all sensors but the first behind the first one's."""
    if not settings.align:
        return read
    return read[:1] + [dataclasses.replace(one, lag=clock_lag(read[0].survey, one.survey)) for one in read[1:]]


def _on_the_grid(
    person: Person, read: list[_Read], settings: IngestSettings
) -> tuple[int, np.ndarray, np.ndarray, int]:
    """The second pass: number of the first sample on the grid, counts int16 [C, S], flags uint8 [sensors, S], beyond.

    The last is the number of samples that do not fit into int16 and were clipped.
    """
    rate, scale = settings.cut.rate_hz, settings.cut.scale_g
    spare_s = 1 + max((_moved_s(one) for one in read), default=0)
    begin = [one.report.first_us / 1e6 - spare_s for one in read]
    end = [one.report.last_us / 1e6 + spare_s for one in read]
    if max(begin) > min(end):
        places = " and the ".join(f"{one.sensor.place} one ({one.sensor.file})" for one in read)
        raise ValueError(f"{person.name}: the {places} share no time by their clocks: check the pairing and the clocks")
    if max(end) - min(begin) > LONGEST_DAYS * 86_400:
        raise ValueError(
            f"{person.name}: the sensors recorded from {_date(min(begin) * 1e6)} to {_date(max(end) * 1e6)}, expected "
            f"at most {LONGEST_DAYS} days together: check the pairing and the clocks"
        )
    first, last = int(min(begin) * rate), int(max(end) * rate) + 1
    counts = np.zeros((3 * len(read), last - first), np.int16)
    flags = np.zeros((len(read), last - first), np.uint8)
    beyond = 0
    for number, one in enumerate(read):
        rows = counts[3 * number : 3 * number + 3]
        for chunk in regrid(_corrected(one, scale), one.file.rate_hz, rate, settings.cut.max_gap_s):
            where = slice(chunk.first - first, chunk.first - first + len(chunk.signal))
            rows[:, where], over = quantise(chunk.signal, scale)
            flags[number, where] = chunk.flags | quality.MEASURED
            beyond += over
    there = flags.any(axis=0)
    if not there.any():
        raise ValueError(f"{person.name}: no sample at {rate} Hz comes of these files: they hold single samples only")
    used = slice(int(there.argmax()), len(there) - int(there[::-1].argmax()))
    return first + used.start, counts[:, used], flags[:, used], beyond


def _corrected(one: _Read, scale_g: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(time, acceleration, clipped) of each piece: calibrated, turned, by the clock of the first sensor."""
    limit = min(one.file.range_g or np.inf, 32768 * scale_g)  # what does not fit into int16 is clipped too
    for piece in one.file.read(Report()):
        acceleration = turned(apply(piece.acceleration, piece.temperature, one.calibration), one.flip.matrix)
        time = piece.time if one.lag is None else correct(piece.time, one.lag)
        yield time, acceleration, clipped(piece.acceleration, limit)


def _moved_s(one: _Read) -> float:
    """By how much at most the clock of a sensor is moved, in seconds."""
    if one.lag is None:
        return 0.0
    ends = np.asarray([one.report.first_us, one.report.last_us], np.int64)
    return float(np.abs(correct(ends, one.lag) - ends).max()) / 1e6


def _entry(
    person: Person,
    read: list[_Read],
    judged: quality.Judged,
    stored: dict,
    first: int,
    samples: int,
    beyond: int,
    cut: Cut,
) -> dict:
    """The manifest's words for a recording."""
    rate = cut.rate_hz
    starts = [first + at for s in judged.stretches for at in range(s.start, s.stop, cut.window)]
    seconds = np.asarray(starts, np.int64) // rate
    return {
        "name": person.name,
        "subject": person.subject,
        **stored["entry"],
        "samples": judged.samples,
        "hours": round(judged.samples / rate / 3600, 6),
        "joined_gaps": judged.joined_gaps,
        "splits": judged.splits,
        "longest_s": judged.longest_s,
        "nonwear_s": judged.samples / rate - judged.wear_s,
        "dropped_s": judged.samples / rate - stored["covered"] / rate,
        "clipped": beyond,
        "labelled": None,
        "labelled_crc32": None,
        "labels": {},
        "start_us": round(first * 1e6 / rate),
        "recorded_s": samples / rate,
        "wear_s": judged.wear_s,
        "dropped": judged.dropped_s,
        "days": [str(day) for day in np.unique(seconds // quality.DAY_S).astype("datetime64[D]")],
        "window_hours": np.bincount(seconds % quality.DAY_S // 3600, minlength=24).tolist(),
        "source": [_provenance(person, one) for one in read],
    }


def _provenance(person: Person, one: _Read) -> dict:
    path = person.path(one.sensor)
    return {
        "file": one.sensor.file,
        "place": one.sensor.place,
        "device": one.file.device,
        "rate_hz": one.file.rate_hz,
        "bytes": path.stat().st_size,
        "crc32": file_crc32(path),
    }


def _words(person: Person, one: _Read) -> dict:
    """The sidecar's words for a sensor."""
    return {
        "file": one.sensor.file,
        "device": one.file.device,
        "rate_hz": one.file.rate_hz,
        "range_g": one.file.range_g,
        "header": dict(one.file.facts),
        "report": one.report.to_json(),
        "calibration": one.calibration.to_json(),
        "orientation": one.flip.to_json(),
        "clock": None if one.lag is None else one.lag.to_json(),
    }


def _date(time_us: float) -> str:
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=time_us)).date().isoformat()
