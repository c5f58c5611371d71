"""One recording in, one shard out: the unit of work of preparing, free of state and safe to repeat anywhere.

Runs in worker processes, so nothing here imports jax.
"""

import base64
import dataclasses
import json
import math
import zlib
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from data_pipelines import moments, movement, sources
from data_pipelines.contract import PLACES, Recording
from data_pipelines.manifest import draft, file_crc32, json_lines, npz_bytes, write_atomically
from data_pipelines.resample import resample, select_sensors
from data_pipelines.stretches import blocks, run_lengths
from data_pipelines.wear import worn
from data_pipelines.windows import count_joined, cut, encode_block, quantise, segments

# group_size:1 for random access (the default packs thousands of records into one block).
WRITER_OPTIONS = "group_size:1,zstd:3"
ENDING = ".array_record"
SIDECAR_VERSION = 4
SHARDS, LABELLED = "shards", "labelled"
SAMPLES = "_samples"  # end of the names of settings that follow from others
BLOCK_S = 300  # a record: long enough for zstd, short enough to read a window without much beside it
FASTEST_HZ = 200


@dataclasses.dataclass(frozen=True)
class Cut:
    """How recordings become windows.

    Attributes:
      max_gap_s: gaps up to this many seconds are joined, longer ones split.
      stride_s: seconds from one window's start to the next one's; below `window_s` windows overlap.
      scale_g: g per count; 1/4096 spans +-8 g.
      sensors: the places whose channels are kept, in the order of `PLACES`.
      rate_hz: samples a second; recordings of another rate are resampled.
      window_s: seconds of a window.
      nonwear_min: at least this many minutes without movement are not worn and in no window; 0 keeps everything.
    """

    max_gap_s: float = 5.0
    stride_s: float = 300.0
    scale_g: float = 1 / 4096
    sensors: tuple[str, ...] = ("back", "thigh")
    rate_hz: int = 50
    window_s: float = 300.0
    nonwear_min: float = 90.0

    def __post_init__(self):
        if not self.max_gap_s >= 0.1:
            raise ValueError(
                f"max_gap_s is {self.max_gap_s}, expected at least 0.1 s: less would split at clock jitter"
            )
        if not self.sensors or list(self.sensors) != [place for place in PLACES if place in self.sensors]:
            raise ValueError(
                f"sensors are {', '.join(self.sensors) or 'none'}, expected some of {', '.join(PLACES)}, each once and "
                "in this order"
            )
        if not (isinstance(self.rate_hz, int) and 1 <= self.rate_hz <= FASTEST_HZ):
            raise ValueError(f"rate_hz is {self.rate_hz}, expected a whole number of Hz from 1 to {FASTEST_HZ}")
        if not 1 <= self.window_s < math.inf:
            raise ValueError(f"window_s is {self.window_s}, expected a number of seconds, at least 1")
        if not math.isclose(self.window_s * self.rate_hz, self.window, rel_tol=0, abs_tol=1e-6):
            raise ValueError(
                f"window_s is {self.window_s}, which at {self.rate_hz} Hz is no whole number of samples: choose a "
                f"multiple of 1/{self.rate_hz} s"
            )
        if not 1 <= self.stride_s * self.rate_hz < math.inf:
            raise ValueError(
                f"stride_s is {self.stride_s}, expected a positive number of seconds, at least {1 / self.rate_hz:.3g}"
            )
        if not 0 <= self.nonwear_min < math.inf:
            raise ValueError(f"nonwear_min is {self.nonwear_min}, expected minutes, or 0 to keep everything")
        if not 0 < self.scale_g < 1:
            raise ValueError(f"scale_g is {self.scale_g}, expected g per count between 0 and 1, such as 1/4096")

    def recorded(self) -> dict:
        """The settings as the manifest holds them, with those that follow from others."""
        plain = dataclasses.asdict(self) | {"sensors": list(self.sensors)}
        in_samples = {"window": self.window, "stride": self.stride, "block": self.block}
        return plain | {f"{name}{SAMPLES}": value for name, value in in_samples.items()}

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.window_s * self.rate_hz)

    @property
    def stride(self) -> int:
        """Samples from one window's start to the next one's."""
        return round(self.stride_s * self.rate_hz)

    @property
    def block(self) -> int:
        """Samples of a record: a window's, at most 5 minutes."""
        return min(self.window, BLOCK_S * self.rate_hz)


