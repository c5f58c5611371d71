"""Writes Axivity .cwa files for tests, a day in a fraction of a second: its own description of the format, so that a
mistake of the reader is not made twice."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HEADER_BYTES = 1024
SLAB = 4096  # blocks that are made at once
BLOCK = np.dtype("S2,<u2,<u2,<u4,<u4,<u4,<u2,<u2,u1,u1,u1,u1,<i2,<u2,(480,)u1,<u2")
BLOCK.names = (
    *("tag", "length", "fraction", "session", "sequence", "stamp", "light", "temperature", "events", "battery"),
    *("rate", "axes", "offset", "samples", "data", "checksum"),
)
ACCELERATION_SCALE = {16: 3, 8: 4, 4: 5, 2: 6}  # of the AX6: 1 / 2^(8 + scale) g
TURNING_SCALE = 2  # 8000 / 2^2: 2000 degrees a second


def packed_date(second) -> np.ndarray:
    """The device's date of whole seconds since 1970 (or datetime64), uint32."""
    time = np.asarray(second).astype("datetime64[s]")
    day, month, year = (time.astype(f"datetime64[{unit}]") for unit in "DMY")
    in_day = (time - day).astype(np.int64)
    date = (year.astype(np.int64) - 30) << 26 | (month - year).astype(np.int64) + 1 << 22
    date |= (day - month).astype(np.int64) + 1 << 17
    return (date | in_day // 3600 << 12 | in_day // 60 % 60 << 6 | in_day % 60).astype(np.uint32)


def sealed(blocks: np.ndarray) -> np.ndarray:
    """The blocks with right checksums."""
    blocks = np.ascontiguousarray(blocks).copy()
    blocks["checksum"] = 0
    blocks["checksum"] = -blocks.view("<u2").reshape(-1, 256).sum(axis=1, dtype=np.uint16)
    return blocks


def blocks_of(path: Path) -> np.ndarray:
    """The blocks of an unpacked file, as an array that can be changed."""
    return np.frombuffer(path.read_bytes()[HEADER_BYTES:], BLOCK).copy()


def rate_code(rate_hz: float, range_g: int) -> int:
    return 15 - round(np.log2(3200 / rate_hz)) | {16: 0, 8: 1, 4: 2, 2: 3}[range_g] << 6


def header(device: int, session: int, code: int, hardware: str, annotation: str, start: int = 0, end: int = 0) -> bytes:
    """The first 1024 bytes; `start` and `end` are packed dates."""
    head = bytearray(b"\xff" * HEADER_BYTES)
    head[0:5] = b"MD\xfc\x03" + {"AX3": b"\x17", "AX6": b"\x64"}[hardware]
    for at, size, value in ((5, 2, device & 0xFFFF), (7, 4, session), (13, 4, start), (17, 4, end)):
        head[at : at + size] = value.to_bytes(size, "little")
    if device >> 16:
        head[11:13] = (device >> 16).to_bytes(2, "little")
    head[36], head[41] = code, 45
    head[64:512] = annotation.encode().ljust(448)
    return bytes(head)


def write(
    path: Path,
    acceleration: np.ndarray,
    *,
    start: str = "2014-05-07T10:00:00",
    rate_hz: float = 100,
    true_rate_hz: float | None = None,
    range_g: int = 8,
    packed: bool = True,
    hardware: str = "AX3",
    device: int = 12345,
    session: int = 1,
    gyroscope: np.ndarray | None = None,
    magnetometer: bool = False,
    temperature: float | np.ndarray = 25.0,
    light: int = 200,
    battery: int = 200,
    fractional: bool = True,
    very_old: bool = False,
    lost_blocks: Sequence[int] = (),
    annotation: str = "",
    logging_start: str | None = None,
    logging_end: str | None = None,
) -> Path:
    """Writes a file, packed with gzip if its name ends in .gz; returns its path.

    Args:
      acceleration: [S, 3] in g, clipped at the range; a gain or an offset of the device is for the caller to put in.
      start: time of the first sample by the device's clock.
      rate_hz: nominal samples a second, 6.25 to 3200 in powers of two.
      true_rate_hz: samples in a second of the device's clock; 100.002 for one 20 ppm slow against the sensor.
      packed: three values of 10 bits and an exponent, else 16 bits a value.
      gyroscope: [S, 3] in degrees a second, makes 6 axes; with `magnetometer` 9.
      temperature: degrees Celsius, one or [S]; a block has that of its first sample.
      light, battery: raw numbers.
      fractional: stamps with fractions of a second, else whole seconds as older devices write.
      very_old: the rate is written in place of the offset, stamps are those of each block's first sample.
      lost_blocks: numbers of blocks that are left out.
    """
    true_rate_hz = true_rate_hz or rate_hz
    kinds = 1 + (gyroscope is not None) + magnetometer
    room = 120 if packed else 480 // (6 * kinds)
    scale = ACCELERATION_SCALE[range_g] if hardware == "AX6" else 0
    total = len(acceleration)
    begin_us = int(np.datetime64(start, "us").astype(np.int64))
    code = rate_code(rate_hz, range_g)
    date = [int(packed_date(np.datetime64(text, "s"))) if text else 0 for text in (logging_start, logging_end)]
    opened = gzip.open(path, "wb", compresslevel=1) if str(path).endswith(".gz") else open(path, "wb")
    with opened as file:
        file.write(header(device, session, code, hardware, annotation, *date))
        for number in range(0, -(-total // room), SLAB):
            first = np.arange(number, min(number + SLAB, -(-total // room))) * room
            part = slice(int(first[0]), min(int(first[-1]) + room, total))
            blocks = np.zeros(len(first), BLOCK)
            blocks["tag"], blocks["length"], blocks["session"] = b"AX", 508, session
            blocks["sequence"] = number + np.arange(len(first))
            blocks["samples"] = np.minimum(room, total - first)
            celsius = np.broadcast_to(temperature, total)[first]
            blocks["temperature"] = np.rint((celsius + 50) * 256 / 75)
            turning = TURNING_SCALE if gyroscope is not None else 0
            blocks["light"] = light | scale << 13 | turning << 10
            blocks["battery"] = battery
            blocks["axes"] = 3 * kinds << 4 | (0 if packed else 2)
            # The stamp is taken when the block is full.
            stamped = first + (0 if very_old else blocks["samples"])
            ticks = np.rint((begin_us + stamped * (1e6 / true_rate_hz)) * (32768 / 1e6)).astype(np.int64)
            second, fraction = ticks >> 15, ticks & 32767
            blocks["stamp"] = packed_date(second)
            if very_old:
                blocks["offset"] = round(rate_hz)
            elif fractional:
                blocks["rate"], blocks["fraction"] = code, 0x8000 | fraction
                blocks["offset"] = blocks["samples"] - (fraction * int(rate_hz) >> 15)
            else:
                blocks["rate"], blocks["fraction"] = code, device & 0x7FFF
                blocks["offset"] = np.rint(blocks["samples"] - fraction * (true_rate_hz / 32768))
            data = np.zeros((len(first) * room, 4 if packed else 6 * kinds), np.uint8)
            values = _counts(acceleration[part], range_g, scale)
            if packed:
                data[: len(values)] = _packed(values).view(np.uint8).reshape(-1, 4)
            else:
                words = [values] if gyroscope is None else [np.rint(gyroscope[part] * (32768 / 2000)), values]
                words += [np.full_like(values, 7)] * magnetometer
                data[: len(values)] = np.concatenate(words, axis=1).astype("<i2").view(np.uint8)
            row = data.reshape(len(first), -1)
            blocks["data"][:, : row.shape[1]] = row
            kept = ~np.isin(blocks["sequence"], np.asarray(lost_blocks, np.int64))
            file.write(sealed(blocks)[kept].tobytes())
    return Path(path)


def _counts(acceleration: np.ndarray, range_g: int, scale: int) -> np.ndarray:
    unit = 256 << scale
    most = range_g * unit
    return np.clip(np.rint(np.asarray(acceleration, np.float64) * unit), -most, min(most - 1, 32767)).astype(np.int32)


def _packed(values: np.ndarray) -> np.ndarray:
    """uint32 [S] of int32 [S, 3]: the smallest exponent with which all three fit into 10 bits."""
    largest = np.maximum(values, ~values).max(axis=1)
    exponent = (largest > 511).astype(np.int32) + (largest > 1023) + (largest > 2047)
    x, y, z = (values >> exponent[:, None]).astype(np.int64).T & 0x3FF
    return (x | y << 10 | z << 20 | exponent.astype(np.int64) << 30).astype("<u4")
