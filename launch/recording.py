"""A recording as an encoder is to see it: of a raw layout, cut and resampled as in preparing, or of a shard."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines import resample
from data_pipelines.manifest import MANIFEST, read_manifest
from data_pipelines.readers import har_csv, hunt4, raw_files, ukbiobank
from data_pipelines.shard_reading import read_shard
from data_pipelines.shards import ENDING, SHARDS
from data_pipelines.windows import quantise, segments

READERS = {"harth": partial(har_csv.read, need_label=False), "hunt4": hunt4.read, "ukbiobank": ukbiobank.read}

RAW = raw_files.AXIVITY + raw_files.GENEACTIV


class Counts(NamedTuple):
    """A recording: counts int16 [C, S], its stretches without a long gap, time int64 [S] in microseconds, samples
    clipped, and the seconds that a shard lacks as they are in no window."""

    counts: np.ndarray
    stretches: list[slice]
    time: np.ndarray
    clipped: int
    dropped_s: float = 0.0


def recording_counts(path: Path, layout: str | None, sensors: tuple[str, ...], rate_hz: int, prepared: dict) -> Counts:
    """The recording in a file, with the sensors, the rate and the settings of what the encoder was trained on.

    Args:
      path: a file or folder in a raw layout, or a shard that `selfpab ingest` wrote.
      layout: of READERS; None to go by the name of the file.
      prepared: max_gap_s and scale_g.

    Raises:
      ValueError, FileNotFoundError: it cannot be used.
    """
    _check_kind(path)
    if path.name.endswith(ENDING):
        return _of_shard(path, sensors, rate_hz, prepared["scale_g"])
    of_csv = "ukbiobank" if "wrist" in sensors else "harth"
    layout = layout or (of_csv if path.name.endswith((".csv", ".csv.gz")) else "hunt4")
    recording = resample.select_sensors(READERS[layout](path), sensors)
    recording = resample.resample(recording, rate_hz, prepared["max_gap_s"])
    counts, clipped = quantise(recording.acceleration, prepared["scale_g"])
    return Counts(counts, segments(recording.time, prepared["max_gap_s"]), recording.time, clipped)


def _check_kind(path: Path) -> None:
    """Raises ValueError for what has to become a shard first, or holds many recordings."""
    then = "run `selfpab ingest`, then name OUT/shards/NAME.array_record of it"
    if path.name.lower().endswith(RAW):
        raise ValueError(f"{path} is a raw sensor file: {then}")
    if (path / MANIFEST).is_file():
        if read_manifest(path)["layout"] == "raw":
            raise ValueError(f"{path} is an ingested folder: name one of its recordings, {path}/{SHARDS}/NAME{ENDING}")
        raise ValueError(
            f"{path} is a folder of selfpab prepare, which keeps no times: name the recording that it was made of"
        )
    if any(found.name.lower().endswith(RAW) for found in path.glob("*")):
        raise ValueError(f"{path} is a folder of raw sensor files: {then}")


def _of_shard(path: Path, sensors: tuple[str, ...], rate_hz: int, scale_g: float) -> Counts:
    shard = read_shard(path)
    for what, found, expected in (
        ("sensors", ",".join(shard.settings["sensors"]), ",".join(sensors)),
        ("samples a second", shard.settings["rate_hz"], rate_hz),
        ("g per count", shard.settings["scale_g"], scale_g),
    ):
        if found != expected:
            raise ValueError(
                f"{path}: {what}: found {found}, expected {expected} as the encoder was trained on: ingest the raw "
                "files again with the settings of its data"
            )
    if not shard.stretches:
        raise ValueError(f"{path}: there is no window in it, so no token of which there could be features")
    return Counts(shard.counts, shard.stretches, shard.time, shard.clipped, shard.dropped_s)
