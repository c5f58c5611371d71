"""What every job's command line shares: parsers, one-sentence errors and exit codes. Never imports jax."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator

from launch.arguments import Parser, nearest
from launch.config_line import config_flags
from selfpab_jax.train.stop import RunFailed

__all__ = ["Parser", "config_flags", "nearest", "run_job", "sigterm_like_ctrl_c"]

FAILED = 1
USER_MISTAKE = 2  # the exit code argparse uses as well
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run_job(job: str, function: Callable[[], int | None]) -> int:
    """Exit code of `function()`: its own, 0 for None, 2 for a mistake of the caller, 1 for a run that failed.

    ValueError and OSError (a missing file, an existing folder, a full disk) count as mistakes of the caller. These
    and RunFailed show as `selfpab <job>: error: ...` on stderr, without a traceback unless SELFPAB_DEBUG=1. Any other
    exception is a defect and passes through. Warnings take one line each.
    """
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"selfpab {job}: warning: {message}", file=sys.stderr)
        try:
            return function() or 0
        except (ValueError, OSError, RunFailed) as error:
            if os.environ.get("SELFPAB_DEBUG") == "1":
                raise
            print(f"selfpab {job}: error: {_sentence(error)}", file=sys.stderr)
            return FAILED if isinstance(error, RunFailed) else USER_MISTAKE
        except KeyboardInterrupt:
            print(f"selfpab {job}: interrupted", file=sys.stderr)
            return INTERRUPTED


@contextlib.contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Inside, a termination signal raises KeyboardInterrupt, so that what is under way cleans up after itself."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _sentence(error: Exception) -> str:
    """One line that says what went wrong; an error of the operating system as `file: reason`."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    words = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in words)  # names come from files of any content
