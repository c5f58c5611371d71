"""Soak: two processes killed again and again, a full disk, ever fewer devices; nothing is lost or stays behind."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from selfpab_jax.train.metrics import read_metrics

pytestmark = pytest.mark.slow

ROUNDS = 30
STEPS = 48
FIELDS = (f"train.steps={STEPS}", "train.log_every=2", "train.valid_every=12", "train.save_every=3", "model.layers=1")
ROWS = 8  # of a global batch


def children(process: int) -> list[int]:
    """Processes started by a process."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []


def runs_still(process: int) -> bool:
    """Whether it runs; a dead one that nobody has waited for yet does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Soak:
    """Kills of one run after the other, and how long they took."""

    def __init__(self, runs, draw: random.Random):
        self.runs, self.draw = runs, draw
        self.rounds, self.hits, self.resumes, self.to_end, self.to_restart = 0, {}, 0, [], []

    def kill_once(self, name: str) -> bool:
        """Starts or resumes a run and kills one of its processes at some moment; False if it ended before."""
        before, began = len(self.runs.batches(name)), time.monotonic()
        launcher = self.runs.start(name, "--resume")
        steps = 0 if self.draw.random() < 0.2 else self.draw.randint(1, STEPS // 4)
        wait_until(lambda: len(children(launcher.pid)) == 2 or launcher.poll() is not None, 20)
        both = children(launcher.pid)
        found = lambda: len(self.runs.batches(name)) - before  # noqa: E731
        wait_until(lambda: launcher.poll() is not None or found() > 0 or not steps, 120)
        if found():
            self.to_restart.append(time.monotonic() - began)
            self.resumes += before > 0
        wait_until(lambda: launcher.poll() is not None or found() >= ROWS * steps, 120)
        time.sleep(self.draw.random() * (0.5 if steps else 6))
        who = self.draw.choice(["process 0", "process 1", "process 0", "process 1", "launcher"])
        victim = {"launcher": launcher.pid, "process 0": both[0], "process 1": both[1]}[who]
        hit = launcher.poll() is None and runs_still(victim)
        if hit:
            os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        status = launcher.wait(timeout=120)
        wait_until(lambda: not any(map(runs_still, both)), 30)
        self.to_end.append(time.monotonic() - killed)
        self.rounds += 1
        if hit:
            self.hits[who] = self.hits.get(who, 0) + 1
        print(
            f"round {self.rounds}, {name}: {who} {hit}, status {status}, ended {self.to_end[-1]:.1f} s later",
            flush=True,
        )
        assert status == (0 if not hit else -9 if who == "launcher" else 137) or status == 0, self.runs.said(name)
        return status != 0


def test_kill_9_of_any_process(short, tmp_path, runs_in):
    runs = runs_in(tmp_path, short, FIELDS, devices=1, processes=2)
    shared_before = set(os.listdir("/dev/shm"))
    runs.finish("undisturbed")
    soak, name = Soak(runs, random.Random(7)), "disturbed-0"
    ended = 0
    while soak.rounds < ROUNDS:
        if not soak.kill_once(name):
            check_end(runs, name)
            ended += 1
            name = f"disturbed-{ended}"
    runs.finish(name, "--resume")
    check_end(runs, name)
    assert set(os.listdir("/dev/shm")) <= shared_before
    print(
        f"{soak.rounds} rounds, {sum(soak.hits.values())} kills of a running process {soak.hits}, {soak.resumes} "
        f"resumes with steps, {ended + 1} runs bit-equal; from the kill to the end of all at most "
        f"{max(soak.to_end):.1f} s, from a start to its first step at most {max(soak.to_restart):.1f} s"
    )
    assert sum(soak.hits.values()) >= ROUNDS * 0.8


def check_end(runs, name: str) -> None:
    assert runs.digest(name) == runs.digest("undisturbed")
    assert runs.rows(name) == runs.rows("undisturbed")
    assert set(runs.batches(name)) == set(runs.batches("undisturbed"))
    left = [path for path in (runs.folder / name).rglob("*") if any(word in path.name for word in ("tmp", ".partial"))]
    assert left == []


def test_on_eight_devices_then_two_then_one(short, tmp_path, runs_in, agree):
    """Stopped twice and resumed on another mesh, fully sharded or not."""
    fields = ("model.layers=1", "optimizer.eps=1e-4", "train.log_every=1", "train.valid_every=99", "train.steps=40")
    alone = runs_in(tmp_path, short, fields)
    alone.finish("undisturbed")
    for devices, stop_at in ((8, 6), (2, 12), (1, None)):
        runs = runs_in(tmp_path, short, (*fields, "mesh.data=1", f"mesh.fsdp={devices}"), devices=devices)
        child = runs.start("moved", "--resume")
        if stop_at:
            wait_until(lambda at=ROWS * stop_at: len(alone.batches("moved")) >= at, 120)
            child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=120) == (75 if stop_at else 0), runs.said("moved")
        assert f"parameters on {devices} device(s)" in runs.said("moved")
    assert runs.batches("moved") == runs.batches("undisturbed")  # each once, in order
    losses = [
        [row["train/loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl") if "train/loss" in row]
        for name in ("moved", "undisturbed")
    ]
    assert len(losses[0]) == 40
    agree("losses on 8, 2 and 1 devices", *losses, 1e-5)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    disk = tmp_path / "run"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system here: {error}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_costs_nothing_that_was_saved(short, tmp_path, small_disk, runs_in, processes):
    runs = runs_in(tmp_path, short, FIELDS, devices=1, processes=processes)
    runs.finish("undisturbed")
    child = runs.start("run")  # its traces lie beside the small disk
    wait_until(lambda: (small_disk / "checkpoints" / "6").exists() or child.poll() is not None, 120)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    began = time.monotonic()
    status = child.wait(timeout=120)
    said = runs.said("run")
    print(f"{processes} process(es): status {status} after {time.monotonic() - began:.1f} s:\n{said}")
    errors = [line for line in said.splitlines() if "selfpab pretrain: error:" in line]  # Orbax's threads say more
    assert status == 1 and len(errors) == processes
    assert any(f"{small_disk}/" in line and "No space left" in line for line in errors)
    filler.unlink()
    runs.finish("run", "--resume")
    assert runs.digest("run") == runs.digest("undisturbed")
    assert runs.rows("run") == runs.rows("undisturbed")
