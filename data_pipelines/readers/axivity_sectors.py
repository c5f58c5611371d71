"""The bytes of an Axivity .cwa file, packed with gzip or not, in order: its header, then its blocks of samples."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_pipelines.raw import Report
from data_pipelines.readers.axivity_blocks import BLOCK, BLOCK_BYTES, MARK

HEADER_BYTES = 1024
HEADER_MARK = b"MD\xfc\x03"  # "MD" and the length of what follows, 1020
GZIP = b"\x1f\x8b"
PACKED_BYTES = 4096  # so much of a gzip file is lost at most before the place where it is damaged
EMPTY = b"\x00\xff"  # what flash memory holds before it is written


def header(path: Path) -> bytes:
    """The first 1024 bytes, fewer of a shorter file."""
    with _Bytes(path) as stream:
        return stream.read(HEADER_BYTES)


def is_packed(path: Path) -> bool:
    """Whether the file is packed with gzip, whatever its name."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def blocks(path: Path, at_once: int, report: Report) -> Iterator[tuple[np.ndarray, bool]]:
    """Marked blocks (BLOCK [N]) in about `at_once` times 512 bytes, and whether these were the last.

    A block is where its mark is, also where bytes were lost or inserted in front of it. What is no block goes to the
    report as "not a data block", "empty" (only zeros and ones; not counted at the end of the file) or "truncated".
    """
    skipped = _Skipped()
    with _Bytes(path) as stream:
        head = stream.read(HEADER_BYTES)
        rest = head[_first_byte(head) :]
        while data := stream.read(at_once * BLOCK_BYTES):
            found, rest = _marked(rest + data, skipped, report)
            yield found, False
        found, rest = _marked(rest, skipped, report)
        yield found, False
    if rest.startswith(MARK) or stream.cut:
        skipped.settle(report)
        report.bad("truncated")
        report.blocks += 1
    else:
        skipped.add(rest)
        skipped.settle(report, at_end=True)
    yield np.empty(0, BLOCK), True


def _first_byte(head: bytes) -> int:
    """Where the blocks begin: behind the header, or at the first mark if bytes of it were lost."""
    return head.index(MARK) if MARK in head else HEADER_BYTES


def _marked(data: bytes, skipped: "_Skipped", report: Report) -> tuple[np.ndarray, bytes]:
    """The whole blocks in `data`, and the bytes at its end that need more."""
    found, at = [], 0
    while len(data) - at >= BLOCK_BYTES:
        view = np.frombuffer(data, BLOCK, (len(data) - at) // BLOCK_BYTES, at)
        other = np.flatnonzero(view["mark"] != int.from_bytes(MARK, "little"))
        count = int(other[0]) if len(other) else len(view)
        if count:
            skipped.settle(report)
            report.blocks += count
            found.append(view[:count])
            at += count * BLOCK_BYTES
        if len(other):
            mark = data.find(MARK, at + 1)
            mark = len(data) - len(MARK) + 1 if mark < 0 else mark  # its first bytes may be the last ones here
            skipped.add(data[at:mark])
            at = mark
    return (found[0] if len(found) == 1 else np.concatenate([np.empty(0, BLOCK), *found])), data[at:]


class _Skipped:
    """Bytes between two blocks that belong to none."""

    def __init__(self):
        self._bytes = self._written = 0  # all, and those up to the last that is not empty

    def add(self, data: bytes) -> None:
        if written := len(data.rstrip(EMPTY)):
            self._written = self._bytes + written
        self._bytes += len(data)

    def settle(self, report: Report, at_end: bool = False) -> None:
        """Counts them in blocks."""
        if not self._bytes:
            return
        written, size = -(-self._written // BLOCK_BYTES), -(-self._bytes // BLOCK_BYTES)
        for reason, count in (("not a data block", written), ("empty", 0 if at_end else size - written)):
            if count:
                report.bad(reason, count)
                report.blocks += count
        self._bytes = self._written = 0


class _Bytes:
    """A file's bytes, unpacked if it is packed; `cut` once they have ended too early."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._parts = self._unpacked() if is_packed(path) else None
        self._rest = b""
        self.cut = False

    def __enter__(self) -> "_Bytes":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer at the end only."""
        if self._parts is None:
            return self._file.read(size)
        parts, have = [self._rest], len(self._rest)
        while have < size and (part := next(self._parts, b"")):
            parts.append(part)
            have += len(part)
        whole = b"".join(parts)
        self._rest = whole[size:]
        return whole[:size]

    def _unpacked(self) -> Iterator[bytes]:
        member, part = zlib.decompressobj(wbits=31), b""
        while part := part or self._file.read(PACKED_BYTES):
            try:
                data = member.decompress(part)
            except zlib.error:
                break
            part = member.unused_data
            if data:
                yield data
            if member.eof:
                member = zlib.decompressobj(wbits=31)
                part = part or self._file.read(PACKED_BYTES)
                if not part.startswith(GZIP):  # another member, or padding
                    return
        self.cut = True
