"""Short pre-training runs in this process: watched, and with what they compile kept on disk."""

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from data_pipelines import pipeline
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from launch.pretrain import main
from selfpab_jax.train.metrics import read_metrics

PROJECT = Path(__file__).resolve().parents[2]
WITNESSED = Path(__file__).with_name("witnessed.py")

SHAPE = ("train.steps=6", "train.log_every=1", "train.valid_every=3", "train.save_every=2", "model.layers=1")


@pytest.fixture(scope="module")
def compile_cache(tmp_path_factory) -> dict[str, str]:
    """Each run traces its steps anew; in this environment no run, here or in a child, compiles them anew."""
    settings = {
        "jax_compilation_cache_dir": (str(tmp_path_factory.mktemp("compiled")), None),
        "jax_persistent_cache_min_compile_time_secs": (0, 1.0),
        "jax_disable_most_optimizations": (True, False),  # compiles in half the time; test_chaos.py optimizes
    }
    for name, (value, _) in settings.items():
        jax.config.update(name, value)
    # What other tests have compiled with all optimizations rounds otherwise; a child process would not have it.
    jax.clear_caches()
    yield {name.upper(): str(value) for name, (value, _) in settings.items()}
    for name, (_, default) in settings.items():
        jax.config.update(name, default)
    compilation_cache.reset_cache()
    jax.clear_caches()


def watch_batches(patch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Watches the input: `hashes` [(step, sha256 of its batch)]; `at[step]` and `at["valid"]` may alter a batch."""
    watch = SimpleNamespace(hashes=[], at={})
    real_train, real_eval = pipeline.train_batches, pipeline.eval_batches

    def train(*args, start_step, **order):
        with real_train(*args, start_step=start_step, **order) as found:
            for step, batch in enumerate(found, start_step + 1):
                content = b"".join(batch[name].tobytes() for name in sorted(batch))
                watch.hashes.append((step, hashlib.sha256(content).hexdigest()))
                yield watch.at.get(step, lambda same: same)(batch)

    def valid(*args, **order):
        with real_eval(*args, **order) as found:
            for batch in found:
                yield watch.at.get("valid", lambda same: same)(batch)

    patch.setattr(pipeline, "train_batches", lambda *args, **order: contextlib.closing(train(*args, **order)))
    patch.setattr(pipeline, "eval_batches", lambda *args, **order: contextlib.closing(valid(*args, **order)))
    return watch


@pytest.fixture
def watch(monkeypatch) -> SimpleNamespace:
    return watch_batches(monkeypatch)


@pytest.fixture(scope="session")
def arguments(prepared):
    """workdir, more... -> the command line of a run of six steps of a tiny model."""

    def of(workdir: Path, *more: str) -> list[str]:
        fields = [f"--config.data.dir={prepared}", f"--workdir={workdir}", *(f"--config.{field}" for field in SHAPE)]
        return ["--config=configs/selfpab.py:smoke", *fields, *more]

    return of


@pytest.fixture(scope="session")
def pretrain(arguments):
    """workdir, more... -> status, out, err, step and digest (hash of the final state) of such a run, done here."""

    def run(workdir: Path, *more: str) -> SimpleNamespace:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments(workdir, *more))
        found = re.search(r"step (\d+); state sha256 (\w+);", out.getvalue())
        step, digest = (int(found[1]), found[2]) if found else (None, None)
        return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue(), step=step, digest=digest)

    return run


@pytest.fixture(scope="module")
def reference(pretrain, tmp_path_factory, compile_cache) -> SimpleNamespace:
    """A run that nothing disturbs: its folder, the hash of its final state and those of its batches."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    with pytest.MonkeyPatch.context() as patch:
        watch = watch_batches(patch)
        run = pretrain(workdir)
    assert (run.status, run.step) == (0, 6), run.err
    return SimpleNamespace(workdir=workdir, digest=run.digest, hashes=watch.hashes)


class Runs:
    """Starts witnessed runs in a folder, in processes of their own with compiled code on disk, and reads their traces.

    Args:
      fields: of the config, such as "train.steps=4".
      devices, processes: how many virtual devices each process has; several processes go through `selfpab local`.
    """

    def __init__(self, folder: Path, prepared: Path, fields=(), *, devices=1, processes=1, optimize=True):
        self.folder, self.local = folder, []
        self.flags = ["--config=configs/selfpab.py:smoke", f"--config.data.dir={prepared}"]
        self.flags += [f"--config.{field}" for field in fields]
        if processes > 1:
            self.local = ["local", f"--processes={processes}", f"--devices={devices}", "--grace=20"]
        self.environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": str(not optimize),
        }

    def start(self, name: str, *more: str) -> subprocess.Popen:
        """The run `name`, in a session of its own; its output goes to a file beside its folder."""
        argv = ["pretrain", *self.flags, f"--workdir={self.folder / name}", *more]
        return self.start_job(name, *self.local, *argv)

    def start_job(self, name: str, *argv: str) -> subprocess.Popen:
        command, how = [sys.executable, str(WITNESSED), *argv], {"cwd": PROJECT, "env": self.environment}
        with (self.folder / f"{name}.said").open("w") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True, **how)

    def finish(self, name: str, *more: str, timeout: float = 300) -> str:
        """What a run said that ended with status 0."""
        status = self.start(name, *more).wait(timeout)
        assert status == 0, self.said(name)
        return self.said(name)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.said").read_text()

    def batches(self, name: str) -> list[tuple[int, int, str]]:
        """(step, row, hash) of each row that a step got, by process; a line cut short by a kill is left out."""
        files = sorted(self.folder.glob(f"{name}.batches.*"))
        lines = [line.split() for file in files for line in file.read_text().split("\n")[:-1]]
        return [(int(step), int(row), found) for step, row, found in lines]

    def digest(self, name: str) -> str:
        """Hash of the final parameters, optimizer state and counters."""
        found = re.search(r"state sha256 (\w+);", self.said(name))
        assert found, self.said(name)
        return found[1]

    def rows(self, name: str) -> list[tuple[int, str, float]]:
        """(step, kind, learning rate or validation loss) of every row of metrics.jsonl, in order."""
        wanted = ("train/learning_rate", "valid/loss")
        found = read_metrics(self.folder / name / "metrics.jsonl")
        return [(row["step"], kind, row[kind]) for row in found for kind in wanted if kind in row]


@pytest.fixture(scope="session")
def runs_in() -> type[Runs]:
    return Runs


@pytest.fixture(scope="session")
def short(tmp_path_factory) -> Path:
    """A prepared folder of 4 people with 12 windows each, of 30 s: a step takes a tenth of the usual time."""
    folder = tmp_path_factory.mktemp("short") / "prepared"
    settings = PrepareSettings(Cut(window_s=30, stride_s=30), subjects=4, hours=0.1)
    prepare(None, "synthetic", folder, settings, workers=1, progress=False)
    return folder
