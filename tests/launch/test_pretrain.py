"""Pre-training runs: stopped, killed, damaged or fed with NaN at any moment, a resumed run ends bit-equal.

The runs in this process have the four virtual devices of the tests; `test_chaos.py` has one and four.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.prepare import PrepareSettings, prepare
from launch.config_file import load_config
from launch.pretrain import main
from launch.run_folder import hold
from selfpab_jax.train import optim
from selfpab_jax.train.loop import LoopConfig
from selfpab_jax.train.metrics import read_metrics

PROJECT = Path(__file__).resolve().parents[2]
STEPS = 6

# A run that kills itself when it is handed the batch of step 4, while the checkpoint of step 2 may be in the making.
# Without torch, which tensorboardX imports where there is one, it starts in half the time.
KILLED_AT_STEP_4 = """
import os, signal, sys
sys.modules["torch"] = None
from data_pipelines import pipeline
from launch.pretrain import main

def killing(self, read=pipeline.Batches.__next__):
    self.handed_out = getattr(self, "handed_out", 0) + 1
    return read(self) if self.handed_out < 4 else os.kill(os.getpid(), signal.SIGKILL)

pipeline.Batches.__next__ = killing
main(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch, reference):
    """Only the reference run draws: half of the time of a short run."""
    monkeypatch.setattr("launch.pictures.draw", lambda *_: None)


def terminate(batch):
    """`batch`, after a SIGTERM to this process."""
    os.kill(os.getpid(), signal.SIGTERM)
    return batch


def spoil(batch):
    return batch | {"scale": np.full_like(batch["scale"], np.nan)}


def rows(workdir: Path) -> dict[tuple[int, str], float]:
    """{(step, "train" or "valid"): loss} of metrics.jsonl; fails where a step has two rows of a kind."""
    found = [
        ((row["step"], kind), row[f"{kind}/loss"])
        for row in read_metrics(workdir / "metrics.jsonl")
        for kind in ("train", "valid")
        if f"{kind}/loss" in row
    ]
    assert len(found) == len(dict(found)), "a step stands twice in metrics.jsonl"
    return dict(found)


def metas(workdir: Path) -> dict[int, float | None]:
    """{step: metric} of the checkpoints."""
    files = (workdir / "checkpoints").glob("[0-9]*/meta/metadata")
    return {int(file.parts[-3]): json.loads(file.read_text())["metric"] for file in files}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_as_reference(run, workdir: Path, reference) -> None:
    assert (run.status, run.step, run.digest) == (0, STEPS, reference.digest), run.err
    assert rows(workdir) == rows(reference.workdir)
    assert metas(workdir)[STEPS] == metas(reference.workdir)[STEPS]


def test_a_run_leaves_its_whole_story(reference):
    assert set(rows(reference.workdir)) == {(step, "train") for step in range(1, 7)} | {(3, "valid"), (6, "valid")}
    assert len({digest for _, digest in reference.hashes}) == STEPS
    found = contents(reference.workdir)
    expected = {"config.json", "normalization.npz", "data_manifest.json", "metrics.jsonl"}
    assert expected | {"figures/loss.png", "figures/reconstruction.png"} <= set(found)
    assert metas(reference.workdir)[6] == rows(reference.workdir)[6, "valid"]
    assert not [name for name in found if name.endswith((".tmp", ".partial"))]


@pytest.mark.parametrize("variant", ["", "small", "demo", "smoke"])
def test_every_variant_has_valid_settings(variant):
    config = load_config(f"configs/selfpab.py:{variant}" if variant else "configs/selfpab.py")
    LoopConfig(**config.train)
    optim.adamw(optim.OptimizerConfig(**config.optimizer), config.train.steps)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["", "small", "demo"])
def test_two_steps_of_every_variant(prepared, tmp_path, variant):
    config = f"configs/selfpab.py:{variant}" if variant else "configs/selfpab.py"
    sizes = ("train.steps=2", "data.batch_size=4", "model.d_model=24", "model.ff=32", "model.layers=1")
    folders = [f"--config.data.dir={prepared}", f"--workdir={tmp_path}/run"]
    assert main([f"--config={config}", *folders, *(f"--config.{size}" for size in sizes)]) == 0
    assert np.isfinite(list(rows(tmp_path / "run").values())).all()