def prepare_one(source: sources.Source, how: Cut, settings: dict, out: Path) -> tuple[dict, bool]:
    """The sidecar of a recording, and whether its shard had to be written.

    A shard is kept if its sidecar names the same source and settings and all checksums hold. The sidecar is
    written last, so that a stopped run leaves a recording either done or not begun.

    Raises:
      ValueError, OSError: naming the file, where the recording cannot be used or the shard not be written.
    """
    stamp = sources.stamp(source)
    done = finished(source.name, settings, stamp, out)
    if done is not None:
        return done, False
    recording = select_sensors(sources.read(source), how.sensors)
    joined = count_joined(recording.time, how.max_gap_s, recording.rate_hz)  # resampling fills these gaps
    recording = resample(recording, how.rate_hz, how.max_gap_s)
    return write_sidecar(out, source.name, settings, stamp, _write(recording, joined, source, how, out)), True


def sidecar_path(out: Path, name: str) -> Path:
    """Where the sidecar of a recording lies."""
    return out / SHARDS / f"{name}.json"


def read_sidecar(path: Path) -> dict | None:
    """The sidecar's content, or None where there is none that can be read or its checksum differs."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(found, dict) or not found:
        return None
    if "crc32" not in found:
        return found if found.get("version") != SIDECAR_VERSION else None
    crc = found.pop("crc32")
    return found if crc == zlib.crc32(json_lines(found)) else None


def write_sidecar(out: Path, name: str, settings: dict, stamp: str, content: dict) -> dict:
    """Writes what was found in a recording beside its shard, with what the recording was made of; returns all of it."""
    sidecar = {"version": SIDECAR_VERSION, "settings": settings, "stamp": stamp, **content}
    write_atomically(sidecar_path(out, name), json_lines(sidecar | {"crc32": zlib.crc32(json_lines(sidecar))}))
    return sidecar


def finished(name: str, settings: dict, stamp: str | None, out: Path, *, intact: bool = True) -> dict | None:
    """The sidecar of a recording that is done: of the same settings and source, with files that match their checksums.

    None where it has to be done (again).

    Args:
      stamp: of the source; None for any.
      intact: compare the checksums.
    """
    sidecar = read_sidecar(sidecar_path(out, name))
    if sidecar is None or (sidecar.get("version"), sidecar.get("settings")) != (SIDECAR_VERSION, settings):
        return None
    if stamp not in (None, sidecar["stamp"]):
        return None
    if not intact:
        return sidecar
    entry = sidecar["entry"]
    files = {entry["shard"]: entry["crc32"]} | (
        {entry["labelled"]: entry["labelled_crc32"]} if entry["labelled"] else {}
    )
    try:
        same = all(file_crc32(out / name) == crc for name, crc in files.items())
    except FileNotFoundError:
        return None
    return sidecar if same else None


def _write(recording: Recording, joined: int, source: sources.Source, how: Cut, out: Path) -> dict:
    """Writes shard and labelled file; the manifest's entry, the statistics of all frames in windows, the movement."""
    name, rate = source.name, how.rate_hz
    counts, clipped = quantise(recording.acceleration, how.scale_g)
    connected = segments(recording.time, how.max_gap_s)
    kept = worn(connected, recording.acceleration, rate, how.nonwear_min)
    stretches = [s for s in kept if s.stop - s.start >= how.window]
    stored = store(name, counts, stretches, how, out)
    entry = {
        "name": name,
        "subject": recording.subject,
        **stored["entry"],
        "samples": len(recording.time),
        "hours": round(len(recording.time) / rate / 3600, 6),
        "joined_gaps": joined,
        "splits": len(connected) - 1,
        "longest_s": max((s.stop - s.start for s in kept), default=0) / rate,
        "nonwear_s": (len(recording.time) - sum(s.stop - s.start for s in kept)) / rate,
        "dropped_s": (len(recording.time) - stored["covered"]) / rate,
        "clipped": clipped,
        "labelled": None,
        "labelled_crc32": None,
        "labels": {},
        "source": sources.provenance(source),
    }
    if recording.label is not None:
        entry["labelled"] = f"{LABELLED}/{name}.npz"
        content = npz_bytes(
            {
                "counts": counts,
                "scale_g": np.asarray(how.scale_g),
                "label": recording.label.astype(np.int16),
                "time": recording.time.astype(np.int64),
                "segment_start": np.asarray([s.start for s in connected], np.int64),
            }
        )
        entry["labelled_crc32"] = write_atomically(out / entry["labelled"], content)
        codes = np.unique(recording.label)
        entry["labels"] = {str(code): recording.activities[int(code)] for code in codes if code >= 0}
    return {"entry": entry, "moments": stored["moments"], "movement": stored["movement"]}


