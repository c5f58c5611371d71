"""Reader of the .cwa files of the Axivity AX3 and AX6, packed with gzip or not: one pass, a mebibyte at a time.

What a block holds is used only if its checksum is right and it fits to the rest of the file; what is left out is a
gap, and counted with its reason in the report. Times are those of the device's own clock.
"""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_pipelines.raw import Piece, RawFile, Report
from data_pipelines.readers import axivity_blocks as block_format
from data_pipelines.readers import axivity_sectors as sectors
from data_pipelines.readers.axivity_blocks import BLOCK_BYTES
from data_pipelines.readers.axivity_clock import LATE, Order, Run

BLOCKS_AT_ONCE = 2048
DAY_S, YEAR_S = 86_400, 366 * 86_400
NO_TIME = (0, 0xFFFFFFFF)
HARDWARE = {0x00: "AX3", 0xFF: "AX3", 0x17: "AX3", 0x64: "AX6"}


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What all blocks of a file have in common, by most of the first good ones; others are left out."""

    settings: int
    session: int
    rate_hz: float
    range_g: float | None
    gyroscope: bool
    earliest_s: float
    latest_s: float


def open_file(path: str | Path, blocks_at_once: int = BLOCKS_AT_ONCE) -> RawFile:
    """The file with its header read; its pieces have no gyroscope if the file has none.

    Rate and range are those of the blocks. Bad blocks of the report: "not a data block", "empty" (zeros or ones, with
    data behind), "truncated", "checksum", "impossible header" (number of samples, packing, rate, date, place of the
    stamp), "other session", "other rate or channels" than most of the first blocks, "time outside the recording" (a
    day outside what the header says, else a year off the first blocks), "time unlike its neighbours", "repeated",
    "out of order or clock went back".

    Args:
      path: a .cwa or .cwa.gz file.
      blocks_at_once: blocks read at once; changes the lengths of the pieces and nothing else.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no .cwa file, or not one block that can be used.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a .cwa or .cwa.gz file")
    header = _read_header(path)
    layout = _first_layout(path, header)
    number = header["device_id"]
    kind = header["hardware"] or ("AX6" if layout.gyroscope else "AX3")
    return RawFile(
        path,
        f"{kind} {number}" if number is not None else kind,
        layout.rate_hz,
        layout.range_g,
        header | {"hardware": kind},
        functools.partial(_read, path, layout, blocks_at_once),
    )


def _read(path: Path, layout: _Layout, blocks_at_once: int, report: Report) -> Iterator[Piece]:
    """The pieces of a file, in order of time."""
    order, run, last_us = Order(layout.rate_hz), Run(layout.rate_hz, 1e6 / layout.rate_hz), -1
    for blocks, final in sectors.blocks(path, blocks_at_once, report):
        rows, timing, begins = order.take(_usable(blocks, layout, report), report, final)
        edges = [0, *(np.flatnonzero(begins[1:]) + 1).tolist(), len(rows)] if len(rows) else []
        settled = []
        for begin, end in zip(edges[:-1], edges[1:], strict=True):
            if begins[begin] or run.overlong:
                settled.append(run.take(final=True))
                run = Run(layout.rate_hz, run.step_us)
            run.add(rows[begin:end], timing[begin:end])
        settled.append(run.take(final))
        used = []
        for blocks, time in settled:
            # Only a new run can begin too early: by less than what _agree lets pass.
            count = blocks["samples"].astype(np.int64)
            first = np.cumsum(count) - count
            late = int(np.searchsorted(time[first], last_us, "right"))
            if late:
                report.bad(LATE, late)
                blocks, time = blocks[late:], time[int(first[late]) if late < len(first) else len(time) :]
            if len(blocks):
                last_us = int(time[-1])
                used.append((blocks, time))
        if used:
            blocks = used[0][0] if len(used) == 1 else np.concatenate([blocks for blocks, _ in used])
            time = used[0][1] if len(used) == 1 else np.concatenate([time for _, time in used])
            report.add(time, layout.rate_hz)
            yield _piece(blocks, time)


def _piece(blocks: np.ndarray, time: np.ndarray) -> Piece:
    acceleration, gyroscope = block_format.motion(blocks)
    measured = (block_format.temperature_c, block_format.light_lux, block_format.battery_v)
    each = [np.repeat(measure(blocks), blocks["samples"]) for measure in measured]
    return Piece(time, acceleration, *each, gyroscope)