def test_stops_in_training_and_in_validations(pretrain, tmp_path, watch, reference):
    workdir = tmp_path / "run"
    for where, saved in ((2, 2), ("valid", 3), (5, 5), ("valid", 6)):
        watch.at = {where: terminate}
        run = pretrain(workdir, "--resume")
        assert (run.status, run.step) == (75, saved), run.err
        assert max(metas(workdir)) == saved  # the step in flight was finished and saved
        assert "--resume" in run.out
        watch.at = {}
    run = pretrain(workdir, "--resume")
    assert_as_reference(run, workdir, reference)
    assert watch.hashes == reference.hashes  # each batch once, in order


def test_killed_and_resumed_on_four_devices(pretrain, arguments, tmp_path, watch, reference, compile_cache):
    workdir = tmp_path / "run"
    command = [sys.executable, "-c", KILLED_AT_STEP_4, *arguments(workdir)]
    ran = subprocess.run(command, cwd=PROJECT, env=os.environ | compile_cache, capture_output=True, check=False)
    assert ran.returncode == -signal.SIGKILL
    run = pretrain(workdir, "--resume")
    assert_as_reference(run, workdir, reference)
    assert watch.hashes == reference.hashes[-len(watch.hashes) :] and len(watch.hashes) < STEPS


@pytest.mark.filterwarnings("default")  # pytest would raise the warning that is to be printed
def test_a_damaged_newest_checkpoint_is_bypassed(pretrain, tmp_path, reference):
    workdir = tmp_path / "run"
    shutil.copytree(reference.workdir, workdir)
    newest = [file for file in (workdir / "checkpoints" / "6" / "params").rglob("d/*") if file.is_file()]
    largest = max(newest, key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[::64] = bytes(byte ^ 1 for byte in content[::64])  # some of the file is what no reader looks at
    largest.write_bytes(content)
    run = pretrain(workdir, "--resume")
    assert (run.status, run.digest) == (0, reference.digest)
    warned = [line for line in run.err.splitlines() if "damaged" in line]
    assert len(warned) == 1
    assert warned[0].startswith(f"selfpab pretrain: warning: {workdir}/checkpoints: step 6 is damaged")
    assert "Traceback" not in run.err and "UserWarning" not in run.err
    assert rows(workdir) == rows(reference.workdir)


def test_a_finished_run_resumed_does_nothing(pretrain, prepared, tmp_path, watch, reference):
    workdir = tmp_path / "run"
    moved = tmp_path / "moved"  # the same windows elsewhere are the same data
    shutil.copytree(reference.workdir, workdir)
    shutil.copytree(prepared, moved)
    before = contents(workdir)
    run = pretrain(workdir, f"--config.data.dir={moved}", "--resume")
    assert (run.status, run.step, run.digest) == (0, STEPS, reference.digest)
    assert watch.hashes == []
    after = contents(workdir)
    assert [name for name in before if before[name] != after.get(name)] == []


def test_what_is_refused_changes_nothing(pretrain, tmp_path, reference):
    workdir = reference.workdir
    other = tmp_path / "other"
    prepare(None, "synthetic", other, PrepareSettings(subjects=2, hours=0.2), workers=1, progress=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    before = contents(workdir)
    another = "optimizer.b1 is 0.9 there and 0.5 here; seed is 0 there and 3 here"
    for argv, sentence in (
        ((workdir,), f"--workdir: {workdir} holds a run already; add --resume to go on with it"),
        ((tmp_path / "full",), f"--workdir: {tmp_path}/full holds other files, expected an empty or a new"),
        (
            (workdir, "--resume", "--config.seed=3", "--config.optimizer.b1=0.5"),
            f"--resume: the run in {workdir} has another config: {another}",
        ),
        (
            (workdir, f"--config.data.dir={other}", "--resume"),
            f"--resume: the run in {workdir} was made with other data than ",
        ),
    ):
        run = pretrain(*argv)
        assert (run.status, run.out) == (2, "")
        assert run.err.startswith(f"selfpab pretrain: error: {sentence}") and run.err.count("\n") == 1
    with hold(workdir):
        run = pretrain(workdir, "--resume")
    assert run.status == 2 and f"--workdir: a run is under way in {workdir}: wait for its end" in run.err
    assert contents(workdir) == before


def test_updates_that_are_not_finite_are_skipped_and_validation_masks_are_fixed(pretrain, tmp_path, watch):
    workdir = tmp_path / "run"
    watch.at = dict.fromkeys((2, 3, 5, 6), spoil)
    watch.at[4] = lambda batch: batch | {"scale": np.full_like(batch["scale"], np.inf)}
    run = pretrain(workdir)
    assert (run.status, run.step) == (0, STEPS)
    found = [row for row in read_metrics(workdir / "metrics.jsonl") if "train/loss" in row]
    assert [row["train/skipped"] for row in found] == [0, 1, 1, 1, 1, 1]
    assert [row["train/bad_streak"] for row in found] == [0, 1, 2, 3, 4, 5]
    losses = rows(workdir)
    assert losses[3, "valid"] == losses[6, "valid"]  # the same parameters, the same masks
    assert np.isfinite(losses[6, "valid"])


def test_too_many_updates_in_a_row_end_the_run(pretrain, tmp_path, watch, reference):
    workdir = tmp_path / "run"
    limit = "--config.train.max_bad_streak=2"
    watch.at = dict.fromkeys(range(4, 7), spoil)
    run = pretrain(workdir, limit)
    assert run.status == 1
    last = run.err.splitlines()[-1]
    assert last.startswith("selfpab pretrain: error: 2 updates in a row were not finite (up to step 5)")
    assert "Traceback" not in run.err
    assert max(metas(workdir)) == 5
    watch.at = {}
    run = pretrain(workdir, limit, "--resume")  # what is saved is sound: it goes on with step 6
    assert (run.status, run.step) == (0, STEPS)
    assert rows(workdir)[6, "train"] != rows(reference.workdir)[6, "train"] and np.isfinite(rows(workdir)[6, "train"])


# Signals before the first step, where only a process of its own can be asked.


@contextlib.contextmanager
def started(argv, env, *flags):
    """A run as a process of its own, in a session of its own; nothing of it may be left at the end."""
    command = [sys.executable, *flags, "-m", "launch.pretrain", *argv]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, cwd=PROJECT, env=env, start_new_session=True, **streams)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def stopped(child: subprocess.Popen, at: str, delay: float) -> tuple[int, str]:
    """(exit status, output) of a child that got SIGTERM `delay` s after a line with `at`; it has 10 s to leave."""
    for line in child.stderr:
        if at in line:
            break
    time.sleep(delay)
    with contextlib.suppress(OSError):  # gone already, or on a system without /proc
        shared = [line for line in Path(f"/proc/{child.pid}/maps").read_text().splitlines() if "/dev/shm" in line]
        assert [line for line in shared if not line.endswith("(deleted)")] == []  # nothing that a kill leaves there
    child.terminate()
    out, err = child.communicate(timeout=10)
    return child.returncode, out + err


def test_stopped_during_the_imports(arguments, tmp_path):
    # With importtime the interpreter reports each import; jax is under way when its first part is in.
    with started(arguments(tmp_path / "run"), os.environ, "-X", "importtime") as child:
        status, said = stopped(child, "jax._src", 0)
    assert status == 75 and "nothing to save" in said
    assert not (tmp_path / "run").exists()


def test_stopped_during_the_first_compilation(pretrain, arguments, tmp_path, reference):
    workdir = tmp_path / "run"
    with started(arguments(workdir), os.environ | {"JAX_LOG_COMPILES": "1"}) as child:
        status, said = stopped(child, "Compiling jit(train_step)", 0.5)
    assert status == 75 and "nothing to save" in said and "Traceback" not in said
    assert metas(workdir) == {}
    assert_as_reference(pretrain(workdir, "--resume"), workdir, reference)
