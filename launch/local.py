"""`selfpab local`: several processes of one job on this machine, as if on several hosts."""

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from launch.children import run
from launch.command_line import Parser, nearest, run_job

SHARED = ("pretrain",)  # jobs that take the flags of launch/cluster.py
DESCRIPTION = (
    "Runs N processes of a job (pretrain) on this machine, each told where the others are; one that fails stops all."
)
COUNT = "--xla_force_host_platform_device_count"


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 where all processes ended with 0, else that of the first that did not."""
    return run_job("local", partial(_local, sys.argv[1:] if argv is None else argv))


def _local(argv: list[str]) -> int:
    usage = "selfpab local --processes=N [--devices=D] [--grace=SECONDS] JOB [flags of the job]"
    parser = Parser("local", DESCRIPTION, usage=usage)
    parser.add_argument("--processes", type=int, required=True, metavar="N", help="how many processes")
    parser.add_argument("--devices", type=int, metavar="D", help="virtual CPU devices of each process")
    grace = "what the others get to save and stop when one has failed (default: %(default)s)"
    parser.add_argument("--grace", type=float, default=60, metavar="SECONDS", help=grace)
    own = next((i for i, word in enumerate(argv) if _names_job(argv[:i], word)), len(argv))
    flags, (job, *rest) = parser.parse_args(argv[:own]), argv[own:] or [""]
    for name in ("processes", "devices"):
        if (value := vars(flags)[name]) is not None and value < 1:
            raise ValueError(f"--{name}: found {value}, expected 1 or more")
    if job not in SHARED:
        expected = f"expected {' or '.join(SHARED)}, which several processes do together"
        raise ValueError(f"found {job!r} after the flags, {expected}{nearest(job, SHARED)}")
    environ = dict(os.environ)
    if flags.devices:
        others = re.sub(rf"{COUNT}(=\S*)?", "", environ.get("XLA_FLAGS", ""))
        environ["XLA_FLAGS"] = f"{others} {COUNT}={flags.devices}".strip()
    with _port() as port:
        given = [sys.executable, "-m", "launch", job, *rest, f"--coordinator=127.0.0.1:{port}"]
        numbers = range(flags.processes)
        return run([[*given, f"--processes={len(numbers)}", f"--process={i}"] for i in numbers], flags.grace, environ)


def _names_job(before: Sequence[str], word: str) -> bool:
    return not word.startswith("-") and not (before and before[-1] in ("--processes", "--devices", "--grace"))


@contextlib.contextmanager
def _port() -> Iterator[int]:
    """A free port of 127.0.0.1, kept from everyone but a listener that shares it, as gRPC does."""
    with socket.socket() as kept:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            kept.setsockopt(socket.SOL_SOCKET, option, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


if __name__ == "__main__":
    raise SystemExit(main())
