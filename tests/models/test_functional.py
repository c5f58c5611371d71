"""Models come apart into plain dicts and back together, with what their forward pass changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from selfpab_jax.models.encoder import EncoderConfig, SpectrogramEncoder
from selfpab_jax.models.functional import model_state, parameter_count, split

MOMENTUM = 0.75


class Normalised(nnx.Module):
    """A linear layer and batch statistics."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(2, momentum=MOMENTUM, use_running_average=False, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.linear(x))


def nested(tree):
    """Plain dicts down to arrays."""
    return all(nested(branch) for branch in tree.values()) if type(tree) is dict else isinstance(tree, jax.Array)


@pytest.fixture(scope="module")
def model():
    return Normalised(nnx.Rngs(0))


def test_round_trip(model):
    merge, params, extra = split(model)
    again = merge(params, extra)
    assert again is not model and type(again) is Normalised
    twice = split(again)
    for one, other in ((params, twice.params), (extra, twice.model_state)):
        assert nested(one) and jax.tree.structure(one) == jax.tree.structure(other)
        jax.tree.map(np.testing.assert_array_equal, one, other)
    assert parameter_count(params) == 3 * 2 + 2 + 2 * 2


def test_encoder_round_trip():
    """A list of blocks and a config among the attributes, without allocating."""
    cfg = EncoderConfig(d_model=12, heads=2, ff=8, layers=3)
    merge, params, extra = split(nnx.eval_shape(lambda: SpectrogramEncoder(cfg, rngs=nnx.Rngs(0))))
    params = jax.tree.map(lambda leaf: jnp.asarray(np.random.default_rng(0).random(leaf.shape)), params)
    again = merge(params, extra)
    assert type(again) is SpectrogramEncoder and again.cfg == cfg and len(again.blocks) == 3
    assert again.blocks[2].attn.qkv.bias[...] is params["blocks"][2]["attn"]["qkv"]["bias"]
    jax.tree.map(np.testing.assert_array_equal, params, split(again).params)


def test_merge_takes_the_given_values(model):
    """Also traced ones, and without touching the model that was split."""
    merge, params, extra = split(model)
    before = np.asarray(model.linear.bias[...])
    shifted = jax.tree.map(lambda leaf: leaf + 1, params)
    bias = jax.jit(lambda p: merge(p, extra).linear.bias[...])(shifted)
    np.testing.assert_allclose(bias, before + 1)
    np.testing.assert_array_equal(model.linear.bias[...], before)


def test_batch_statistics_come_back_under_jit_and_gradient(model):
    merge, params, extra = split(model)
    assert nested(params) and nested(extra)
    assert params.keys() == {"linear", "norm"} and extra.keys() == {"norm"}
    assert extra["norm"].keys() == {"mean", "var"}
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)

    @jax.jit
    def step(params, extra):
        def loss_of(params):
            model = merge(params, extra)
            return (model(x) ** 3).sum(), model_state(model)

        (loss, after), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        return loss, after, gradient

    hidden = x @ params["linear"]["kernel"] + params["linear"]["bias"]
    mean, var = 0.0, 1.0
    for _ in range(3):
        _, extra, gradient = step(params, extra)
        mean = MOMENTUM * mean + (1 - MOMENTUM) * hidden.mean(0)
        var = MOMENTUM * var + (1 - MOMENTUM) * hidden.var(0)
        np.testing.assert_allclose(extra["norm"]["mean"], mean, atol=1e-6)
        np.testing.assert_allclose(extra["norm"]["var"], var, rtol=1e-5)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert all(jnp.any(leaf != 0) for leaf in (gradient["linear"]["kernel"], gradient["norm"]["scale"]))
