"""The published files of a data set: a folder given by hand, or the public archive, fetched by TFDS and unpacked here.

TFDS can fetch without TensorFlow, but not unpack.
"""

import shutil
import zipfile
import zlib
from pathlib import Path

import tensorflow_datasets as tfds


def source_folder(dl_manager: tfds.download.DownloadManager, url: str) -> Path:
    """The folder given by hand if there is one, else the unpacked public download.

    The archive's checksum is not pinned, as the publisher may repack it: the reader checks every row instead.

    Raises:
      OSError: the download failed, or is no zip archive.
    """
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS' way to say that the manual folder does not exist
        pass
    try:
        archive = Path(dl_manager.download(url))
    except Exception as error:  # of TFDS, of the HTTP library, of the file system
        raise OSError(_sentence(url, "cannot be downloaded", error)) from error
    try:
        return _unpacked(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        # Else this archive, and what TFDS noted on it, would be taken for the download the next time.
        archive.unlink()
        archive.with_name(archive.name + ".INFO").unlink(missing_ok=True)
        raise OSError(_sentence(url, "is no zip archive that can be unpacked", error)) from error


def _sentence(url: str, what: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {' '.join(str(error)[:200].split())}"
    return f"{url} {what} ({reason}): fetch the data by hand, unpack them, and give their folder"


def _unpacked(archive: Path) -> Path:
    """The folder beside a zip archive with its content; archives at its top are unpacked as well."""
    folder = archive.with_name(archive.name + ".unpacked")
    draft = archive.with_name(archive.name + ".partial")
    if folder.is_dir():
        return folder
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was stopped
    try:
        with zipfile.ZipFile(archive) as outer:
            outer.extractall(draft)
        for path in sorted(draft.glob("*.zip")):
            with zipfile.ZipFile(path) as inner:
                inner.extractall(draft)
            path.unlink()
        return draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
