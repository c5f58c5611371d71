"""Who writes to a prepared folder: a lock on the folder itself, which vanishes with the process and leaves no file."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(out: Path, *, shared: bool = False, patience_s: float = 0.3) -> Iterator[int]:
    """Holds the lock on the folder; yields its handle.

    Where the file system knows no locks (some clusters') there is none.

    Args:
      shared: with others who say so too.
      patience_s: how long to wait for those who do not; `in_use` may hold it for an instant.

    Raises:
      OSError: another process holds it.
    """
    handle = os.open(out, os.O_RDONLY)
    try:
        end = time.monotonic() + patience_s
        while not lock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() >= end:
                raise OSError(f"{out} is being written by another process: wait for it or choose another --out")
            time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)


def lock(handle: int, kind: int) -> bool:
    """False where another process keeps a lock of this kind (fcntl.LOCK_SH, LOCK_EX) from the handle."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            raise
    return True


def in_use(folder: Path) -> bool:
    """Whether another process holds the lock, alone or shared with others; False where there is no such folder.

    It is taken for an instant where nobody has it. Held by others it is not touched: to share theirs, even for an
    instant, could keep the last one from having it alone.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return not lock(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)
