"""Commands run side by side: their output line by line, their signals, and their end."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO

# Linux kills a child with its parent where the child asks for it (1 is PR_SET_PDEATHSIG, 9 SIGKILL), so that none
# outlives even a killed parent; one gone before the child could ask is known by its number.
UNTIL_PARENT_ENDS = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
POLL_S = 0.05


def run(commands: Sequence[Sequence[str]], grace_s: float, environ: Mapping[str, str] = os.environ) -> int:
    """Exit status of all: 0, or that of the first command that failed, 128 + n where signal n ended it.

    SIGTERM and SIGINT are passed on. When one fails, the others get SIGTERM, and SIGKILL `grace_s` seconds later. Each
    line of output begins with the number of its command, except what the first writes to a terminal's stderr: its
    progress bar is drawn there.
    """
    received: list[int] = []
    before = {n: signal.signal(n, lambda n, _: received.append(n)) for n in (signal.SIGTERM, signal.SIGINT)}
    children: list[subprocess.Popen] = []
    readers: list[threading.Thread] = []
    try:
        for i, command in enumerate(commands):
            children.append(_start(i, command, environ))
            for pipe, to in ((children[i].stdout, 1), (children[i].stderr, 2)):
                if pipe:
                    readers.append(threading.Thread(target=_copy, args=(pipe, to, f"[{i}] ".encode()), daemon=True))
                    readers[-1].start()
        return _wait(children, received, grace_s)
    finally:
        _signal([child for child in children if child.poll() is None], signal.SIGKILL)
        for child in children:
            child.wait()
        for reader in readers:
            reader.join(timeout=5)
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(i: int, command: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen:
    wrapped = [sys.executable, "-I", "-S", "-c", UNTIL_PARENT_ENDS, str(os.getpid()), *command]
    return subprocess.Popen(
        wrapped,
        env={**environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if i == 0 and sys.stderr.isatty() else subprocess.PIPE,
        start_new_session=True,  # the terminal's Ctrl-C comes through us, once
    )


def _wait(children: Sequence[subprocess.Popen], received: list[int], grace_s: float) -> int:
    """The exit status of all, once all have ended."""
    running, status, asked, kill_at = dict(enumerate(children)), 0, False, float("inf")
    while running:
        while received:
            _signal(running.values(), received.pop(0))
            asked = True
        for i in [i for i, child in running.items() if child.poll() is not None]:
            _signal([running[i]], signal.SIGKILL)  # what it started and left behind; its number is not yet another's
            code = running.pop(i).returncode
            if code == 0 or status:
                continue
            status, kill_at = (code if code > 0 else 128 - code), time.monotonic() + grace_s
            how = f"ended with status {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
            _say(f"process {i} {how}" + ("; stopping the others" if running and not asked else ""))
            if not asked:
                _signal(running.values(), signal.SIGTERM)
        if running and time.monotonic() > kill_at:
            _say(f"process {', '.join(map(str, running))} did not stop within {grace_s:g} s: killed")
            _signal(running.values(), signal.SIGKILL)
            kill_at = float("inf")
        time.sleep(POLL_S)
    return status


def _say(what: str) -> None:
    print(f"selfpab local: {what}", file=sys.stderr, flush=True)


def _signal(children, number: int) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)


def _copy(pipe: BinaryIO, to: int, prefix: bytes) -> None:
    """Writes each line of the pipe behind the prefix to a file descriptor; a bar's \\r ends a line too."""
    rest = b""
    while chunk := os.read(pipe.fileno(), 65536):
        *lines, rest = re.split(rb"(?<=[\r\n])", rest + chunk)
        _write(to, [prefix + line if line.strip(b"\r\n") else line for line in lines])
    if rest:
        _write(to, [prefix + rest + b"\n"])


def _write(to: int, lines: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # a reader that has gone, as `| head`, must not stall the commands
        for line in lines:
            os.write(to, line)
