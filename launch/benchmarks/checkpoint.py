"""Checkpoints of the whole training state: what saving costs the loop, and how long saving and restoring take."""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from launch.methods import build
from selfpab_jax.models.functional import split
from selfpab_jax.train import optim, sharding, step
from selfpab_jax.train.checkpoint import Checkpoints

STEPS = 1000  # of the learning-rate schedule


def measure(config, repeats: int) -> dict[str, float]:
    """Bytes of a checkpoint and medians in seconds: the call of `save`, all until it is on disk, verified restoring.

    Every value of the state is random, as zeros would compress to nothing.
    """
    merge, params, extra = split(build(config, _statistics(config)).model)
    optimizer, _ = optim.adamw(optim.OptimizerConfig(**config["optimizer"]), STEPS)
    state = step.init_state(params, extra, optimizer, sharding.make_mesh(devices=jax.devices()[:1]))
    keys = iter(jax.random.split(jax.random.key(0), len(jax.tree.leaves(state))))
    state = jax.tree.map(lambda leaf: _random(next(keys), leaf), state)
    seconds = {"call_s": [], "saved_s": [], "restored_s": []}
    with tempfile.TemporaryDirectory(prefix="selfpab-bench-") as scratch, Checkpoints(scratch, keep=1) as checkpoints:
        for i in tqdm(range(repeats + 1), desc="checkpoint", unit="save", file=sys.stderr):
            began = time.perf_counter()
            checkpoints.save(i, state, {"config": config})
            called = time.perf_counter()
            checkpoints.wait()
            saved = time.perf_counter()
            jax.block_until_ready(checkpoints.restore_latest(state)[0])
            spent = (called - began, saved - began, time.perf_counter() - saved)
            for name, value in zip(seconds, spent, strict=True):
                seconds[name] += [value] if i else []  # the first round warms up
        size = sum(path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file())
    return {"bytes": size} | {name: statistics.median(values) for name, values in seconds.items()}


def _random(key, leaf):
    if not jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
        return leaf
    return jax.device_put(jax.random.normal(key, leaf.shape, leaf.dtype), leaf.sharding)


def _statistics(config) -> dict[str, np.ndarray]:
    """Neutral normalisation; the checkpoint does not hold it."""
    features = config["model"].get("in_features", 0)
    return {f"{kind}_{name}": np.ones(features, np.float32) for kind in ("linear", "log") for name in ("mean", "std")}
