"""Processes side by side: their output, the signals that reach them, how one's failure ends all, and no leftovers."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from launch import local
from launch.cluster import Place, _reach

PROJECT = Path(__file__).resolve().parents[2]

# Each command is `python -c CODE i`; a file named after its number and its process's tells that it is ready.
READY = "import os, pathlib, signal, sys, time; pathlib.Path(f'ready{sys.argv[1]}-{os.getpid()}').touch()\n"
SLEEP = READY + "time.sleep(60)"
SAVE = (
    "import os, pathlib, signal, sys, time\n"
    "stop = []\n"
    "for n in (signal.SIGTERM, signal.SIGINT): signal.signal(n, lambda n, _: stop.append(n))\n"
    + READY
    + "while not stop: time.sleep(0.02)\n"
    "print('saved after', signal.Signals(stop[0]).name, len(stop)); sys.exit(75)"
)
SLOW = SAVE.replace("print(", "time.sleep(0.3); print(")
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP


def others_are_ready(count: int, then: str) -> str:
    """Code that waits for the files of `count` other processes before it does `then`."""
    return (
        "import os, pathlib, signal, sys, time\n"
        f"while len(list(pathlib.Path('.').glob('ready*-*'))) < {count}: time.sleep(0.02)\n{then}"
    )


@pytest.fixture
def launcher(tmp_path):
    """codes, grace -> a started launcher of these programs, in `tmp_path`, and killed with all it left at the end."""
    started = []

    def start(*codes: str, grace: float = 20, **streams) -> subprocess.Popen:
        commands = [[sys.executable, "-c", code, str(i)] for i, code in enumerate(codes)]
        program = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n"
        program += f"from launch.children import run\nsys.exit(run({commands!r}, {grace}))"
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        started.append(subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, text=True, **streams))
        return started[-1]

    yield start
    for process in [p.pid for p in started if p.poll() is None] + pids(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def pids(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in folder.glob("ready*-*")]


def wait_until(condition, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(process: int) -> bool:
    """Whether the process runs; a dead one that nobody has waited for yet does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_lines_begin_with_the_number_and_keep_their_stream(launcher):
    code = "import sys; print('out'); print('err', sys.argv[1], file=sys.stderr); print('no end', end='')"
    child = launcher(code, code)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0
    assert sorted(out.splitlines()) == ["[0] no end", "[0] out", "[1] no end", "[1] out"]
    assert sorted(err.splitlines()) == ["[0] err 0", "[1] err 1"]


def test_process_0_draws_its_bar_on_the_terminal(launcher):
    code = "import os; os.write(2, b'%r \\rbar\\r' % os.isatty(2))"
    terminal, its_end = pty.openpty()
    child = launcher(code, code, stderr=its_end)
    os.close(its_end)
    shown = b"".join(iter(partial(_read_terminal, terminal), b"")).replace(b"\r", b"|")
    os.close(terminal)
    child.communicate(timeout=20)
    assert b"True |bar|" in shown
    of_1 = shown.replace(b"True |bar|", b"")  # which may come between the lines of the other
    assert of_1 == b"[1] False |[1] bar|"


def _read_terminal(terminal: int) -> bytes:
    """What has been written to a terminal; b"" once all that could write have ended, where Linux raises."""
    with contextlib.suppress(OSError):
        return os.read(terminal, 1000)
    return b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_all_and_75_stays_75(launcher, tmp_path, number):
    child = launcher(SAVE, SLOW)  # the end of the first is no reason to signal the second again
    wait_until(lambda: len(pids(tmp_path)) == 2)
    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 75
    assert sorted(out.splitlines()) == [f"[{i}] saved after {number.name} 1" for i in (0, 1)]
    assert "ended with status 75\n" in err


def test_one_that_fails_stops_the_others_and_names_the_status(launcher, tmp_path):
    child = launcher(SAVE, others_are_ready(1, "sys.exit(3)"))
    out, err = child.communicate(timeout=20)
    assert child.returncode == 3
    assert err == "selfpab local: process 1 ended with status 3; stopping the others\n"
    assert out == "[0] saved after SIGTERM 1\n"


def test_a_killed_one_gives_128_plus_the_signal_and_who_does_not_stop_is_killed(launcher, tmp_path):
    child = launcher(STUBBORN, others_are_ready(1, "os.kill(os.getpid(), signal.SIGKILL)"), grace=0.2)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 137
    assert "process 1 was ended by SIGKILL" in err
    assert "process 0 did not stop within 0.2 s: killed" in err
    assert not any(map(alive, pids(tmp_path)))


def test_what_a_command_has_started_ends_with_it(launcher, tmp_path):
    grandchild = f"import subprocess; subprocess.Popen([sys.executable, '-c', {SLEEP!r}, 'child'])\n"
    child = launcher("import sys\n" + grandchild + others_are_ready(1, "sys.exit(0)"))
    child.communicate(timeout=20)
    assert child.returncode == 0
    wait_until(lambda: not any(map(alive, pids(tmp_path))))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_nothing_outlives_a_killed_launcher(launcher, tmp_path):
    child = launcher(STUBBORN, STUBBORN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(pids(tmp_path)) == 2)
    assert all(map(alive, pids(tmp_path)))
    child.kill()
    child.wait()
    wait_until(lambda: not any(map(alive, pids(tmp_path))))


@pytest.fixture
def commands(monkeypatch) -> list:
    """What the job would have run: (commands, grace, environment)."""
    seen = []
    monkeypatch.setattr(local, "run", lambda *arguments: seen.append(arguments) or 0)
    return seen


def test_each_process_is_told_its_place_and_its_devices(commands, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_force_host_platform_device_count=4 --xla_b=2")
    assert local.main(["--processes", "2", "--devices=3", "pretrain", "--config=c", "--processes=x"]) == 0
    [(both, grace, environ)] = commands
    assert [command[1:6] for command in both] == [["-m", "launch", "pretrain", "--config=c", "--processes=x"]] * 2
    where = both[0][6]
    assert where.startswith("--coordinator=127.0.0.1:")
    assert [command[6:] for command in both] == [[where, "--processes=2", f"--process={i}"] for i in (0, 1)]
    assert grace == 60
    assert environ["XLA_FLAGS"].split() == ["--xla_a=1", "--xla_b=2", "--xla_force_host_platform_device_count=3"]


def test_the_port_is_kept_for_process_0():
    with local._port() as port:
        _reach(Place(f"127.0.0.1:{port}", 2, 0, None, "flags"), 0)  # finds it free
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--processes=0", "pretrain"], "--processes: found 0, expected 1 or more"),
        (["--processes=2", "--devices=0", "pretrain"], "--devices: found 0"),
        (["pretrain"], "--processes"),
        (["--processes=2"], "expected pretrain, which several processes"),
        (
            ["--processes=2", "pretrian"],
            "'pretrian' after the flags, expected pretrain, which several processes do together; did you mean",
        ),
        (["--proceses=2", "pretrain"], "did you mean --processes?"),
    ],
)
def test_mistakes_are_one_sentence(argv, words, commands, capsys):
    assert local.main(argv) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not commands
