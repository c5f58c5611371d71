"""Reader of the .bin files of GENEActiv devices: a header of text lines, then pages of 300 samples as hex digits.

scikit-digital-health decodes the pages. It puts a page wherever its sequence number says, outside its memory too, stops
at the first damaged page and leaves zeros for pages that are missing. So it is handed copies: a few minutes of whole
pages each, numbered anew; what is missing or damaged stays a gap.
"""

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.raw import Piece, RawFile, Report

PAGE_SAMPLES = 300
PIECE_PAGES = 200  # 10 minutes at 100 Hz
READ_BYTES = 1 << 20
LONGEST_HEADER = 1 << 16
MARK = b"Recorded Data"
FREQUENCY, PAGES = "Measurement Frequency", "Number of Pages"
NEEDED = (FREQUENCY, "x gain", "x offset", "y gain", "y offset", "z gain", "z offset", "Volts", "Lux", PAGES)
SECTIONS = ("Device Capabilities", "Configuration Info", "Calibration Data", "Memory Status")
# A page that lasts so much longer or shorter than its samples do at the nominal rate has a step of the clock behind it.
TOLERANCE = 0.02
_PAGE = re.compile(
    rb"\s*Device Unique Serial Code:.*\nSequence Number:(?P<number>\d{1,9})\r?\n"
    rb"Page Time:(?P<day>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d):(?P<ms>\d{3})\r?\nUnassigned:.*\n"
    rb"Temperature:(?P<celsius>-?\d+(\.\d*)?)\r?\nBattery voltage:(?P<volt>\d+(\.\d*)?)\r?\nDevice Status:.*\n"
    rb"Measurement Frequency:(?P<hz>\d+(\.\d*)?)\r?\n(?P<samples>[0-9A-Fa-f]{3600})\s*"
)


class _Page(NamedTuple):
    number: int  # of the page in the file, by the device
    time: int  # microseconds since 1970, of its first sample
    celsius: float
    volt: float
    samples: bytes  # 12 hex digits each


def open_file(path: str | Path) -> RawFile:
    """A .bin file; its pieces are in g, lux, degrees Celsius and V, by the clock of the device.

    The samples of a page lie evenly between its time and that of the next one.

    Raises:
      FileNotFoundError: no such file.
      ValueError: no header of a GENEActiv device or a number is missing in it, or scikit-digital-health is not
        installed. Reading raises it if no page is whole.
    """
    path = Path(path)
    text = _header(path)
    header: dict[str, str] = {}  # of a name that occurs twice the first
    for line in text.splitlines():
        name, _, value = line.partition(":")
        header.setdefault(name.strip(), value.strip())
    for name in SECTIONS:  # without them scikit-digital-health does not come to an end
        if name not in header:
            raise ValueError(f"{path}: the header has no line {name!r}, the file is damaged: copy it again")
    numbers = {name: _number(path, header, name) for name in NEEDED}
    for name in (FREQUENCY, "x gain", "y gain", "z gain", "Volts"):
        if numbers[name] <= 0:
            raise ValueError(f"{path}: {name} in the header is {numbers[name]:g}, expected more than 0")
    largest = re.search(r"to\s*(\d+(?:\.\d*)?)", header.get("Accelerometer Range", ""))
    facts = {
        "firmware": header.get("Device Firmware Version") or None,
        "start": header.get("Start Time") or None,
        "time zone": header.get("Time Zone") or None,
        "place": header.get("Device Location Code") or None,
        "subject": header.get("Subject Code") or None,
        "pages by the header": int(numbers[PAGES]),
    }
    device = f"GENEActiv {header.get('Device Unique Serial Code', '')}".strip()
    read = partial(_pieces, path, text, numbers[FREQUENCY], _decoder(path))
    return RawFile(path, device, numbers[FREQUENCY], float(largest[1]) if largest else None, facts, read)


def _header(path: Path) -> str:
    """The lines before the first page."""
    with open(path, "rb") as file:
        before, mark, _ = file.read(LONGEST_HEADER).partition(MARK)
    if not before.startswith(b"Device Identity"):
        raise ValueError(
            f"{path}: not a GENEActiv file (it begins with {before[:15]!r}, expected 'Device Identity'): save it as "
            ".bin with GENEActiv's own software again, or move it elsewhere if it is of another device"
        )
    if not mark:
        raise ValueError(f"{path}: no page of data after the header, the file is cut off or empty: copy it again")
    return before.decode("latin-1").replace("\r\n", "\n").removesuffix("\n")


def _number(path: Path, header: Mapping[str, str], name: str) -> float:
    number = re.match(r"-?\d+(\.\d*)?", header.get(name, ""))
    if not number:
        raise ValueError(
            f"{path}: {name} in the header is {header.get(name)!r}, expected a number: copy the file again"
        )
    return float(number[0])


def _decoder(path: Path):
    """The class of scikit-digital-health; three seconds the first time."""
    try:
        from skdh.io import ReadBin
    except ImportError as error:
        raise ValueError(
            f"{path}: reading GENEActiv files needs scikit-digital-health: pip install -e '.[ingest]'"
        ) from error
    return ReadBin


