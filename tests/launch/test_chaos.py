"""Chaos: runs interrupted by SIGKILL and SIGTERM at random moments end bit-equal to one that nothing disturbed."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfpab_jax.train.metrics import read_metrics

PROJECT = Path(__file__).resolve().parents[2]
STEPS = 24
SHAPE = (f"train.steps={STEPS}", "train.log_every=2", "train.valid_every=8", "train.save_every=3", "model.layers=1")

# The command with a witness: the hash of each batch goes to a file before the batch goes to the step. To take half the
# time it draws no pictures and goes without torch, which tensorboardX imports where there is one.
WITNESSED = """
import contextlib, hashlib, sys
sys.modules["torch"] = None
from data_pipelines import pipeline
from launch import pictures, pretrain

real = pipeline.train_batches

def witnessed(*args, start_step, **order):
    with open(sys.argv[1], "a", buffering=1) as file, real(*args, start_step=start_step, **order) as batches:
        for step, batch in enumerate(batches, start_step + 1):
            content = b"".join(batch[name].tobytes() for name in sorted(batch))
            file.write(f"{step} {hashlib.sha256(content).hexdigest()}\\n")
            yield batch

pipeline.train_batches = lambda *args, **order: contextlib.closing(witnessed(*args, **order))
pictures.draw = lambda *_: None
raise SystemExit(pretrain.main(sys.argv[2:]))
"""


class Runs:
    """Starts runs in a folder, with a number of virtual devices and compiled code on disk."""

    def __init__(self, prepared: Path, folder: Path, devices: int, optimize: bool):
        self.prepared, self.folder = prepared, folder
        self.environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": str(not optimize),
        }

    def start(self, name: str, *more: str) -> subprocess.Popen:
        """The run `name` as a process in a session of its own; its output goes to files beside its folder."""
        config = ["--config=configs/selfpab.py:smoke", f"--config.data.dir={self.prepared}"]
        argv = [*config, *(f"--config.{field}" for field in SHAPE), f"--workdir={self.folder / name}", *more]
        command = [sys.executable, "-c", WITNESSED, str(self.witness(name)), *argv]
        with self.said(name).open("w") as said:
            return subprocess.Popen(
                command, cwd=PROJECT, env=self.environment, stdout=said, stderr=said, start_new_session=True
            )

    def witness(self, name: str) -> Path:
        return self.folder / f"{name}.batches"

    def said(self, name: str) -> Path:
        return self.folder / f"{name}.said"

    def batches(self, name: str) -> list[tuple[int, str]]:
        """(step, hash of its batch), in the order handed out; a line cut short by a kill is left out."""
        file = self.witness(name)
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return [(int(line.split()[0]), line.split()[1]) for line in lines]

    def digest(self, name: str) -> str:
        """Hash of the final parameters, optimizer state and counters."""
        found = re.search(rf"step {STEPS}; state sha256 (\w+);", self.said(name).read_text())
        assert found, self.said(name).read_text()
        return found[1]

    def rows(self, name: str) -> list[tuple[int, str, float]]:
        """(step, kind, learning rate or validation loss) of every row of metrics.jsonl, in order."""
        wanted = ("train/learning_rate", "valid/loss")
        found = read_metrics(self.folder / name / "metrics.jsonl")
        return [(row["step"], kind, row[kind]) for row in found for kind in wanted if kind in row]

    def interrupt(self, name: str, number: int, draw: random.Random) -> bool:
        """Starts or resumes a run and sends it a signal at some moment; False if it ended before."""
        before = len(self.batches(name))
        child = self.start(name, "--resume")
        # One in four is hit while it starts; the others somewhere in the steps, saves and validations.
        steps = 0 if draw.random() < 0.25 else draw.randint(1, STEPS // 4)
        while child.poll() is None and len(self.batches(name)) < before + steps:
            time.sleep(0.01)
        time.sleep(draw.random() * (0.3 if steps else 3.0))
        sent = child.poll() is None
        if sent:
            child.send_signal(number)
        status = child.wait(timeout=120)
        # Before Python runs, SIGTERM ends it as it ends any program.
        expected = {signal.SIGKILL: (-9,), signal.SIGTERM: (75, -15)}[number] if sent else (0,)
        assert status in (*expected, 0), self.said(name).read_text()
        with pytest.raises(ProcessLookupError):
            os.killpg(child.pid, 0)  # no process of its session is left
        return status != 0


def check(runs: Runs, name: str, numbers: list[int], draw: random.Random) -> int:
    """Interrupts a run once with each signal and compares its end with the undisturbed run; how often it was hit."""
    hit = sum(runs.interrupt(name, number, draw) for number in numbers)
    assert runs.start(name, "--resume").wait(timeout=300) == 0, runs.said(name).read_text()
    assert runs.digest(name) == runs.digest("undisturbed")
    assert runs.rows(name) == runs.rows("undisturbed")
    # Whatever was repeated, each step saw the batch it sees in the undisturbed run.
    assert set(runs.batches(name)) == set(runs.batches("undisturbed"))
    return hit


def undisturbed(prepared: Path, folder: Path, devices: int, *, optimize: bool) -> Runs:
    runs = Runs(prepared, folder, devices, optimize)
    assert runs.start("undisturbed").wait(timeout=300) == 0, runs.said("undisturbed").read_text()
    return runs


def test_three_interruptions_on_one_device(prepared, tmp_path):
    # Compiled without optimizations, which is quicker; the slow tests below have them.
    runs = undisturbed(prepared, tmp_path, devices=1, optimize=False)
    hit = check(runs, "disturbed", [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL], random.Random(0))
    assert hit >= 2


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_chaos(prepared, tmp_path, devices):
    runs = undisturbed(prepared, tmp_path, devices, optimize=True)
    for seed in range(3):
        draw = random.Random(seed)
        numbers = [draw.choice([signal.SIGKILL, signal.SIGTERM]) for _ in range(7)]
        hit = check(runs, f"disturbed-{seed}", numbers, draw)
        print(f"{devices} device(s), run {seed}: {hit} interruptions")
        assert hit >= 5