def store(name: str, counts: np.ndarray, stretches: list[slice], how: Cut, out: Path) -> dict:
    """Writes the shard of a recording; what the sidecar says of its windows.

    Args:
      counts: int16 [C, S] at how.rate_hz and how.scale_g.
      stretches: ranges of samples, each long enough for a window.

    Returns:
      entry (of the manifest: shard, windows, stretches, bytes, crc32), covered (samples in windows), moments of all
      frames in windows and movement of each window (float32 as base64: a week of short windows has 60,000).
    """
    by_stretch = [s.start + cut(s.stop - s.start, how.window, how.stride) for s in stretches]
    # Stretch by stretch: where one ends and the next begins is no frame.
    runs = [run for some in by_stretch for run in moments.covered(some, how.window)]
    moved = [
        movement.of_windows(counts[:, s], how.scale_g, how.rate_hz, starts - s.start, how.window)
        for s, starts in zip(stretches, by_stretch, strict=True)
    ]
    shard = f"{SHARDS}/{name}{ENDING}"
    entry = {
        "shard": shard,
        "windows": sum(map(len, by_stretch)),
        "stretches": run_lengths(s.stop - s.start for s in stretches),
        "bytes": _write_shard(out / shard, counts, how.scale_g, [b for s in stretches for b in blocks(s, how.block)]),
        "crc32": file_crc32(out / shard),
    }
    counted = runs if how.rate_hz == moments.RATE_HZ else []
    return {
        "entry": entry,
        "covered": sum(run.stop - run.start for run in runs),
        "moments": moments.merge(moments.of_stretch(counts[:, run], how.scale_g) for run in counted).to_json(),
        "movement": base64.b64encode(np.concatenate([np.empty(0, "<f4"), *moved]).astype("<f4").tobytes()).decode(),
    }


def _write_shard(path: Path, counts: np.ndarray, scale_g: float, parts: list[slice]) -> int:
    """Writes one record per block, counts them by reading back, and returns the file's size in bytes."""
    try:
        with draft(path) as partial:
            writer = ArrayRecordWriter(str(partial), WRITER_OPTIONS)
            for part in parts:
                writer.write(encode_block(counts[:, part], scale_g, part.start))
            writer.close()
            reader = ArrayRecordReader(str(partial))
            found = reader.num_records()
            reader.close()
            if found != len(parts):
                raise OSError(f"{path}: {found} of {len(parts)} blocks arrived on the disk, which may be full")
    except RuntimeError as error:  # what array_record raises
        raise OSError(f"{path}: cannot be written ({error})") from error
    return path.stat().st_size
