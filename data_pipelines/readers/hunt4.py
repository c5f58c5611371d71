"""Reader of HUNT4's layout: `<subject>/<YYYY-MM-DD_HH>.npz`, one unlabelled 5-minute snippet per hour.

A subject's snippets make one recording, with the 55 minutes between them as gaps: a shard per person instead
of one per snippet keeps the number of files in the tens of thousands for a million snippets.
"""

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from data_pipelines.contract import Recording
from data_pipelines.readers.checks import STEP_US, check_finite, check_unit
from selfpab_jax.signals.stft import CHANNELS, WINDOW_SAMPLES

KEY = "arr_0"
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})_(\d{2})")
LISTED = 5  # broken files named in one error; a bad disk can break thousands


def subject_folders(folder: str | Path) -> dict[str, Path]:
    """Subject -> folder in order of the subjects; a `.7z` at the end of a folder's name is not part of it.

    Raises:
      ValueError: two folders of one subject.
    """
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        subject = path.name.removesuffix(".7z")
        if subject in found:
            raise ValueError(f"{folder}: {found[subject].name} and {path.name} name the same subject, keep one of them")
        found[subject] = path
    return dict(sorted(found.items()))


def snippet_files(folder: str | Path) -> list[Path]:
    """The npz files of one subject in order of time."""
    return sorted(path for path in Path(folder).glob("*.npz") if not path.name.startswith("."))


def read(folder: str | Path) -> Recording:
    """All snippets of one subject, the first 15,000 rows of each, in order of time and without labels.

    Args:
      folder: one subject's folder with files `YYYY-MM-DD_HH.npz`, key arr_0, [>=15000, >=6] in g at 50 Hz, columns
        in the order of `CHANNELS`; further rows and columns are ignored. Or a single one of these files.

    Raises:
      ValueError: one sentence per broken file (the first five), naming it.
    """
    folder = Path(folder)
    files = [folder] if folder.is_file() else snippet_files(folder)
    if not files:
        raise ValueError(f"{folder}: holds no .npz file, expected files like 2018-03-14_09.npz")
    snippets, starts, problems = [], [], []
    for path in files:
        try:
            starts.append(_start_us(path))
            snippets.append(_snippet(path))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        more = f"; and {len(problems) - LISTED} more files" if len(problems) > LISTED else ""
        raise ValueError("; ".join(problems[:LISTED]) + more)
    offsets = np.arange(WINDOW_SAMPLES, dtype=np.int64) * STEP_US
    time = (np.asarray(starts, np.int64)[:, None] + offsets).reshape(-1)  # [N * 15000]
    subject = (folder.parent if folder.is_file() else folder).name.removesuffix(".7z")
    return Recording(subject, subject, np.concatenate(snippets), time)


def _start_us(path: Path) -> int:
    """Microseconds since 1970 of the hour in the file's name."""
    named = _NAME.fullmatch(path.stem)
    try:
        if not named:
            raise ValueError
        return int(np.datetime64(f"{named[1]}T{named[2]}", "us").astype(np.int64))
    except ValueError:
        raise ValueError(f"{path}: the name is no date and hour, expected YYYY-MM-DD_HH.npz") from None


def _snippet(path: Path) -> np.ndarray:
    """float32 [15000, 6] in g; never unpickles."""
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{KEY}.npy" not in archive.namelist():
                held = ", ".join(archive.namelist()[:5]) or "nothing"
                raise ValueError(f"holds {held}, expected the key {KEY}")
            with archive.open(f"{KEY}.npy") as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
        if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[0] < WINDOW_SAMPLES or array.shape[1] < 6:
            raise ValueError(
                f"{KEY} is {array.dtype} {list(array.shape)}, expected numbers of shape [>=15000, >=6]: 5 "
                "minutes of 6 channels"
            )
    except ValueError as error:
        what = "holds Python objects, which are never unpickled" if "Object arrays" in str(error) else error
        raise ValueError(f"{path}: {what}") from error
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a readable npz file ({error}): copy it again or remove it") from error
    snippet = array[:WINDOW_SAMPLES, : len(CHANNELS)].astype(np.float32)
    check_finite(snippet, str(path), CHANNELS)
    check_unit(snippet, str(path), CHANNELS)
    return snippet
