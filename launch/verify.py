"""`selfpab verify`: reads a prepared folder again and compares it with its manifest. No jax in here."""

import sys
import warnings
from collections.abc import Sequence

from launch.command_line import Parser, run_job
from selfpab_jax.train.stop import RunFailed

DESCRIPTION = """Reads every file that the manifest of a prepared folder names, compares it with its checksum and counts
the records of every shard. Nothing is changed."""
LISTED = 20  # files named in one warning


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 where all files match, 1 where one is damaged or missing, 2 for a folder that is not prepared."""
    return run_job("verify", lambda: _verify(argv))


def _verify(argv: Sequence[str] | None) -> None:
    parser = Parser("verify", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="a folder that `selfpab prepare` or `selfpab ingest` has written")
    parser.add_argument("--workers", type=int, metavar="N", help="files read at a time (default: one per core)")
    flags = parser.parse_args(argv)
    from data_pipelines.verify import DamagedFiles, unnamed, verify

    others = unnamed(flags.folder)
    if others:
        more = f" and {len(others) - LISTED} more" if len(others) > LISTED else ""
        listed = ", ".join(others[:LISTED]) + more
        warnings.warn(f"{flags.folder} holds files that its manifest does not name: {listed}", stacklevel=1)
    try:
        files, size = verify(flags.folder, flags.workers, progress=True)
    except DamagedFiles as error:
        raise RunFailed(str(error)) from error
    print(f"{files:,} files, {size / 1e9:.2f} GB, all match")


if __name__ == "__main__":
    sys.exit(main())
