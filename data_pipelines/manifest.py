"""The prepared folder seen from outside: its manifest, checksums and normalisation statistics.

manifest.json                what was prepared, from what and how; a checksum per file; one hash of all
shards/<name>.array_record   the recording's stretches, up to 5 minutes per record (see `stretches`)
    shards/<name>.json           the same recording's part of the manifest, for resuming
labelled/<name>.npz          a whole labelled recording: counts, scale_g, label, time, segment_start
normalization.npz            linear_mean, linear_std, log_mean, log_std float32 [F], frames; only frames = 0 at
                             rates other than 50 Hz
movement.npz                 movement float32 [windows], g, in the order of the window numbers
"""

import contextlib
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_pipelines.locks import in_use

VERSION = 2
MANIFEST, NORMALIZATION, MOVEMENT = "manifest.json", "normalization.npz", "movement.npz"
PARTIAL = ".partial"  # end of the names of files that are being written
REQUIRED = (
    "layout",
    "settings",
    "channels",
    "sample_rate_hz",
    "activities",
    "recordings",
    "hours",
    "subjects",
    "windows",
    "normalization_crc32",
    "movement_crc32",
    "hash",
)


def manifest_hash(manifest: Mapping) -> str:
    """sha256 over the canonical JSON of everything but the hash itself; data and settings decide it."""
    content = {key: value for key, value in manifest.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_manifest(folder: str | Path) -> dict:
    """The manifest of a prepared folder.

    Raises:
      FileNotFoundError: no manifest: not a prepared folder, or one that is being written or whose preparation was
        stopped.
      ValueError: unreadable, of another version, incomplete, or changed since it was written.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        done = len(list(path.parent.glob("shards/*.json")))
        if in_use(path.parent):
            raise FileNotFoundError(
                f"{folder} has no {MANIFEST} yet: it is being written by another process, with {done} recordings done: "
                "wait for it"
            )
        if done:
            raise FileNotFoundError(
                f"{folder} has no {MANIFEST}: its preparation was stopped with {done} recordings done: run the same "
                "`selfpab prepare` or `selfpab ingest` command again, it goes on from there"
            )
        raise FileNotFoundError(
            f"{folder} has no {MANIFEST}, so it is no (finished) prepared folder: name one, or write it with `selfpab "
            "prepare` or, from raw files, `selfpab ingest`"
        )
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}): run {written_by({})} again") from error
    if not isinstance(manifest, dict):
        raise ValueError(f"{path}: holds a {type(manifest).__name__}, expected an object: run {written_by({})} again")
    command = written_by(manifest)
    if (found := manifest.get("version")) != VERSION:
        raise ValueError(f"{path}: version is {found}, expected {VERSION}: run {command} into another folder")
    for key in REQUIRED:
        if key not in manifest:
            raise ValueError(f"{path}: field {key} is missing: run {command} again")
    if manifest["hash"] != manifest_hash(manifest):
        raise ValueError(f"{path}: its hash does not match its content, it was changed: run {command} again")
    return manifest


def written_by(manifest: Mapping) -> str:
    """The command that wrote a folder with this manifest, in words; both where the manifest does not say."""
    if "layout" not in manifest:
        return "the command that wrote it (selfpab prepare or selfpab ingest)"
    return "`selfpab ingest`" if manifest["layout"] == "raw" else "`selfpab prepare`"


def read_normalization(folder: str | Path) -> dict[str, np.ndarray]:
    """linear_mean, linear_std, log_mean, log_std float32 [F] and frames (int64 scalar), checksum verified.

    F is 26 times the number of channels. At rates other than 50 Hz there is only frames, which is 0.

    Raises:
      FileNotFoundError, ValueError: as `read_manifest`, and where the file is missing or damaged.
    """
    manifest = read_manifest(folder)
    return read_npz(Path(folder) / NORMALIZATION, manifest["normalization_crc32"], written_by(manifest))


def read_movement(folder: str | Path) -> np.ndarray:
    """Movement of every window, float32 [windows], g, by its global number (see `movement`); checksum verified.

    Raises:
      FileNotFoundError, ValueError: as `read_normalization`.
    """
    manifest = read_manifest(folder)
    return read_npz(Path(folder) / MOVEMENT, manifest["movement_crc32"], written_by(manifest))["movement"]


def read_npz(path: Path, crc32: int, command: str = "`selfpab prepare`") -> dict[str, np.ndarray]:
    """All arrays of an npz file whose bytes have this CRC-32; never unpickles.

    Args:
      command: what wrote the file, for the errors.

    Raises:
      FileNotFoundError: no such file; ValueError: other bytes.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: run {command} again") from None
    if zlib.crc32(content) != crc32:
        raise ValueError(f"{path}: damaged (checksum differs from the manifest): run {command} again")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def file_crc32(path: Path) -> int:
    """CRC-32 of a file's bytes, read in pieces of 1 MiB."""
    crc = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, no other process' on any machine, that becomes `path` if nothing fails inside."""
    partial = path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}{PARTIAL}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> int:
    """Writes `content` under a temporary name, renames it to `path`, and returns its CRC-32."""
    with draft(path) as partial:
        partial.write_bytes(content)
    return zlib.crc32(content)


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an uncompressed npz file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def json_bytes(content: Mapping) -> bytes:
    """Readable JSON with a newline at the end."""
    return json.dumps(content, indent=1).encode() + b"\n"


def json_lines(content: Mapping) -> bytes:
    """JSON with a line for each field and for each object of a list: 30 times quicker to write than an indented one."""

    def text(value: object) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        return json.dumps(value)

    return (
        "{\n " + ",\n ".join(f"{json.dumps(key)}: {text(value)}" for key, value in content.items()) + "\n}\n"
    ).encode()
