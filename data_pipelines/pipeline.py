"""Prepared shards -> batches: one grain chain to train, one to evaluate.

Position is step. Row r of the global batch of G at step t is visit t*G + r of one endless sequence (see `order`), and
each process asks for the rows its devices take. So what is read depends on neither processes nor threads, and
resuming needs only the step.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from data_pipelines.manifest import read_manifest, read_movement
from data_pipelines.order import SAMPLING, Visits
from data_pipelines.stretches import Place, Places
from data_pipelines.windows import join_blocks

# grain's defaults (16 threads, 500 elements) would hold 500 batches: 6 GB of windows.
READ_OPTIONS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
MAX_OPEN_SHARDS = 128  # below the usual limit of 1,024 open files

Batch = dict[str, np.ndarray]


def window_count(folder: str | Path) -> int:
    """Number of windows in a prepared folder; their global numbers are 0 to this minus 1."""
    return sum(r["windows"] for r in read_manifest(folder)["recordings"])


def train_batches(
    folder: str | Path,
    *,
    global_batch: int,
    seed: int,
    indices: np.ndarray,
    start_step: int = 0,
    rows: np.ndarray | None = None,
    random_start: bool = False,
    sampling: str = "uniform",
) -> "Batches":
    """An endless sequence of shuffled batches, or some rows of each, from step `start_step` on.

    Yields {"acceleration": int16 [B, C, S], "scale": float32 [B]}; C and S are those of the prepared folder.

    Args:
      indices: global window numbers to train on (see `splits`).
      rows: which B rows of each global batch to read, ascending; None for all.
      random_start: each visit begins anywhere between its window's first sample and the next window's, drawn
        uniformly; windows then differ from epoch to epoch.
      sampling: "uniform": each window once per epoch. "movement": on average in proportion to how much it moves (see
        `movement`), as many visits per epoch as there are windows.

    Raises:
      ValueError: empty or unknown indices, another sampling, or rows that the batch does not have; while
        iterating, a damaged shard, naming shard and record.
      FileNotFoundError: no prepared folder, or a missing shard.
    """
    rows = _chosen_rows(global_batch, rows)
    shards = _Shards(folder, indices)
    if start_step < 0:
        raise ValueError(f"start_step is {start_step}, expected 0 or more")
    if sampling not in SAMPLING:
        raise ValueError(f"sampling is '{sampling}', expected one of {', '.join(SAMPLING)}")
    visits = Visits(indices, seed, read_movement(folder)[indices] if sampling == "movement" else None)

    def read(step: int) -> Batch:
        places = step * global_batch + rows
        return shards.read(visits.numbers(places), visits.draws(places) if random_start else None)

    return Batches(_Steps(sys.maxsize, read), start_step)


def eval_batches(folder: str | Path, *, batch: int, indices: np.ndarray, rows: np.ndarray | None = None) -> "Batches":
    """The windows `indices`, each once, in order, `batch` at a time, or some rows of each batch.

    Yields train batches with "valid" bool [B] besides. The last batch is padded with zeros (valid False), so
    every process sees the same number of equal shapes.

    Raises:
      ValueError, FileNotFoundError: as `train_batches`.
    """
    rows = _chosen_rows(batch, rows)
    shards = _Shards(folder, indices)

    def read(step: int) -> Batch:
        places = step * batch + rows
        valid = places < len(indices)  # the last rows, if any, are not
        return shards.read(np.asarray(indices)[places[valid]], rows=len(rows)) | {"valid": valid}

    return Batches(_Steps(-(-len(indices) // batch), read))


def _chosen_rows(batch: int, rows: np.ndarray | None) -> np.ndarray:
    """`rows` of a batch, all of them for None."""
    rows = np.arange(batch) if rows is None else np.asarray(rows)
    if batch < 1 or not len(rows) or np.any(np.diff(rows) < 1) or rows[0] < 0 or rows[-1] >= batch:
        raise ValueError(f"rows {rows.tolist()} of a batch of {batch}, expected some of 0 to {batch - 1}, ascending")
    return rows


class Batches(Iterator[Batch]):
    """A closable iterator over batches, read ahead by threads of this process; also a context manager."""

    def __init__(self, steps: "_Steps", start_step: int = 0):
        self._iterator = iter(grain.MapDataset.source(steps).to_iter_dataset(READ_OPTIONS))
        self._iterator.set_state({"next_index": start_step})  # before the first read
        self._closed = False

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        return next(self._iterator)

    def close(self) -> None:
        """Stop reading ahead; the threads end with the batch they are at. Closing twice is allowed."""
        self._closed = True
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _Steps:
    """What grain needs of a source: a length and the batch of a step."""

    def __init__(self, length: int, read):
        self._length, self._read = length, read

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, step: int) -> Batch:
        return self._read(step)

    def __repr__(self) -> str:  # grain compares it on restoring: no paths, no addresses
        return f"Steps({self._length})"


class _Shards:
    """Windows by global number, from the shards of a prepared folder; several threads may read."""

    def __init__(self, folder: str | Path, indices: np.ndarray):
        self._folder = Path(folder)
        self._places = Places(read_manifest(self._folder))
        self._open: OrderedDict[int, ArrayRecordReader] = OrderedDict()
        self._lock = threading.Lock()
        self._check(indices)

    def _check(self, indices: np.ndarray) -> None:
        total = self._places.windows
        if len(indices) == 0:
            raise ValueError(f"no window to read from {self._folder}: the indices are empty ({total} windows prepared)")
        if np.min(indices) < 0 or np.max(indices) >= total:
            raise ValueError(
                f"window numbers {np.min(indices)} to {np.max(indices)} asked of {self._folder}, which holds "
                f"0 to {total - 1}: make the split from the same prepared folder"
            )
        for recording in self._places.recordings:
            if not (self._folder / recording["shard"]).is_file():
                path = self._folder / recording["shard"]
                raise FileNotFoundError(f"{path} is missing: run the command that wrote it again")

    def read(self, numbers: Sequence[int], draws: Sequence[int] | None = None, rows: int | None = None) -> Batch:
        """The windows `numbers` as a batch, moved by `draws`; `rows` pads it with zero windows of scale 1."""
        rows = len(numbers) if rows is None else rows
        draws = np.zeros(len(numbers), np.uint64) if draws is None else draws
        counts = np.empty((rows, *self._places.shape), np.int16)
        counts[len(numbers) :] = 0
        scale = np.ones(rows, np.float32)
        for row, (number, draw) in enumerate(zip(numbers, draws, strict=True)):
            counts[row], scale[row] = self._window(self._places.find(int(number), int(draw)))
        return {"acceleration": counts, "scale": scale}

    def _window(self, place: Place) -> tuple[np.ndarray, float]:
        shape = self._places.shape
        try:
            records = self._reader(place.recording).read(list(place.records))
            counts, scale = join_blocks(records, place.offset, shape[1])
            if counts.shape != shape:
                raise ValueError(f"found a window of shape {counts.shape}, expected {shape}")
        except (ValueError, RuntimeError, IndexError) as error:
            first, last = place.records[0], place.records[-1]
            which = f"record {first}" if first == last else f"records {first} to {last}"
            raise ValueError(
                f"{self._folder / self._places.recordings[place.recording]['shard']}, {which}: cannot be read "
                f"({error}); delete the shard and run the command that wrote it again"
            ) from error
        return counts, scale

    def _reader(self, index: int) -> ArrayRecordReader:
        with self._lock:
            reader = self._open.pop(index, None)
            if reader is None:
                # Reading ahead or in parallel would decompress neighbours that a shuffled order does not
                # want.
                path = str(self._folder / self._places.recordings[index]["shard"])
                reader = ArrayRecordReader(
                    path, options="readahead_buffer_size:0,max_parallelism:0", file_reader_buffer_size=32768
                )
                found, expected = reader.num_records(), self._places.records[index]
                if found != expected:
                    raise ValueError(f"found {found} records, expected {expected} by the manifest")
            self._open[index] = reader
            if len(self._open) > MAX_OPEN_SHARDS:
                self._open.popitem(last=False)  # closed when the last thread that reads it lets go
        return reader
