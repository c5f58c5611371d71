"""What the manifest and a sidecar say of a person's recording."""

import numpy as np

from data_pipelines.ingest import quality
from data_pipelines.ingest.people import Person
from data_pipelines.ingest.processing import Processed, Read
from data_pipelines.shards import Cut


def entry(person: Person, processed: Processed, stored: dict, cut: Cut) -> dict:
    """The manifest's entry of the recording; `stored` is what `shards.store` gave."""
    rate, judged = cut.rate_hz, processed.judged
    starts = [processed.first + at for s in judged.stretches for at in range(s.start, s.stop, cut.window)]
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
        "clipped": processed.beyond,
        "labelled": None,
        "labelled_crc32": None,
        "labels": {},
        "start_us": round(processed.first * 1e6 / rate),
        "recorded_s": processed.counts.shape[1] / rate,
        "wear_s": judged.wear_s,
        "dropped": judged.dropped_s,
        "days": [str(day) for day in np.unique(seconds // quality.DAY_S).astype("datetime64[D]")],
        "window_hours": np.bincount(seconds % quality.DAY_S // 3600, minlength=24).tolist(),
        "source": [_source(one) for one in processed.read],
    }


def _source(one: Read) -> dict:
    """Where a sensor's samples come from and what was decided about it."""
    return {
        "file": one.sensor.file,
        "place": one.sensor.place,
        "device": one.file.device,
        "rate_hz": one.file.rate_hz,
        "bytes": one.state[0],
        "crc32": one.crc32,
        "bad_blocks": dict(one.report.bad_blocks),
        "calibration": one.calibration.status,
        "orientation": one.flip.status,
        "clock": None if one.lag is None else one.lag.status,
    }


def failed(person: Person, reason: str) -> dict:
    """What the manifest and a note say of a person whose files cannot be used."""
    files = [{"file": sensor.file, "place": sensor.place} for sensor in person.sensors]
    return {"name": person.name, "subject": person.subject, "files": files, "reason": reason}


def sensors(processed: Processed) -> dict:
    """The sidecar's words for each sensor, by its place."""
    return {one.sensor.place: _sensor(one) for one in processed.read}


def _sensor(one: Read) -> dict:
    return {
        "file": one.sensor.file,
        "described": one.described,
        "state": one.state,
        "device": one.file.device,
        "rate_hz": one.file.rate_hz,
        "range_g": one.file.range_g,
        "header": dict(one.file.facts),
        "report": one.report.to_json(),
        "calibration": one.calibration.to_json(),
        "orientation": one.flip.to_json(),
        "clock": None if one.lag is None else one.lag.to_json(),
    }