def _usable(blocks: np.ndarray, layout: _Layout, report: Report) -> np.ndarray:
    """The blocks that are right in themselves and belong to the file; the others are counted."""
    good = np.ones(len(blocks), bool)

    def drop(reason: str, wrong: np.ndarray) -> None:
        if count := int(np.count_nonzero(wrong & good)):
            report.bad(reason, count)
            good[wrong] = False

    drop("checksum", ~block_format.right_checksum(blocks))
    drop("impossible header", ~block_format.possible(blocks))
    drop("other session", blocks["session"] != layout.session)
    drop("other rate or channels", block_format.settings(blocks) != layout.settings)
    seconds = block_format.seconds(blocks["stamp"])
    drop("time outside the recording", (seconds < layout.earliest_s) | (seconds > layout.latest_s))
    return blocks if good.all() else blocks[good]


def _first_layout(path: Path, header: dict) -> _Layout:
    """What most of the first good blocks say."""
    marked = 0
    for blocks, _ in sectors.blocks(path, BLOCKS_AT_ONCE, Report()):
        marked += len(blocks)
        good = blocks[block_format.right_checksum(blocks) & block_format.possible(blocks)]
        if len(good):
            break
    else:
        if not marked and header["header"] == "damaged":
            raise ValueError(f"{path}: no Axivity .cwa file (neither header nor blocks of samples), export it again")
        found = f"none of its {marked} blocks of samples is intact" if marked else "it holds no samples"
        raise ValueError(f"{path}: {found}, expected a recording: copy it from the device again")
    session, settings = _most_frequent(good["session"]), _most_frequent(block_format.settings(good))
    block = good[block_format.settings(good) == settings][0]
    rate, seconds = int(block["rate"]), block_format.seconds(good["stamp"])
    middle = float(np.median(seconds))
    begin, end = (np.datetime64(text, "s").astype(int) if text else None for text in (header["start"], header["end"]))
    earliest = middle - YEAR_S if begin is None else begin - DAY_S
    latest = middle + YEAR_S if end is None else end + DAY_S
    if not earliest <= middle <= latest:  # the header has no checksum
        earliest, latest = middle - YEAR_S, middle + YEAR_S
    return _Layout(
        settings,
        session,
        block_format.nominal_rate_hz(block),
        block_format.range_g(rate) if rate else header["header_range_g"],
        int(block["axes"]) >> 4 > 3,
        earliest,
        latest,
    )


def _most_frequent(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[np.argmax(counts)])


def _read_header(path: Path) -> dict[str, str | int | float | None]:
    """What the first 1024 bytes say, for people; all None if they are damaged."""
    head = sectors.header(path)
    facts = dict.fromkeys(
        "device_id hardware session start end header_rate_hz header_range_g firmware annotation sectors".split()
    )
    if not sectors.is_packed(path):
        facts["sectors"] = max(path.stat().st_size - sectors.HEADER_BYTES, 0) // BLOCK_BYTES
    if len(head) < sectors.HEADER_BYTES or not head.startswith(sectors.HEADER_MARK):
        return facts | {"header": "damaged"}

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "little")

    high, rate = number(11, 2), head[36]
    rated = rate & 15 >= block_format.SLOWEST and rate not in NO_TIME
    return facts | {
        "header": "intact",
        "device_id": number(5, 2) + ((high << 16) if high != 0xFFFF else 0),
        "hardware": HARDWARE.get(head[4]),
        "session": number(7, 4),
        "start": _iso(number(13, 4)),
        "end": _iso(number(17, 4)),
        "header_rate_hz": block_format.rate_hz(rate) if rated else None,
        "header_range_g": block_format.range_g(rate) if rated else None,
        "firmware": head[41],
        "annotation": "".join(c for c in head[64:512].decode("ascii", "ignore") if c.isprintable()).strip(),
    }


def _iso(stamp: int) -> str | None:
    """A packed date as text; None if it is not set or impossible."""
    seconds = int(block_format.seconds(stamp))
    return None if stamp in NO_TIME or seconds < 0 else str(np.datetime64(seconds, "s"))
