"""The shipped batch script on a real SLURM: stops are saved by all processes, and the job goes on by itself."""

import json
import re
import sys
import time
from pathlib import Path

import pytest

from tests.slurm.conftest import ON_SLURM

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = ON_SLURM


@pytest.fixture
def submit(slurm, prepared, tmp_path, tmp_path_factory):
    """(sbatch flags, config fields) -> job, run folder and log of pretrain.sbatch in two processes on CPUs."""
    compiled = str(tmp_path_factory.getbasetemp() / "compiled")

    def start(sbatch: list[str], fields: list[str]) -> tuple[str, Path, Path]:
        workdir, log = tmp_path / "run", tmp_path / "log"
        small = ["--nodes=1", "--ntasks-per-node=2", "--gres=none", "--cpus-per-task=1", f"--output={log}", *sbatch]
        shape = ["model.layers=1", "train.log_every=10", "train.save_every=1000", "train.valid_every=100000", *fields]
        environ = {"DATA": str(prepared), "WORKDIR": str(workdir), "CONFIG": "configs/selfpab.py:smoke"}
        environ |= {"PYTHON": sys.executable, "XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": compiled}
        environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        script = ["launch/slurm/pretrain.sbatch", *(f"--config.{field}" for field in shape)]
        return slurm("sbatch", "--parsable", *small, *script, **environ), workdir, log

    return start


def steps_logged(workdir: Path) -> list[int]:
    """The steps of the training losses, in the order of the file."""
    metrics = workdir / "metrics.jsonl"
    records = map(json.loads, metrics.read_text().splitlines()) if metrics.exists() else ()
    return [record["step"] for record in records if "train/loss" in record]


def wait_until(condition, log: Path, seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, log.read_text() if log.exists() else "the job has not begun"
        time.sleep(0.5)


def stopped_at(log: Path) -> list[int]:
    """The steps at which process 0 ended, start by start."""
    text = log.read_text() if log.exists() else ""
    return [int(step) for step in re.findall(r"^0: step (\d+); state", text, re.MULTILINE)]


def show(log: Path) -> None:
    """Prints the log, and of each bar where it begins."""
    lines = [line for line in re.split(r"[\r\n]+", log.read_text()) if line.strip("0123456789: ")]
    print("", *(line for line in lines if "pretrain: " not in line or "[00:00<?" in line), sep="\n    ")


def check_saved_by_both(workdir: Path, step: int) -> None:
    saved = workdir / "checkpoints" / str(step)
    both = {"process_0", "process_1"}
    assert {path.name for path in saved.glob("*/array_metadatas/*")} == both, sorted(saved.rglob("*"))
    newest = max(int(path.name) for path in saved.parent.iterdir() if path.name.isdecimal())
    assert newest == step
    print(f"\n    step {step} was saved by {' and '.join(sorted(both))}")


def test_a_requeued_job_saves_in_all_processes_and_goes_on_by_itself(slurm, submit):
    job, workdir, log = submit(["--time=10"], ["train.steps=60"])
    wait_until(lambda: steps_logged(workdir), log)
    slurm("scontrol", "requeue", job)
    wait_until(lambda: len(stopped_at(log)) == 1, log)
    [step] = stopped_at(log)
    assert step < 60
    check_saved_by_both(workdir, step)
    wait_until(
        lambda: slurm("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T") == "COMPLETED", log
    )
    show(log)
    text = log.read_text()
    assert stopped_at(log) == [step, 60]
    assert re.search(rf"\| {step}/60 \[00:00<\?", text)  # the bar of the second start begins where the first stopped
    assert steps_logged(workdir) == sorted(set(steps_logged(workdir)))
    assert "Restarts=1 " in slurm("scontrol", "show", "job", job, "--oneliner")


def test_a_job_whose_time_is_over_saves_and_queues_itself_again(slurm, submit):
    job, workdir, log = submit(["--time=3", "--signal=TERM@90"], ["train.steps=100000"])
    wait_until(lambda: stopped_at(log), log)
    check_saved_by_both(workdir, stopped_at(log)[0])
    wait_until(lambda: "requeueing job" in log.read_text(), log, 20)
    wait_until(lambda: slurm("squeue", "--noheader", f"--jobs={job}", "--format=%T") == "PENDING", log, 20)
    assert "Restarts=1 " in slurm("scontrol", "show", "job", job, "--oneliner")
    slurm("scancel", job)
    show(log)


def test_a_cancelled_job_saves_and_stays_away(slurm, submit):
    job, workdir, log = submit(["--time=10"], ["train.steps=100000"])
    wait_until(lambda: steps_logged(workdir), log)
    slurm("scancel", job)
    wait_until(lambda: stopped_at(log), log)
    check_saved_by_both(workdir, stopped_at(log)[0])
    wait_until(
        lambda: slurm("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T") == "CANCELLED", log
    )
    time.sleep(3)
    assert slurm("squeue", "--noheader", f"--jobs={job}") == ""
    assert "requeueing" not in log.read_text()
    show(log)
