"""What every job's command line shares: parsers, one-sentence errors and exit codes. Never imports jax."""

import os
import sys
from collections.abc import Callable

from launch.arguments import Parser, nearest
from launch.config_line import config_flags

__all__ = ["Parser", "config_flags", "nearest", "run_job"]

USER_MISTAKE = 2  # the exit code argparse uses as well
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run_job(job: str, function: Callable[[], int | None]) -> int:
    """Exit code of `function()`: its own, 0 for None, or 2 after `selfpab <job>: error: ...` on stderr.

    ValueError and OSError (a missing file, an existing folder, a full disk) count as mistakes of the caller
    and show no traceback unless SELFPAB_DEBUG=1. Any other exception is a defect and passes through.
    """
    try:
        return function() or 0
    except (ValueError, OSError) as error:
        if os.environ.get("SELFPAB_DEBUG") == "1":
            raise
        print(f"selfpab {job}: error: {_sentence(error)}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print(f"selfpab {job}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _sentence(error: ValueError | OSError) -> str:
    """One line that says what went wrong; an error of the operating system as `file: reason`."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
