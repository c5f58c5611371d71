"""Short pre-training runs in this process: watched, and with what they compile kept on disk."""

import contextlib
import hashlib
import io
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from data_pipelines import pipeline
from launch.pretrain import main

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
