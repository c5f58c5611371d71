"""One person's raw files -> samples of all sensors on one grid, and the windows that are worth keeping."""

import dataclasses
import datetime
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from data_pipelines.ingest import quality
from data_pipelines.ingest.calibration import Calibration, apply, calibrate
from data_pipelines.ingest.clocks import AGREE_S, Lag, clock_lag, correct, undecided
from data_pipelines.ingest.flips import Flip, find_flip, parse_orientation, turned
from data_pipelines.ingest.people import Person, Sensor
from data_pipelines.ingest.regrid import regrid
from data_pipelines.ingest.settings import IngestSettings
from data_pipelines.ingest.survey import Survey, clipped, survey
from data_pipelines.manifest import file_crc32
from data_pipelines.raw import CHANGED, Piece, RawFile, Report
from data_pipelines.readers import raw_files
from data_pipelines.wear import worn_spans
from data_pipelines.windows import quantise

# Blocks that are left out for one of these are another recording, or the rest of this one: never most of a file.
ELSEWHERE = {
    ("other session", "other rate or channels"): (
        "are of another session, rate or channels than the first ones: it holds more than one recording, cut it where "
        "they meet"
    ),
    ("out of order or clock went back", "time outside the recording"): (
        "are of an earlier time than those before them, or outside of what the header says: its clock was set while "
        "the sensor recorded; cut the file where it was"
    ),
}
LONGEST_DAYS = 100  # between the first and the last sample; more comes from a clock that was set in between
NOT_CALIBRATED = Calibration(np.ones(3), np.zeros(3), np.zeros(3), 0.0, float("nan"), float("nan"), 0, "not asked for")


@dataclasses.dataclass(frozen=True)
class Read:
    """A sensor after the first pass over its file.

    Attributes:
      sensor, file: whose words and header are read.
      described, state: what the pairing table says of the file, its size and time of change, see `Person`.
      crc32: of the file's bytes.
      report, survey: what the pass found.
      calibration, flip: what will be done to the samples.
      lag: of the clock; None for the sensor whose clock is the recording's, and where clocks are trusted.
    """

    sensor: Sensor
    file: RawFile
    described: list[str]
    state: list[int]
    crc32: int
    report: Report
    survey: Survey
    calibration: Calibration
    flip: Flip
    lag: Lag | None = None


@dataclasses.dataclass(frozen=True)
class Processed:
    """A person's samples.

    Attributes:
      read: the sensors, in the order of the channels.
      first: number on the grid of the first sample, which is at first / rate_hz seconds since 1970.
      counts: int16 [C, S], zeros where a sensor has no sample.
      judged: which windows are kept, and what became of the rest.
      beyond: samples that did not fit into int16.
      stamp: of the person's files before they were read.
    """

    read: list[Read]
    first: int
    counts: np.ndarray
    judged: quality.Judged
    beyond: int
    stamp: str


def process(person: Person, settings: IngestSettings) -> Processed:
    """The person's samples, calibrated, turned, by one clock and on one grid.

    Every file is read twice: once to find gain, orientation and clock, once to bring the samples onto the grid. The
    counts and flags of a week of two sensors at 50 Hz take 0.42 GB, masks about half as much beside them.

    Raises:
      ValueError, OSError: naming the file that cannot be used.
    """
    stamp = person.stamp()
    read: list[Read] = []
    for sensor in person.sensors:
        read.append(_look(person, sensor, settings, read[0].report.utc_offset_us if read else None))
    read = _in_step(read, settings)
    first, counts, flags, beyond = _on_the_grid(person, read, settings)
    cut = settings.cut
    rules = quality.Rules(
        rate_hz=cut.rate_hz,
        window=cut.window,
        daytime=settings.daytime,
        nonwear_min=cut.nonwear_min,
        max_joined=settings.max_joined,
        max_clipped=settings.max_clipped,
        max_nonwear=settings.max_nonwear,
    )
    for number in range(len(read)):
        quality.mark_worn(counts[3 * number : 3 * number + 3], flags[number], cut.scale_g, rules)
    if person.stamp() != stamp:
        raise ValueError(CHANGED.format(person.name))
    return Processed(read, first, counts, quality.judge(flags, first, rules), beyond, stamp)


