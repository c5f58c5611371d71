"""A small encoder with random parameters, compiled once for all tests."""

import jax
import numpy as np
import pytest

from selfpab_jax.losses import masked_l1
from selfpab_jax.models.encoder import EncoderConfig


@pytest.fixture(scope="session")
def small() -> EncoderConfig:
    return EncoderConfig(d_model=60, heads=6, ff=48, layers=2, dropout=0.1)


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
