"""The encoder's sizes, padding, bfloat16, dropout and initial values."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from selfpab_jax.models import encoder
from selfpab_jax.models.encoder import Block, EncoderConfig, SpectrogramEncoder, positional_encoding
from selfpab_jax.models.functional import parameter_count, split

# ---- sizes and settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features, expected", [(156, 61_107_848), (78, 60_873_770)])
def test_parameter_count_at_full_size(features, expected):
    cfg = EncoderConfig(in_features=features, out_features=features)
    _, params, model_state = split(nnx.eval_shape(lambda: SpectrogramEncoder(cfg, rngs=nnx.Rngs(0))))
    assert parameter_count(params) == expected
    assert not model_state  # positions are computed, not stored
    if features == 156:
        parts = {name: parameter_count(params[name]) for name in ("embed", "head")}
        assert parts == {"embed": 235_500, "head": 234_156}
        assert [parameter_count(block) for block in params["blocks"].values()] == [15_159_548] * 4


def test_shapes_at_full_size():
    cfg = EncoderConfig()

    def run(x, key):
        return SpectrogramEncoder(cfg, rngs=nnx.Rngs(0))(x, None, key)

    out = jax.eval_shape(run, jax.ShapeDtypeStruct((2, 599, 156), jnp.float32), jax.random.key(0))
    assert [layer.shape for layer in out["layers"]] == [(2, 599, 1500)] * 5
    assert out["reconstruction"].shape == (2, 599, 156)


def test_positions_by_hand():
    position = positional_encoding(3, 4)
    rate = 1 / math.sqrt(10_000)
    by_hand = [[math.sin(t), math.cos(t), math.sin(rate * t), math.cos(rate * t)] for t in range(3)]
    np.testing.assert_allclose(position, by_hand, rtol=1e-6)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"d_model": 100, "heads": 3}, "model.d_model is 100, expected an even multiple of model.heads \\(3\\)"),
        ({"d_model": 15, "heads": 3}, "model.d_model is 15"),
        ({"dtype": "float16"}, "model.dtype is 'float16', expected float32 or bfloat16"),
        ({"dropout": 1.0}, "model.dropout is 1.0, expected a rate from 0 to below 1"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        EncoderConfig(**settings)


# ---- padding --------------------------------------------------------------------------------------------------------


def test_padding_does_not_influence_valid_frames(ours, agree, valid):
    params, run, x, *_ = ours
    padded = np.asarray(run(params, x, valid, None)["reconstruction"])
    other = run(params, np.where(valid[..., None], x, 1e3).astype(np.float32), valid, None)["reconstruction"]
    np.testing.assert_array_equal(padded[valid], np.asarray(other)[valid])
    cut = run(params, x[:, :25], None, None)["reconstruction"]
    agree("padded vs cut", padded[1, :25], cut[1], 1e-4)
    full = run(params, x, np.ones((3, 40), bool), None)["reconstruction"]
    agree("full mask vs none", full, run(params, x, None, None)["reconstruction"], 1e-5)


def test_window_of_padding_only_stays_finite(ours, loss_and_gradient):
    params, _, x, *_ = ours
    loss, gradient = loss_and_gradient(params, x, np.ones(x.shape, bool), np.zeros((3, 40), bool))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((loss, gradient)))


# ---- bfloat16 -------------------------------------------------------------------------------------------------------


def test_bfloat16_is_close_to_float32(ours, agree, small):
    params, run, x, *_ = ours
    half = dataclasses.replace(small, dtype="bfloat16")
    merge, shapes, model_state = split(nnx.eval_shape(lambda: SpectrogramEncoder(half, rngs=nnx.Rngs(0))))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    out = jax.jit(lambda params, x: merge(params, model_state)(x))(params, x)
    full = run(params, x, None, None)["reconstruction"]
    assert out["layers"][-1].dtype == jnp.bfloat16 and out["reconstruction"].dtype == jnp.float32
    # 8 bits of mantissa: 2^-8 a rounding, a dozen of them in a row.
    agree("bfloat16 vs float32, reconstruction", out["reconstruction"], full, 0.05)
    spread = np.sqrt(np.mean((out["reconstruction"] - full) ** 2) / np.mean(full**2))
    print(f"bfloat16 vs float32, root mean square: {spread:.1e}")
    assert 1e-4 < spread < 0.02  # none at all would mean that it computed in float32


# ---- dropout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_rate_and_scale(rate):
    x = jnp.full((1000, 1000), 2.0)
    y = np.asarray(encoder.dropout(x, rate, jax.random.key(0)))
    np.testing.assert_allclose(np.unique(y), [0, 2 / (1 - rate)], rtol=1e-6)
    # 4.5 sigma of a million draws
    assert abs((y == 0).mean() - rate) < 4.5 * math.sqrt(rate * (1 - rate) / 1e6) + 1e-5
    assert abs(y.mean() - 2) < 0.02


def test_dropout_follows_its_key():
    x = jnp.ones((64, 64))
    once, again, other = (encoder.dropout(x, 0.1, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    assert encoder.dropout(x, 0.1, None) is x
    assert encoder.dropout(x, 0.0, jax.random.key(0)) is x


def test_dropout_sits_where_torch_has_it(monkeypatch):
    """On attention weights, after attention, inside the feed-forward part and after it, each with its own key."""
    calls = []

    def noted(x, rate, key):
        calls.append((x.shape, rate, key))
        return x

    monkeypatch.setattr(encoder, "dropout", noted)
    cfg = EncoderConfig(d_model=12, heads=2, ff=8, layers=2, dropout=0.1)

    def keys_of(key):
        SpectrogramEncoder(cfg, rngs=nnx.Rngs(0))(jnp.ones((3, 5, 156)), None, key)
        return [jax.random.key_data(used) for *_, used in calls]

    keys = jax.jit(keys_of)(jax.random.key(0))
    assert [shape for shape, *_ in calls] == [(3, 2, 5, 5), (3, 5, 12), (3, 5, 8), (3, 5, 12)] * 2
    assert {rate for _, rate, _ in calls} == {0.1}
    assert len({np.asarray(key).tobytes() for key in keys}) == 8


def test_model_under_dropout(ours):
    params, run, x, *_ = ours
    off = run(params, x, None, None)["reconstruction"]
    once, again, other = (run(params, x, None, jax.random.key(n))["reconstruction"] for n in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any() and (once != off).any()
    same_rows = run(params, np.repeat(x[:1], 3, axis=0), None, jax.random.key(0))["layers"]
    assert (same_rows[0][0] == same_rows[0][1]).all()  # the embedding is never dropped
    assert (same_rows[1][0] != same_rows[1][1]).any()  # each sample has its own


# ---- initial values -------------------------------------------------------------------------------------------------


def uniform_within(values, bound):
    values = np.asarray(values).ravel()
    assert np.abs(values).max() <= bound
    assert scipy.stats.kstest(values, "uniform", args=(-bound, 2 * bound)).pvalue > 1e-4


@pytest.fixture(scope="module")
def initial():
    """Jitted key -> initial parameters."""
    cfg = EncoderConfig(d_model=60, heads=6, ff=80, layers=2)
    return jax.jit(lambda key: split(SpectrogramEncoder(cfg, rngs=nnx.Rngs(key))).params)


def test_initial_values(initial):
    """Xavier for queries, keys and values, U(+-1/sqrt(fan in)) elsewhere, zero biases in attention."""
    params = initial(jax.random.key(0))
    for block in params["blocks"].values():
        uniform_within(block["attn"]["qkv"]["kernel"], math.sqrt(6 / (60 + 3 * 60)))
        uniform_within(block["attn"]["out"]["kernel"], 1 / math.sqrt(60))
        for layer in (block["attn"]["qkv"], block["attn"]["out"], block["norm1"], block["norm2"]):
            assert not layer["bias"].any()
        assert (block["norm1"]["scale"] == 1).all() and (block["norm2"]["scale"] == 1).all()
    first, second = params["blocks"].values()
    assert (first["linear1"]["kernel"] != second["linear1"]["kernel"]).all()  # each block has its own
    layers = [(params["embed"], 156), (params["head"], 60)]
    for block in (first, second):
        layers += [(block["linear1"], 60), (block["linear2"], 80)]
    for layer, fan_in in layers:
        uniform_within(layer["kernel"], 1 / math.sqrt(fan_in))
        uniform_within(layer["bias"], 1 / math.sqrt(fan_in))


def test_seed_decides_the_initial_values(initial):
    one, same, other = (initial(jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert (one["embed"]["kernel"] != other["embed"]["kernel"]).all()


def test_layer_norm_epsilon():
    """With a variance of 1e-5 the epsilon of 1e-5 divides the result by the square root of 2."""
    cfg, x = EncoderConfig(d_model=4, heads=2, ff=4), jnp.sqrt(1e-5) * jnp.array([1.0, -1.0, 1.0, -1.0])

    @jax.jit
    def norms(x):
        block = Block(cfg, rngs=nnx.Rngs(0))
        return block.norm1(x), block.norm2(x)

    for out in norms(x):
        np.testing.assert_allclose(out, np.array([1, -1, 1, -1]) / math.sqrt(2), rtol=1e-4)
