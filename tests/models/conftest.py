"""A small encoder with random parameters, compiled once for all tests."""

import math

import jax
import numpy as np
import pytest
from flax import nnx

from selfpab_jax.losses import masked_l1
from selfpab_jax.models.encoder import EncoderConfig, SpectrogramEncoder
from selfpab_jax.models.functional import split


@pytest.fixture(scope="session")
def small() -> EncoderConfig:
    return EncoderConfig(d_model=60, heads=6, ff=48, layers=2, dropout=0.1)


@pytest.fixture(scope="session")
def random_params():
    """cfg -> (merge, params, model_state), every parameter drawn, norms and all biases included, in a scale that
    keeps attention lively."""

    def draw_all(cfg, seed=0):
        draw = np.random.default_rng(seed)
        shapes = nnx.eval_shape(lambda: SpectrogramEncoder(cfg, rngs=nnx.Rngs(0)))

        def value(path, leaf):
            if path[-1].key == "scale":
                return draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
            fan_in = leaf.shape[0] if path[-1].key == "kernel" else 100
            return (draw.standard_normal(leaf.shape, np.float32) / math.sqrt(fan_in)).astype(np.float32)

        merge, params, model_state = split(shapes)
        return merge, jax.tree_util.tree_map_with_path(value, params), model_state

    return draw_all


@pytest.fixture(scope="session")
def ours(small, random_params):
    """(params, jitted (params, x, mask, key) -> outputs, x, merge, model_state) of the small encoder."""
    merge, params, model_state = random_params(small)
    x = np.random.default_rng(1).standard_normal((3, 40, 156), np.float32)
    run = jax.jit(lambda params, x, mask, key: merge(params, model_state)(x, mask, key))
    return params, run, x, merge, model_state


@pytest.fixture(scope="session")
def valid() -> np.ndarray:
    """Mask [3, 40] of a whole window, one that ends early and one of a single frame."""
    return np.arange(40) < np.array([[40], [25], [1]])


@pytest.fixture(scope="session")
def loss_and_gradient(ours):
    """Jitted (params, target, cells, mask) -> (masked L1, gradient)."""
    _, _, x, merge, model_state = ours

    def loss_of(params, target, cells, mask):
        return masked_l1(merge(params, model_state)(x, mask)["reconstruction"], target, cells)

    return jax.jit(jax.value_and_grad(loss_of))