def _pieces(path: Path, header: str, rate_hz: float, decoder, report: Report) -> Iterator[Piece]:
    pages = _in_order(_pages(path, rate_hz, report), PAGE_SAMPLES * 1e6 / rate_hz, report)
    while chunk := list(islice(pages, PIECE_PAGES)):
        step = np.array([step for _, step in chunk])  # [pages], microseconds
        within = np.rint(step[:, None] * np.arange(PAGE_SAMPLES)).astype(np.int64)
        time = (np.array([page.time for page, _ in chunk])[:, None] + within).ravel()
        acceleration, light = _decoded([page.samples for page, _ in chunk], header, rate_hz, decoder)
        celsius, volt = (np.float32([page[at] for page, _ in chunk]).repeat(PAGE_SAMPLES) for at in (2, 3))
        report.add(time, rate_hz)
        yield Piece(time, acceleration, temperature=celsius, light=light, battery=volt)
    if not report.samples:
        raise ValueError(f"{path}: none of {report.blocks} pages is whole, the file is damaged: copy it again")


def _pages(path: Path, rate_hz: float, report: Report) -> Iterator[_Page]:
    """The whole pages in file order; the others are counted."""
    for text in _texts(path):
        report.blocks += 1
        found = _PAGE.fullmatch(text)
        time = found and _time_us(found)
        if not time:
            report.bad("damaged page")
        elif abs(float(found["hz"]) / rate_hz - 1) > 1e-3:
            report.bad("page of another rate")
        elif not found["samples"].strip(b"0"):
            report.bad("page of zeros")
        else:
            yield _Page(int(found["number"]), time, float(found["celsius"]), float(found["volt"]), found["samples"])


def _texts(path: Path) -> Iterator[bytes]:
    """What stands behind each mark of a page."""
    with open(path, "rb") as file:
        kept = file.read(LONGEST_HEADER).partition(MARK)[2]
        while block := file.read(READ_BYTES):
            *whole, kept = (kept + block).split(MARK)
            yield from whole
    yield from kept.split(MARK)


def _time_us(found: re.Match[bytes]) -> int | None:
    """Microseconds since 1970; None of the 31st of February."""
    day, clock, ms = (found[part].decode() for part in ("day", "clock", "ms"))
    try:
        return int(np.datetime64(f"{day}T{clock}.{ms}", "us").astype(np.int64))
    except ValueError:
        return None


def _in_order(pages: Iterator[_Page], duration: float, report: Report) -> Iterator[tuple[_Page, float]]:
    """The pages that come after those before, and the microseconds between their samples.

    A page whose number or time contradicts both neighbours, which agree, is damaged: followed, it would hide all the
    pages up to its wrong time.
    """

    def jump(a: _Page, b: _Page) -> float:
        """By how much more than the pages between them b is later than a; 0 if that is within the tolerance."""
        count = max(b.number - a.number, 1)
        found = b.time - a.time - count * duration
        return found if abs(found) > TOLERANCE * count * duration else 0.0

    previous, last = None, None
    for page, following in pairwise(chain(pages, [None])):
        if previous and page.time <= last:
            report.bad("page time not increasing")
            continue
        if previous and following and jump(previous, page) and not jump(previous, following):
            report.bad("page with a wrong number or time")
            continue
        if previous and (by := jump(previous, page)):
            report.clock_jumps += 1
            report.largest_jump_s = max(report.largest_jump_s, by / 1e6, key=abs)
        step = duration / PAGE_SAMPLES
        if following and abs((following.time - page.time) / duration - 1) <= TOLERANCE:
            step = (following.time - page.time) / PAGE_SAMPLES
        previous, last = page, page.time + round((PAGE_SAMPLES - 1) * step)
        yield page, step


def _decoded(samples: Sequence[bytes], header: str, rate_hz: float, decoder) -> tuple[np.ndarray, np.ndarray]:
    """Acceleration float32 [N, 3], g, and light float32 [N], lux."""
    # Of all lines of the header only this one does not fit the copy.
    lines = [re.sub(rf"^{PAGES}:.*$", f"{PAGES}:{len(samples)}", header, flags=re.MULTILINE)]
    page = (
        "Recorded Data\nDevice Unique Serial Code:0\nSequence Number:{}\nPage Time:2000-01-01 00:00:00:000\n"
        f"Unassigned:\nTemperature:0\nBattery voltage:4\nDevice Status:Recording\n{FREQUENCY}:"
        f"{rate_hz:g}\n{{}}"
    )
    lines += [page.format(number, digits.decode()) for number, digits in enumerate(samples)]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of times without a zone
        file = Path(folder) / "pages.bin"
        file.write_text("\n".join(lines) + "\n", encoding="latin-1")
        found = decoder().predict(file=file)
    return found["accel"].astype(np.float32), found["light"].astype(np.float32)
