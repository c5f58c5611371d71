"""Random damage to .cwa files: only what is intact comes out, each block at its time, or one sentence."""

import gzip
import os
import time
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.raw import Report
from data_pipelines.readers import axivity
from tests.data_pipelines import cwa_writer

HEADER = 1024
MARK = b"AX\xfc\x01"
KINDS = ("cut", "flipped bits", "empty", "noise", "inserted", "lost", "twice", "packed", "order", "header", "sealed")


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, Report]:
    """Time, acceleration and report."""
    report = Report()
    pieces = [(piece.time, piece.acceleration) for piece in axivity.open_file(path).read(report)]
    pieces.append((np.empty(0, np.int64), np.empty((0, 3), np.float32)))
    return np.concatenate([time for time, _ in pieces]), np.concatenate([rows for _, rows in pieces]), report


def _damaged(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    blocks = np.frombuffer(content[HEADER:], cwa_writer.BLOCK).copy()
    raw = np.frombuffer(bytearray(content), np.uint8)
    at, length = int(rng.integers(len(content))), int(rng.integers(1, 3000))
    some = rng.integers(len(blocks), size=int(rng.integers(1, 6)))
    if kind == "cut":
        return content[:at]
    if kind == "inserted":
        return content[:at] + rng.bytes(length) + content[at:]
    if kind == "lost":
        return content[:at] + content[at + length :]
    if kind == "twice":
        return content[:at] + content[max(at - 40 * length, 0) :]
    if kind == "packed":
        packed = bytearray(gzip.compress(content, 1, mtime=0))
        packed[int(rng.integers(2, len(packed)))] ^= 1 << int(rng.integers(8))
        return bytes(packed[: int(rng.integers(2, 2 * len(packed)))])
    if kind == "flipped bits":  # one in a block: two may leave the sum as it was
        sectors = np.flatnonzero(rng.random(len(raw) // 512) < rng.random() ** 3)
        bits = (1 << rng.integers(8, size=len(sectors))).astype(np.uint8)
        raw[sectors * 512 + rng.integers(512, size=len(sectors))] ^= bits
    elif kind == "empty":
        raw[at : at + length] = rng.choice([0, 255])
    elif kind == "noise":
        raw[at : at + length] = rng.integers(256, size=len(raw[at : at + length]))
    elif kind == "header":
        raw[rng.integers(HEADER, size=200)] = rng.integers(256, size=200)
    elif kind == "order":
        blocks[some] = blocks[rng.permutation(some)]
        return content[:HEADER] + blocks.tobytes()
    else:  # heads of blocks, with checksums made right again
        heads = blocks.view(np.uint8).reshape(len(blocks), 512)
        heads[some, rng.integers(4, 30, size=len(some))] = rng.integers(256, size=len(some))
        return content[:HEADER] + cwa_writer.sealed(blocks).tobytes()
    return raw.tobytes()


def _source(name: str, folder: Path) -> Path:
    if "/" in name:
        beside = Path(__file__).parents[3] / "shared" / "data"
        path = Path(os.environ.get("SELFPAB_REAL_DATA", beside)) / "raw_device" / name
        return path if path.is_file() else pytest.skip(f"no file of a real device {path}")
    rng = np.random.default_rng(1)
    turning = rng.uniform(-500, 500, (8000, 3)) if name == "gyroscope" else None
    kind = dict(packed=False, hardware="AX6", gyroscope=turning) if name == "gyroscope" else dict(fractional=False)
    return cwa_writer.write(folder / "whole.cwa", rng.normal(0, 0.6, (8000, 3)), **kind)


def _intact(content: bytes) -> set[bytes]:
    """What stands behind each mark, 512 bytes."""
    found, at = set(), content.find(MARK)
    while at >= 0:
        found.add(content[at : at + 512])
        at = content.find(MARK, at + 1)
    return found


@pytest.mark.parametrize(
    "name", ["skdh/ax3_sample.cwa", "skdh/ax6_sample.cwa", "GGIRread/ax3_testfile.cwa", "gyroscope", "whole seconds"]
)
def test_random_damage(tmp_path, name):
    source = _source(name, tmp_path)
    content = source.read_bytes()
    times, rows, _ = _read(source)
    counts = np.frombuffer(content[HEADER:], cwa_writer.BLOCK)["samples"].astype(int)
    first = np.append(0, np.cumsum(counts))
    block_of = {content[HEADER + 512 * i :][:512]: i for i in range(len(counts))}
    samples, row_counts = np.unique(rows.view("V12").ravel(), return_counts=True)
    rng, path, refused = np.random.default_rng(2), tmp_path / "b.cwa", 0
    for number in range(200):
        kind = KINDS[number % len(KINDS)]
        damaged = _damaged(content, kind, rng)
        path.write_bytes(damaged)
        began = time.process_time()
        try:
            time_us, found, report = _read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refused += 1
            continue
        assert time.process_time() - began < 10
        assert (np.diff(time_us) > 0).all() and len(time_us) == len(found) == report.samples
        if kind == "packed":  # unpacking may change the order of words, which the checksum does not see
            continue
        if kind == "sealed":
            left, left_counts = np.unique(found.view("V12").ravel(), return_counts=True)
            assert np.isin(left, samples).all()
            assert (left_counts <= row_counts[np.searchsorted(samples, left)]).all()
            continue
        # The output is blocks of the file that are still intact, in order, each at its time.
        there = sorted(block_of[block] for block in _intact(damaged) & block_of.keys())
        expected, at, used = iter(there), 0, 0
        while at < len(found):
            i = next(i for i in expected if np.array_equal(found[at : at + counts[i]], rows[first[i] : first[i + 1]]))
            assert np.abs(time_us[at : at + counts[i]] - times[first[i] : first[i + 1]]).max() < 50_000
            at, used = at + counts[i], used + 1
        # Where bytes were lost, the rest of a block and the next one are taken for one.
        assert used == len(there) or kind in ("twice", "order") or (kind == "lost" and used == len(there) - 1)
    assert refused < 10
