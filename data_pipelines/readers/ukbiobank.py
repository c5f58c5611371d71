"""Reader of the csv files with a participant's week at the wrist that the UK Biobank accelerometer tool writes.

`<eid>_90001_0_0.csv` or `.csv.gz` with the columns time, x, y, z; 100 Hz as a rule. Times are local, and may carry
their zone: `2014-05-07 13:29:50.430+0100 [Europe/London]`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_pipelines.contract import Recording, channels_of
from data_pipelines.readers.checks import check_finite, check_increasing, check_unit
from data_pipelines.readers.clock_text import EXPECTED as TIME
from data_pipelines.readers.clock_text import clock_us
from data_pipelines.readers.csv_columns import check_complete, read_header, what_is_wrong

ENDINGS = (".csv", ".csv.gz")
CHANNELS = channels_of(("wrist",))
LOWEST_HZ, HIGHEST_HZ = 20, 200
FEWEST_ROWS = 100  # 1 s; fewer do not show a rate
# The time is read as text, a few megabytes at once: a week of it takes 3 GB.
TYPES = {"time": pa.string(), "x": pa.float32(), "y": pa.float32(), "z": pa.float32()}
BLOCK_BYTES = 1 << 23
EXPECTED = {"time": TIME}


def recording_files(folder: str | Path, endings: tuple[str, ...] = ENDINGS) -> dict[str, Path]:
    """Name -> csv or csv.gz file in order of the names; a file's name up to its first dot is the recording's.

    Args:
      endings: of the files' names.

    Raises:
      ValueError: two files of one name, such as a packed and an unpacked one.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if not path.name.endswith(endings) or path.name.startswith(".") or not path.is_file():
            continue
        name = _name(path)
        if name in found:
            raise ValueError(f"{folder}: {found[name].name} and {path.name} name the same recording, keep one of them")
        found[name] = path
    return dict(sorted(found.items()))


def read(path: str | Path) -> Recording:
    """The recording in a csv or csv.gz file, channels wrist_x .. wrist_z, without labels.

    Its rate is that of the steps between gaps, rounded to a whole Hz. Its clock is that of the first row: where a
    zone in the file shows summer time beginning or ending, the clock runs on.

    Args:
      path: a file with the columns time (`YYYY-MM-DD HH:MM:SS[.f]`, a zone may follow) and x, y, z (g); others are
        ignored. What comes before the first underscore of its name is the participant.

    Raises:
      ValueError: one sentence naming file and row, for anything that does not fit the layout.
      FileNotFoundError: no such file.
    """
    path = Path(path)
    header = read_header(path, list(TYPES))
    acceleration, time, rows, first_zone = [], [], 0, 0
    for batch in _batches(path, header):
        check_complete(batch, path, rows)
        acceleration.append(np.stack([batch[axis].to_numpy() for axis in "xyz"], axis=1))  # [N, 3]
        clock, zone = clock_us(batch["time"], path, rows)
        first_zone = zone[0] if rows == 0 else first_zone
        time.append(clock - (zone - first_zone))
        rows += len(batch)
    if rows < FEWEST_ROWS:
        raise ValueError(f"{path}: only {rows} rows, expected at least {FEWEST_ROWS} (1 s at 100 Hz)")
    signal, clock = np.concatenate(acceleration), np.concatenate(time)  # [S, 3], [S]
    del acceleration, time  # a week takes more than a gigabyte
    check_finite(signal, str(path), CHANNELS)
    check_increasing(clock, str(path))
    check_unit(signal, str(path), CHANNELS)
    name = _name(path)
    return Recording(participant(name), name, signal, clock, channels=CHANNELS, rate_hz=_rate_hz(clock, path))


def participant(name: str) -> str:
    """Who is recorded in a recording of this name."""
    return name.split("_")[0]


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _batches(path: Path, header: list[str]) -> Iterator[pa.RecordBatch]:
    """The columns of TYPES in pieces; by one thread, as only then Arrow counts rows."""
    try:
        yield from pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            convert_options=pyarrow.csv.ConvertOptions(column_types=TYPES, include_columns=list(TYPES)),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {what_is_wrong(str(error), header, EXPECTED)}") from error
    except FileNotFoundError:
        raise
    except OSError as error:  # what Arrow says of gzip data that do not fit
        raise ValueError(f"{path}: cannot be unpacked ({error}): copy it again") from error


def _rate_hz(time: np.ndarray, path: Path) -> int:
    """Whole samples a second of the steps that are no gaps; ValueError outside 20 to 200."""
    step = np.diff(time)
    median = float(np.median(step))
    # The mean step, as a clock in milliseconds shows 6 and 7 ms at 150 Hz, never 6.67.
    rate = round(1e6 / float(step[step < 1.5 * median].mean()))
    if not LOWEST_HZ <= rate <= HIGHEST_HZ:
        raise ValueError(
            f"{path}: the sampling rate is {1e6 / median:.4g} Hz (median step {median / 1000:g} ms from row 1 on), "
            f"expected {LOWEST_HZ} to {HIGHEST_HZ} Hz: these are no raw accelerations, export them again"
        )
    return rate
