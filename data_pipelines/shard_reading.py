"""A whole shard read back, for those who want a recording and not its windows."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from data_pipelines.manifest import file_crc32
from data_pipelines.shards import read_sidecar
from data_pipelines.windows import decode_block


class Shard(NamedTuple):
    """What a shard holds.

    Attributes:
      counts: int16 [C, S], its stretches one after the other.
      stretches: their ranges of samples.
      time: int64 [S], microseconds since 1970.
      clipped: samples that did not fit into int16, in the whole recording.
      dropped_s: seconds from the recording's first sample to its last that are in no window.
      settings: those of the preparation.
    """

    counts: np.ndarray
    stretches: list[slice]
    time: np.ndarray
    clipped: int
    dropped_s: float
    settings: dict


def read_shard(path: Path) -> Shard:
    """The whole of a shard whose recording lies on a regular grid, as those of `ingest` do.

    Raises:
      FileNotFoundError: no such shard, or no sidecar beside it.
      ValueError: it is damaged, or its sidecar does not say when it began.
    """
    sidecar = read_sidecar(path.with_suffix(".json"))
    if not path.is_file() or sidecar is None:
        raise FileNotFoundError(f"{path} or the .json file beside it does not exist or cannot be read")
    entry, settings = sidecar["entry"], sidecar["settings"]
    if "start_us" not in entry:
        raise ValueError(f"{path}: it is not known when this recording began, expected a shard of selfpab ingest")
    if file_crc32(path) != entry["crc32"]:
        raise ValueError(f"{path}: damaged (checksum differs from the one beside it): run selfpab ingest again")
    reader = ArrayRecordReader(str(path))
    parts = [decode_block(record) for record in reader.read_all()]
    reader.close()
    nothing = np.zeros((3 * len(settings["sensors"]), 0), np.int16)
    lengths = [length for length, repeats in entry["stretches"] for _ in range(repeats)]
    ends = np.cumsum([0, *lengths])
    numbers = np.concatenate([np.arange(start, start + counts.shape[1]) for counts, _, start in parts] or [[]])
    return Shard(
        counts=np.concatenate([nothing, *(counts for counts, _, _ in parts)], axis=1),
        stretches=[slice(int(first), int(last)) for first, last in zip(ends[:-1], ends[1:], strict=True)],
        time=entry["start_us"] + np.rint(numbers * (1e6 / settings["rate_hz"])).astype(np.int64),
        clipped=entry["clipped"],
        dropped_s=sum(entry["dropped"].values()),
        settings=settings,
    )
