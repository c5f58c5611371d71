"""The blocks of 512 bytes in an Axivity .cwa file: what is wrong with them, their times, and the samples in them.

Source: "Open Movement AX3 Sensor - Technical Documentation" (ax3-technical.md) for header, block and packed samples;
the Open Movement API (omapi) for the AX6's scales, temperature, light and battery.
"""

import numpy as np

BLOCK_BYTES = 512
MARK = b"AX\xfc\x01"  # "AX" and the length of what follows, 508
DATA = 480  # bytes of samples
BLOCK = np.dtype(
    [
        ("mark", "<u4"),
        ("fraction", "<u2"),  # of a second, or the device
        ("session", "<u4"),
        ("sequence", "<u4"),
        ("stamp", "<u4"),
        ("light", "<u2"),  # and scales
        ("temperature", "<u2"),
        ("events", "u1"),
        ("battery", "u1"),
        ("rate", "u1"),  # and range
        ("axes", "u1"),  # and packing
        ("offset", "<i2"),
        ("samples", "<u2"),
        ("data", f"V{DATA}"),
        ("checksum", "<u2"),
    ]
)
TICKS = 1 << 15  # of a stamp's fraction in a second
PACKED = 0x30  # `axes` with three values of 10 bits in 4 bytes
CAPACITY = np.zeros(256, np.int64)  # samples that fit into a block by its byte `axes`, 0 where no device writes it
CAPACITY[[PACKED, 0x32, 0x62, 0x92]] = [DATA // 4, DATA // 6, DATA // 12, DATA // 18]  # packed; 3, 6, 9 of 2 bytes
RATES_HZ = 3200 / 2.0 ** np.arange(15, -1, -1)  # by the lower half of the rate byte
SLOWEST = 6  # the first of them that devices have, 6.25 Hz
NEAREST_S = 2.0  # a block's stamp was taken while it was filled; if it is a block and this further away, it is damaged

_MONTHS = np.arange(64)[:, None] * 12 + 360 + np.arange(16) - 1  # since 1970, of 6 bits of year and 4 of month
_MONTH_BEGINS, _MONTH_ENDS = ((_MONTHS + i).astype("datetime64[M]").astype("datetime64[D]").ravel() for i in (0, 1))
_MONTH_DAYS = np.where(np.isin(np.arange(1024) % 16, range(1, 13)), (_MONTH_ENDS - _MONTH_BEGINS).astype(int), 0)
_MONTH_BEGINS = _MONTH_BEGINS.astype(np.int64)  # days since 1970


def rate_hz(code: int) -> float:
    """Samples a second of a rate byte; its two upper bits are the range."""
    return float(RATES_HZ[code & 15])


def range_g(code: int) -> float:
    """The range in g of a rate byte."""
    return float(16 >> (code >> 6))


def seconds(stamp) -> np.ndarray:
    """Whole seconds since 1970, int64, of packed dates (YYYYYYMM MMDDDDDh hhhhmmmm mmssssss); -1 of impossible ones."""
    stamp = np.asarray(stamp, np.int64)
    month, day = stamp >> 22, (stamp >> 17) & 31
    hour, minute, second = (stamp >> 12) & 31, (stamp >> 6) & 63, stamp & 63
    right = (day >= 1) & (day <= _MONTH_DAYS[month]) & (hour < 24) & (minute < 60) & (second < 60)
    return np.where(right, (_MONTH_BEGINS[month] + day - 1) * 86400 + hour * 3600 + minute * 60 + second, -1)


def right_checksum(blocks: np.ndarray) -> np.ndarray:
    """bool [N]: the 256 words of each block (BLOCK [N]) sum to 0 modulo 2^16."""
    words = np.ascontiguousarray(blocks).view("<u2").reshape(-1, BLOCK_BYTES // 2)
    return words.sum(axis=1, dtype=np.uint16) == 0


def settings(blocks: np.ndarray) -> np.ndarray:
    """int64 [N]: rate byte, axes, scales, and the rate of very old files, as one number; one in a whole file."""
    old = np.where(blocks["rate"] == 0, blocks["offset"].astype(np.int64) & 0xFFFF, 0)
    scales = blocks["light"].astype(np.int64) >> 10
    return old << 32 | scales << 16 | blocks["axes"].astype(np.int64) << 8 | blocks["rate"]


def nominal_rate_hz(block: np.void) -> float:
    """Samples a second of one block; very old files write them in place of the offset."""
    return rate_hz(int(block["rate"])) if block["rate"] else float(block["offset"])


def possible(blocks: np.ndarray) -> np.ndarray:
    """bool [N]: packing, number of samples, rate, date and place of the stamp are such as a device writes."""
    code = blocks["rate"] & 15
    rated = np.where(blocks["rate"] == 0, blocks["offset"] > 0, code >= SLOWEST)
    held = (blocks["samples"] > 0) & (blocks["samples"] <= CAPACITY[blocks["axes"]])
    rate = np.where(blocks["rate"] == 0, blocks["offset"], RATES_HZ[code])
    place, most = anchors(blocks, rate)[0], NEAREST_S * rate + CAPACITY.max()
    near = (place >= -most) & (place <= blocks["samples"] + most)
    return rated & held & near & (seconds(blocks["stamp"]) >= 0)


def anchors(blocks: np.ndarray, rate) -> tuple[np.ndarray, np.ndarray]:
    """The sample at which each block's stamp is true, and that time.

    With a fraction, the stamp is moved back to the whole second for readers that do not know it: the sample is
    as many later as fit into the fraction at the nominal rate.

    Args:
      blocks: BLOCK [N].
      rate: nominal samples a second, a number or [N].

    Returns:
      int64 [N], samples after the block's first, also before it (negative) or behind its last; int64 [N], time in
      1 / 32768 s since 1970.
    """
    fraction = np.where(blocks["fraction"] & 0x8000, blocks["fraction"] & 0x7FFF, 0).astype(np.int64)
    place = np.where(blocks["rate"] == 0, 0, blocks["offset"]) + (fraction * np.asarray(rate, np.int64) >> 15)
    return place, seconds(blocks["stamp"]) * TICKS + fraction


def motion(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Acceleration in g and angular rate in degrees a second, float32 [S, 3] each, of blocks with the same settings.

    The second is None where there is no gyroscope. A magnetometer is left out.
    """
    axes, scales = int(blocks["axes"][0]), int(blocks["light"][0]) >> 10
    count, room = axes >> 4, int(CAPACITY[axes])
    data = np.ascontiguousarray(blocks["data"])
    if axes == PACKED:
        words = data.view("<u4")  # [N * room]
    else:
        words = data.view("<i2").reshape(len(blocks), -1)[:, : room * count].reshape(-1, count)  # [N * room, count]
    if (blocks["samples"] < room).any():
        words = words[(np.arange(room) < blocks["samples"][:, None]).reshape(-1)]
    if axes == PACKED:
        return _unpacked(words), None
    first = 0 if count == 3 else 3
    acceleration = words[:, first : first + 3] * np.float32(1 / (1 << (8 + (scales >> 3))))
    # A scale of 0 is that of the first devices with a gyroscope.
    turning = None if count == 3 else words[:, :3] * np.float32((8000 / (1 << (scales & 7 or 2))) / 32768)
    return acceleration, turning


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """float32 [S, 3] in g of words eezzzzzzzzzzyyyyyyyyyyxxxxxxxxxx, units of 2^e / 256 g."""
    # 2^(e - 30) as the bits of a float32, for values in the 10 upper bits of 32.
    unit = ((packed >> np.uint32(30)) + np.uint32(127 - 30) << np.uint32(23)).view(np.float32)
    out = np.empty((len(packed), 3), np.float32)
    for axis, shift in enumerate((22, 12, 2)):
        upper = packed << np.uint32(shift)
        upper &= np.uint32(0x3FF << 22)
        out[:, axis] = upper.view(np.int32)
        out[:, axis] *= unit
    return out


def temperature_c(blocks: np.ndarray) -> np.ndarray:
    """float32 [N], degrees Celsius."""
    return (blocks["temperature"] & 0x3FF) * np.float32(75 / 256) - np.float32(50)


def light_lux(blocks: np.ndarray) -> np.ndarray:
    """float32 [N], by the formula of the Open Movement API, log10(lux) = (value + 512) * 6 / 1024: an uncalibrated
    sensor, mostly under a sleeve."""
    return np.float32(10) ** (((blocks["light"] & 0x3FF) + np.float32(512)) * np.float32(6 / 1024))


def battery_v(blocks: np.ndarray) -> np.ndarray:
    """float32 [N], V."""
    return (blocks["battery"] + np.float32(512)) * np.float32(6 / 1024)
