"""Times that files write as text, `2014-05-07 13:29:50.430+0100 [Europe/London]`, as microseconds of a local clock."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.readers.checks import row_text

EXPECTED = "a time like 2014-05-07 13:29:50.430"
_SLASHED = re.compile(r"\d{1,4}[./]\d{1,2}[./]\d{1,4}\b")
_ZONE = r" *(?P<zone>[+-]\d\d:?\d\d|Z)?(?: *\[.*\])?$"


def clock_us(
    text: pa.StringArray, path: Path, first_row: int, header_lines: int = 1, column: str = "time"
) -> tuple[np.ndarray, np.ndarray]:
    """Local clock and its zone, both int64 [N] in microseconds; 0 where there is no zone.

    Args:
      text: at least one `YYYY-MM-DD HH:MM:SS[.f]`, a zone may follow; none missing.
      path: the file, for the error, as the following.
      first_row: the file's row that the first of `text` is; data rows count from 0.
      header_lines: lines before the data.
      column: name of the column.

    Raises:
      ValueError: naming the first row that holds no time.
    """
    last = re.search(_ZONE, text[0].as_py())
    if pc.all(pc.ends_with(text, last[0])).as_py():  # a tenth of the time that the pattern takes
        clock = pc.utf8_slice_codeunits(text, 0, -len(last[0])) if last[0] else text
        zone = np.full(len(text), _zone_us(last["zone"] or ""))
    else:
        found = pc.extract_regex(text, "(?s)^(?P<clock>.*?)" + _ZONE)
        clock = found.field("clock")
        zones = found.field("zone").dictionary_encode()
        zone = np.array([_zone_us(z) for z in zones.dictionary.to_pylist()])[zones.indices.to_numpy()]
    try:
        # By way of nanoseconds, which a file may write.
        return clock.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy() // 1000, zone
    except pa.ArrowInvalid as error:
        row = next(i for i, cell in enumerate(clock) if not _is_time(cell))
        found = text[row].as_py()[:40]
        advice = ": write dates as year-month-day" if _SLASHED.match(found) else ""
        raise ValueError(
            f"{path}: {column} of {row_text(first_row + row, header_lines)} is {found!r}, expected {EXPECTED}{advice}"
        ) from error


def has_zone(text: str) -> bool:
    """Whether a zone follows the time."""
    return re.search(_ZONE, text)["zone"] is not None


def _is_time(cell: pa.StringScalar) -> bool:
    try:
        return cell.cast(pa.timestamp("ns")).is_valid
    except pa.ArrowInvalid:
        return False


def _zone_us(zone: str) -> int:
    """Microseconds that a zone such as +0100 or +01:00 is ahead of UTC; 0 of Z and of an empty one."""
    if zone in ("", "Z"):
        return 0
    digits = zone[1:].replace(":", "")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 60 + int(digits[2:])) * 60_000_000
