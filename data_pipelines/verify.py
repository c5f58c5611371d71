"""Whether a prepared folder is what its manifest says: every file read again, every shard's records counted."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader
from tqdm import tqdm

from data_pipelines.manifest import MOVEMENT, NORMALIZATION, file_crc32, read_manifest
from data_pipelines.shards import LABELLED, SHARDS, read_sidecar

LISTED = 20  # files named in one error

Check = Callable[[Path], str]  # what is wrong with the file there, or an empty string


class DamagedFiles(ValueError):
    """Files are missing or not as they were written."""


def verify(folder: str | Path, workers: int | None = None, progress: bool = False) -> tuple[int, int]:
    """How many files the manifest names, and their bytes, after reading all of them.

    Args:
      workers: threads, which suffice as checksums are computed outside the interpreter's lock; None is one per core.
      progress: a bar on stderr.

    Raises:
      DamagedFiles: naming those that are missing, differ from their checksum or hold another number of records, and
        sidecars that cannot be read or say something else than the manifest.
      FileNotFoundError, ValueError: as `read_manifest`; workers below 1.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    folder = Path(folder)
    expected = _checks(read_manifest(folder))
    size, damaged = 0, {}
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(expected), desc="verify", unit="file", disable=not progress) as bar,
    ):
        try:
            jobs = {pool.submit(_examine, folder / name, check): name for name, check in expected.items()}
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
            "command that wrote this folder again, it makes only these anew (all of them, into another folder, if that "
            "refuses since an earlier release wrote this one)"
        )
    return len(expected), size


def unnamed(folder: str | Path) -> list[str]:
    """Files beside the shards and labelled files that the manifest does not name, sorted; sidecars count as named.

    Raises:
      FileNotFoundError, ValueError: as `read_manifest`.
    """
    folder = Path(folder)
    named = set(_checks(read_manifest(folder)))
    found = (path for part in (SHARDS, LABELLED) for path in (folder / part).glob("*"))
    return sorted({path.relative_to(folder).as_posix() for path in found} - named)


def _checks(manifest: Mapping) -> dict[str, Check]:
    """What every file of the folder has to pass, by its name."""
    settings = manifest["settings"]
    checks: dict[str, Check] = {
        NORMALIZATION: partial(_content, manifest["normalization_crc32"]),
        MOVEMENT: partial(_content, manifest["movement_crc32"]),
    }
    for entry in manifest["recordings"]:
        blocks = sum(count * -(-samples // settings["block_samples"]) for samples, count in entry["stretches"])
        checks[entry["shard"]] = partial(_shard, entry["crc32"], blocks)
        checks[f"{SHARDS}/{entry['name']}.json"] = partial(_sidecar, entry, settings)
        if entry["labelled"]:
            checks[entry["labelled"]] = partial(_content, entry["labelled_crc32"])
    return checks


def _examine(path: Path, check: Check) -> tuple[int, str]:
    """Bytes of the file, and what is wrong with it, or an empty string."""
    try:
        return path.stat().st_size, check(path)
    except FileNotFoundError:
        return 0, "missing"
    except OSError as error:
        return 0, f"cannot be read, {error.strerror}"


def _content(crc: int, path: Path) -> str:
    return "" if file_crc32(path) == crc else "its checksum differs"


def _shard(crc: int, records: int, path: Path) -> str:
    if wrong := _content(crc, path):
        return wrong
    try:
        reader = ArrayRecordReader(str(path))
        found = reader.num_records()
        reader.close()
    except RuntimeError:  # what array_record raises
        return "it is no file of records"
    return "" if found == records else f"it holds {found} records, expected {records}"


def _sidecar(entry: Mapping, settings: Mapping, path: Path) -> str:
    if (found := read_sidecar(path)) is None:
        return "it is cut short or changed"
    if (found.get("entry"), found.get("settings")) == (entry, settings):
        return ""
    # What can be read, and names a sound shard, would be kept when the folder is written again.
    return "it says something else than the manifest: delete it"