def _look(person: Person, sensor: Sensor, settings: IngestSettings, utc_offset_us: int | None) -> Read:
    """The first pass over a file; in the zone of the person's first sensor, if both files state theirs."""
    path, state = person.path(sensor), person.state(sensor)
    file, report = raw_files.open_file(path, sensor.columns or settings.columns), Report()
    if utc_offset_us is not None:
        file = dataclasses.replace(file, read=partial(_in_zone, file.read, utc_offset_us))
    found = survey(file.read(report), file.rate_hz, file.range_g)
    report.check(path, file.rate_hz)
    for reasons, words in ELSEWHERE.items():
        left_out = sum(report.bad_blocks.get(reason, 0) for reason in reasons)
        if 2 * left_out > report.blocks:
            raise ValueError(f"{path}: {left_out:,} of {report.blocks:,} blocks {words}")
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
    return Read(sensor, file, person.described(sensor), state, file_crc32(path), report, found, calibration, flip)


def _in_zone(read: Callable[[Report], Iterator[Piece]], utc_offset_us: int, report: Report) -> Iterator[Piece]:
    """The pieces of a file that states its zone, by a clock that is so far ahead of UTC."""
    later = 0
    for piece in read(report):
        if report.utc_offset_us is not None:
            later = utc_offset_us - report.utc_offset_us
        yield piece._replace(time=piece.time + later)
    if report.last_us is not None:
        report.first_us, report.last_us = report.first_us + later, report.last_us + later


def _in_step(read: list[Read], settings: IngestSettings) -> list[Read]:
    """With the lags of the clocks of all sensors but the first behind the first one's."""
    if not settings.align:
        return read
    return read[:1] + [dataclasses.replace(one, lag=_lag(read[0], one)) for one in read[1:]]


def _lag(reference: Read, other: Read) -> Lag:
    """The lag of a sensor's clock; a line is no model of one that was set while it ran."""
    for one in (reference, other):
        if abs(one.report.largest_jump_s) > AGREE_S:
            return undecided(f"the clock of the {one.sensor.place} sensor jumps by {one.report.largest_jump_s:g} s")
    return clock_lag(reference.survey, other.survey)


def _on_the_grid(person: Person, read: list[Read], settings: IngestSettings) -> tuple[int, np.ndarray, np.ndarray, int]:
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
            if not 0 <= where.start <= where.stop <= flags.shape[1]:
                raise ValueError(CHANGED.format(person.path(one.sensor)))
            rows[:, where], over = quantise(chunk.signal, scale)
            flags[number, where] = chunk.flags | quality.MEASURED
            beyond += over
    there = flags.any(axis=0)
    if not there.any():
        raise ValueError(f"{person.name}: no sample at {rate} Hz comes of these files: they hold single samples only")
    used = slice(int(there.argmax()), len(there) - int(there[::-1].argmax()))
    return first + used.start, counts[:, used], flags[:, used], beyond


def _corrected(one: Read, scale_g: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(time, acceleration, clipped) of each piece: calibrated, turned, by the clock of the first sensor."""
    for piece in one.file.read(Report()):
        acceleration = turned(apply(piece.acceleration, piece.temperature, one.calibration), one.flip.matrix)
        time = piece.time if one.lag is None else correct(piece.time, one.lag)
        # What does not fit into int16 is clipped too.
        yield time, acceleration, clipped(piece.acceleration, one.file.range_g) | clipped(acceleration, 32768 * scale_g)


def _moved_s(one: Read) -> float:
    """By how much at most the clock of a sensor is moved, in seconds."""
    if one.lag is None:
        return 0.0
    ends = np.asarray([one.report.first_us, one.report.last_us], np.int64)
    return float(np.abs(correct(ends, one.lag) - ends).max()) / 1e6


def _date(time_us: float) -> str:
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=time_us)).date().isoformat()
