"""One recording in, one shard out: the unit of work of preparing, free of state and safe to repeat anywhere.

Runs in worker processes, so nothing here imports jax.
"""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from data_pipelines import moments, sources
from data_pipelines.contract import Recording
from data_pipelines.manifest import PARTIAL, VERSION, file_crc32, json_bytes, npz_bytes, write_atomically
from data_pipelines.windows import count_joined, cut, encode_window, quantise, segments
from selfpab_jax.signals.stft import SAMPLE_RATE_HZ, WINDOW_SAMPLES

# group_size:1 for random access (the default packs thousands of records into one block).
WRITER_OPTIONS = "group_size:1,zstd:3"
SHARDS, LABELLED = "shards", "labelled"


@dataclasses.dataclass(frozen=True)
class Cut:
    """How recordings become windows.

    Attributes:
      max_gap_s: gaps up to this many seconds are joined, longer ones split.
      stride_s: seconds from one window's start to the next one's; below 300 windows overlap.
      scale_g: g per count; 1/4096 spans +-8 g.
    """

    max_gap_s: float = 5.0
    stride_s: float = 300.0
    scale_g: float = 1 / 4096

    def __post_init__(self):
        if not self.max_gap_s >= 0.1:
            raise ValueError(
                f"max_gap_s is {self.max_gap_s}, expected at least 0.1 s: less would split at clock jitter"
            )
        if not 1 <= self.stride_s * SAMPLE_RATE_HZ < math.inf:
            raise ValueError(f"stride_s is {self.stride_s}, expected a positive number of seconds, at least 0.02")
        if not 0 < self.scale_g < 1:
            raise ValueError(f"scale_g is {self.scale_g}, expected g per count between 0 and 1, such as 1/4096")

    @property
    def stride(self) -> int:
        """Samples from one window's start to the next one's."""
        return round(self.stride_s * SAMPLE_RATE_HZ)


def prepare_one(source: sources.Source, how: Cut, settings: dict, out: Path) -> tuple[dict, bool]:
    """The sidecar of a recording, and whether its shard had to be written.

    A shard is kept if its sidecar names the same source and settings and all checksums hold. The sidecar is
    written last, so that a stopped run leaves a recording either done or not begun.

    Raises:
      ValueError, OSError: naming the file, where the recording cannot be used or the shard not be written.
    """
    stamp = sources.stamp(source)
    done = _finished(source, settings, stamp, out)
    if done is not None:
        return done, False
    recording = sources.read(source)
    entry, statistics = _write(recording, source, how, out)
    sidecar = {
        "version": VERSION,
        "settings": settings,
        "stamp": stamp,
        "entry": entry,
        "moments": statistics.to_json(),
    }
    write_atomically(sidecar_path(out, source.name), json_bytes(sidecar))
    return sidecar, True


def sidecar_path(out: Path, name: str) -> Path:
    """Where the sidecar of a recording lies."""
    return out / SHARDS / f"{name}.json"


def read_sidecar(path: Path) -> dict | None:
    """The sidecar's content, or None where there is none that can be read."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _finished(source: sources.Source, settings: dict, stamp: str, out: Path) -> dict | None:
    sidecar = read_sidecar(sidecar_path(out, source.name))
    if sidecar is None or (sidecar["version"], sidecar["settings"], sidecar["stamp"]) != (
        VERSION,
        settings,
        stamp,
    ):
        return None
    entry = sidecar["entry"]
    files = {entry["shard"]: entry["crc32"]} | (
        {entry["labelled"]: entry["labelled_crc32"]} if entry["labelled"] else {}
    )
    try:
        intact = all(file_crc32(out / name) == crc for name, crc in files.items())
    except FileNotFoundError:
        return None
    return sidecar if intact else None


def _write(recording: Recording, source: sources.Source, how: Cut, out: Path) -> tuple[dict, moments.Moments]:
    """Writes shard and labelled file; the manifest's entry and the statistics over all frames in windows."""
    name = source.name
    counts, clipped = quantise(recording.acceleration, how.scale_g)
    stretches = segments(recording.time, how.max_gap_s)
    by_stretch = [s.start + cut(s.stop - s.start, how.stride) for s in stretches]
    starts = np.concatenate(by_stretch)
    # Stretch by stretch: where one ends and the next begins is no frame.
    runs = [run for some in by_stretch for run in moments.covered(some)]
    shard = f"{SHARDS}/{name}.array_record"
    entry = {
        "name": name,
        "subject": recording.subject,
        "shard": shard,
        "windows": len(starts),
        "samples": len(recording.time),
        "hours": round(len(recording.time) / SAMPLE_RATE_HZ / 3600, 6),
        "joined_gaps": count_joined(recording.time, how.max_gap_s),
        "splits": len(stretches) - 1,
        "longest_s": max(s.stop - s.start for s in stretches) / SAMPLE_RATE_HZ,
        "dropped_s": (len(recording.time) - sum(run.stop - run.start for run in runs)) / SAMPLE_RATE_HZ,
        "clipped": clipped,
        "bytes": _write_shard(out / shard, counts, how.scale_g, starts),
        "crc32": file_crc32(out / shard),
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
                "segment_start": np.asarray([s.start for s in stretches], np.int64),
            }
        )
        entry["labelled_crc32"] = write_atomically(out / entry["labelled"], content)
        codes = np.unique(recording.label)
        entry["labels"] = {str(code): recording.activities[int(code)] for code in codes if code >= 0}
    return entry, moments.merge(moments.of_stretch(counts[:, run], how.scale_g) for run in runs)


def _write_shard(path: Path, counts: np.ndarray, scale_g: float, starts: np.ndarray) -> int:
    """Writes one record per window, counts them by reading back, and returns the file's size in bytes."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        writer = ArrayRecordWriter(str(partial), WRITER_OPTIONS)
        for start in starts.tolist():
            writer.write(encode_window(counts[:, start : start + WINDOW_SAMPLES], scale_g, start))
        writer.close()
        reader = ArrayRecordReader(str(partial))
        found = reader.num_records()
        reader.close()
        if found != len(starts):
            raise OSError(f"{path}: {found} of {len(starts)} windows arrived on the disk, which may be full")
        os.replace(partial, path)
    except RuntimeError as error:  # what array_record raises
        raise OSError(f"{path}: cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size
