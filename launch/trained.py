"""A finished or running pre-training, opened for reading."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from launch.methods import build, load_run
from selfpab_jax.models.functional import Tree, split
from selfpab_jax.objectives.method import Method
from selfpab_jax.train.checkpoint import Checkpoints


class Trained(NamedTuple):
    """What a run folder holds; `merge(params, model_state)` is the trained model.

    Attributes:
      config, normalization: what `method` was built from.
      step: of the checkpoint that was read.
    """

    config: Mapping
    normalization: Mapping[str, np.ndarray]
    method: Method
    merge: Callable
    params: Tree
    model_state: Tree
    step: int


def load_trained(folder: Path, which: str) -> Trained:
    """The "best" (by validation) or "latest" checkpoint of a run folder that is sound.

    Raises:
      FileNotFoundError: no run folder, or no such checkpoint in it.
      ValueError: another word for `which`, or only damaged checkpoints.
    """
    config, normalization = load_run(folder)
    method = build(config, normalization)
    merge, params, model_state = split(method.model)
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        target = {"params": params, "model_state": model_state}
        params, model_state, meta = checkpoints.restore_params(target, which=which)
    return Trained(config, normalization, method, merge, params, model_state, meta["step"])
