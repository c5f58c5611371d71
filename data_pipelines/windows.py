"""Recordings cut into stretches and windows, quantised, and the bytes of one block of samples in a shard.

A record is a 32-byte header and the byte-shuffled counts: all low bytes of the planar int16 [C, S], then all
high bytes. zstd gains a third on that, because the high bytes hardly change.
"""

import struct
from collections.abc import Sequence

import numpy as np

MAGIC = b"SPAB"
VERSION = 1
HEADER = struct.Struct("<4sHHIfq8x")  # magic, version, channels, samples, g per count, first sample, spare
GAP_STEPS = 1.5  # half a sample more than the regular step: clocks that jitter by a millisecond have no gap


def segments(time_us: np.ndarray, max_gap_s: float) -> list[slice]:
    """The sample ranges between gaps longer than `max_gap_s`; together they cover every sample.

    Args:
      time_us: int64 [S], microseconds, strictly increasing.
      max_gap_s: the longest step in time, in seconds, that is joined.
    """
    if len(time_us) == 0:
        return []
    begins = np.flatnonzero(np.diff(time_us) > max_gap_s * 1e6) + 1
    edges = [0, *begins.tolist(), len(time_us)]
    return [slice(begin, end) for begin, end in zip(edges[:-1], edges[1:], strict=True)]


def count_joined(time_us: np.ndarray, max_gap_s: float, rate_hz: float) -> int:
    """How many gaps (at least one sample missing at `rate_hz`) are short enough to be joined."""
    step = np.diff(time_us)
    return int(np.count_nonzero((step > GAP_STEPS * 1e6 / rate_hz) & (step <= max_gap_s * 1e6)))


def cut(n_samples: int, window: int, stride: int) -> np.ndarray:
    """First samples (int64) of the whole windows of a stretch, `stride` samples apart; all lengths in samples."""
    return np.arange(0, n_samples - window + 1, stride, dtype=np.int64)


def quantise(acceleration: np.ndarray, scale: float) -> tuple[np.ndarray, int]:
    """Planar counts int16 [C, S] with g = counts * scale, and how many samples did not fit and were clipped.

    A value one count above the range (8 g at 1/4096 g) is stored one count lower and not called clipped.

    Args:
      acceleration: [S, C], g.
      scale: g per count.
    """
    counts = np.rint(acceleration.T / np.float32(scale))  # [C, S]
    if counts.size and counts.min() >= -32768 and counts.max() <= 32767:  # a third of the time
        return counts.astype(np.int16), 0
    clipped = ((counts > 32768) | (counts < -32768)).any(axis=0)
    return np.clip(counts, -32768, 32767).astype(np.int16), int(np.count_nonzero(clipped))


def encode_block(counts: np.ndarray, scale: float, start: int) -> bytes:
    """The record of one block.

    Args:
      counts: int16 [C, S].
      scale: g per count.
      start: index of the block's first sample in its recording.
    """
    channels, samples = counts.shape
    pairs = np.ascontiguousarray(counts, "<i2").view(np.uint8).reshape(-1, 2)  # [C * S, 2]
    return HEADER.pack(MAGIC, VERSION, channels, samples, scale, start) + pairs.T.tobytes()


def decode_block(record: bytes) -> tuple[np.ndarray, float, int]:
    """Counts int16 [C, S], g per count and index of the first sample, from `encode_block`'s bytes.

    Raises:
      ValueError: the bytes are no such record.
    """
    if len(record) < HEADER.size or record[: len(MAGIC)] != MAGIC:
        raise ValueError(f"a record of {len(record)} bytes is no block of this project: run selfpab prepare again")
    _, version, channels, samples, scale, start = HEADER.unpack_from(record)
    if version != VERSION or len(record) != HEADER.size + 2 * channels * samples:
        raise ValueError(
            f"a record of {len(record)} bytes claims version {version}, {channels} x {samples} samples, "
            "expected version "
            f"{VERSION} and {HEADER.size + 2 * channels * samples} bytes: run selfpab prepare again"
        )
    low, high = np.frombuffer(record, np.uint8, offset=HEADER.size).reshape(2, -1)  # [C * S] each
    words = high.astype("<u2")  # 20 us for 5 minutes of 6 channels; a transposed copy takes ten times as long
    words <<= 8
    words |= low
    return words.view("<i2").reshape(channels, samples), scale, start  # [C, S]


def join_blocks(records: Sequence[bytes], offset: int, samples: int) -> tuple[np.ndarray, float]:
    """Counts int16 [C, `samples`] from sample `offset` of neighbouring records on, and g per count.

    Raises:
      ValueError: a record is none, does not follow the one before it, or they hold fewer samples.
    """
    blocks = [decode_block(record) for record in records]
    first, scale, at = blocks[0]
    for counts, own_scale, start in blocks:
        if (len(counts), own_scale, start) != (len(first), scale, at):
            raise ValueError(
                f"found {len(counts)} channels from sample {start} on at {own_scale:g} g per count, expected "
                f"{len(first)} channels from sample {at} on at {scale:g} g per count"
            )
        at += counts.shape[1]
    joined = first if len(blocks) == 1 else np.concatenate([counts for counts, _, _ in blocks], axis=1)
    if joined.shape[1] < offset + samples:
        raise ValueError(f"found {joined.shape[1]} samples, expected at least {offset + samples}")
    return joined[:, offset : offset + samples], scale
