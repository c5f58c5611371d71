"""What a lost process costs: seconds until the run has ended, and until it is under way again."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from launch.config_file import PROJECT
from selfpab_jax.train.metrics import read_metrics

PATIENCE_S = 300
FIELDS = ("train.steps=1000000", "train.log_every=1", "train.valid_every=1000000", "train.save_every=5")


def measure(repeats: int) -> dict[str, float]:
    """Medians over `repeats` runs of two processes on this machine, one of which is killed (SIGKILL) while training.

    ended_s: from the kill until the launcher has stopped the other one and ended. under_way_s: from the next start
    with --resume until a step that the first run had not logged.
    """
    found = {"ended_s": [], "under_way_s": []}
    with tempfile.TemporaryDirectory(prefix="selfpab-bench-") as scratch:
        folder = Path(scratch)
        prepare(None, "synthetic", folder / "prepared", PrepareSettings(Cut()))
        for i in tqdm(range(repeats), desc="restart", unit="kill", file=sys.stderr):
            run = folder / f"run-{i}"
            with _started(folder, run) as launcher:
                _wait_for_step(run, 10, launcher)
                killed = time.perf_counter()
                os.kill(_children(launcher.pid)[-1], signal.SIGKILL)
                launcher.wait(PATIENCE_S)
                found["ended_s"].append(time.perf_counter() - killed)
            last, began = max(row["step"] for row in read_metrics(run / "metrics.jsonl")), time.perf_counter()
            with _started(folder, run) as launcher:
                _wait_for_step(run, last + 1, launcher)
                found["under_way_s"].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in found.items()}


@contextlib.contextmanager
def _started(folder: Path, run: Path):
    """A launcher with two processes of a tiny run; at the end nothing of it is left."""
    job = ["pretrain", "--config=configs/selfpab.py:smoke", f"--config.data.dir={folder / 'prepared'}", "--resume"]
    job += [f"--workdir={run}", *(f"--config.{field}" for field in FIELDS)]
    command = [sys.executable, "-m", "launch", "local", "--processes=2", "--devices=1", "--grace=60", *job]
    environ = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    with (folder / "said.txt").open("w") as said:
        launcher = subprocess.Popen(command, cwd=PROJECT, env=environ, stdout=said, stderr=said, start_new_session=True)
    try:
        yield launcher
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise OSError(
            f"the run to be killed did not go as expected: {(folder / 'said.txt').read_text()[-500:]}"
        ) from error
    finally:
        launcher.kill()  # and with it its children
        launcher.wait()


def _wait_for_step(run: Path, step: int, launcher: subprocess.Popen) -> None:
    until = time.perf_counter() + PATIENCE_S
    while not any(row["step"] >= step for row in read_metrics(run / "metrics.jsonl")):
        if launcher.poll() is not None or time.perf_counter() > until:
            raise TimeoutError
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
