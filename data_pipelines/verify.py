"""Whether a prepared folder is what its manifest says: every file read again, every shard's records counted."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader
from tqdm import tqdm

from data_pipelines.manifest import MOVEMENT, NORMALIZATION, file_crc32, read_manifest
from data_pipelines.shards import LABELLED, SHARDS

LISTED = 20  # files named in one error


class DamagedFiles(ValueError):
    """Files are missing or not as they were written."""


def verify(folder: str | Path, workers: int | None = None, progress: bool = False) -> tuple[int, int]:
    """How many files the manifest names, and their bytes, after reading all of them.

    Args:
      workers: threads, which suffice as checksums are computed outside the interpreter's lock; None is one per core.
      progress: a bar on stderr.

    Raises:
      DamagedFiles: naming those that are missing, differ from their checksum or hold another number of records.
      FileNotFoundError, ValueError: as `read_manifest`; workers below 1.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    folder, manifest = Path(folder), read_manifest(folder)
    expected, records = _checksums(manifest), _records(manifest)
    size, damaged = 0, {}
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(expected), desc="verify", unit="file", disable=not progress) as bar,
    ):
        try:
            jobs = {pool.submit(_check, folder / name, crc, records.get(name)): name for name, crc in expected.items()}
            for job in as_completed(jobs):
                read, wrong = job.result()
                size += read
                if wrong:
                    damaged[jobs[job]] = wrong
                bar.set_postfix_str(f"{size / 1e9:.2f} GB, {len(damaged)} damaged", refresh=False)
                bar.update()
        except BaseException:  # stopped: the files that wait are not read
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if damaged:
        words = [f"{name} ({damaged[name]})" for name in expected if name in damaged]
        more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
        raise DamagedFiles(
            f"{folder}: {len(words)} of {len(expected)} files are damaged: {', '.join(words[:LISTED])}{more}: run the "
            "command that wrote this folder again, it makes only these anew"
        )
    return len(expected), size


def unnamed(folder: str | Path) -> list[str]:
    """Files beside the shards and labelled files that the manifest does not name, sorted; sidecars count as named.

    Raises:
      FileNotFoundError, ValueError: as `read_manifest`.
    """
    folder, manifest = Path(folder), read_manifest(folder)
    named = set(_checksums(manifest)) | {f"{SHARDS}/{entry['name']}.json" for entry in manifest["recordings"]}
    found = (path for part in (SHARDS, LABELLED) for path in (folder / part).glob("*"))
    return sorted({path.relative_to(folder).as_posix() for path in found} - named)


def _checksums(manifest: Mapping) -> dict[str, int]:
    """CRC-32 of every file that the manifest names."""
    expected = {NORMALIZATION: manifest["normalization_crc32"], MOVEMENT: manifest["movement_crc32"]}
    for entry in manifest["recordings"]:
        expected[entry["shard"]] = entry["crc32"]
        if entry["labelled"]:
            expected[entry["labelled"]] = entry["labelled_crc32"]
    return expected


def _records(manifest: Mapping) -> dict[str, int]:
    """Number of records of every shard: the blocks of its stretches."""
    block = manifest["settings"]["block_samples"]
    return {
        entry["shard"]: sum(count * -(-samples // block) for samples, count in entry["stretches"])
        for entry in manifest["recordings"]
    }


def _check(path: Path, crc: int, records: int | None) -> tuple[int, str]:
    """Bytes of the file, and what is wrong with it, or an empty string."""
    try:
        size = path.stat().st_size
        if file_crc32(path) != crc:
            return size, "its checksum differs"
        if records is None:
            return size, ""
        reader = ArrayRecordReader(str(path))
        found = reader.num_records()
        reader.close()
    except FileNotFoundError:
        return 0, "missing"
    except OSError as error:
        return 0, f"cannot be read, {error.strerror}"
    except RuntimeError:  # what array_record raises
        return size, "it is no file of records"
    return size, "" if found == records else f"it holds {found} records, expected {records}"
