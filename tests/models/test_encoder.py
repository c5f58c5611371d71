"""The encoder against the same network written with torch.nn, and its counts, dropout and initial values."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from selfpab_jax.losses import masked_l1
from selfpab_jax.models import encoder
from selfpab_jax.models.encoder import Block, EncoderConfig, SpectrogramEncoder, positional_encoding
from selfpab_jax.models.functional import parameter_count, split

LAYER, MODEL = 1e-5, 1e-4  # tolerances, relative to the largest value
SMALL = EncoderConfig(d_model=60, heads=6, ff=48, layers=2, dropout=0.1)


# ---- the same network in PyTorch ------------------------------------------------------------------------------------

OF_BLOCK = {  # torch's name -> ours; kernels are transposed
    "self_attn.in_proj_weight": ("attn", "qkv", "kernel"),
    "self_attn.in_proj_bias": ("attn", "qkv", "bias"),
    "self_attn.out_proj.weight": ("attn", "out", "kernel"),
    "self_attn.out_proj.bias": ("attn", "out", "bias"),
    "linear1.weight": ("linear1", "kernel"),
    "linear1.bias": ("linear1", "bias"),
    "linear2.weight": ("linear2", "kernel"),
    "linear2.bias": ("linear2", "bias"),
    "norm1.weight": ("norm1", "scale"),
    "norm1.bias": ("norm1", "bias"),
    "norm2.weight": ("norm2", "scale"),
    "norm2.bias": ("norm2", "bias"),
}


def name_table(cfg):
    table = {}
    for i in range(cfg.layers):
        table |= {f"blocks.layers.{i}.{name}": ("blocks", i, *path) for name, path in OF_BLOCK.items()}
    for part in ("embed", "head"):
        table |= {f"{part}.weight": (part, "kernel"), f"{part}.bias": (part, "bias")}
    return table


def in_torch_order(params, cfg):
    """Our nested parameters (or gradients) under torch's names and in its layout."""
    flat = {}
    for name, path in name_table(cfg).items():
        value = params
        for step in path:
            value = value[step]
        flat[name] = np.asarray(value).T if path[-1] == "kernel" else np.asarray(value)
    return flat


def random_params(cfg, seed=0):
    """Every parameter drawn, norms and all biases included, in a scale that keeps attention lively."""
    draw = np.random.default_rng(seed)
    shapes = nnx.eval_shape(lambda: SpectrogramEncoder(cfg, rngs=nnx.Rngs(0)))

    def value(path, leaf):
        if path[-1].key == "scale":
            return draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = leaf.shape[0] if path[-1].key == "kernel" else 100
        return (draw.standard_normal(leaf.shape, np.float32) / math.sqrt(fan_in)).astype(np.float32)

    merge, params, model_state = split(shapes)
    return merge, jax.tree_util.tree_map_with_path(value, params), model_state


def torch_network(cfg, params, dtype):
    """(torch, network) with our parameters: Linear, positions, nn.TransformerEncoder, Linear."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(
        cfg.d_model, cfg.heads, cfg.ff, dropout=0.0, activation="relu", batch_first=True, norm_first=False
    )
    network = torch.nn.ModuleDict({
        "embed": torch.nn.Linear(cfg.in_features, cfg.d_model),
        "blocks": torch.nn.TransformerEncoder(layer, cfg.layers, enable_nested_tensor=False),
        "head": torch.nn.Linear(cfg.d_model, cfg.out_features),
    })
    # Torch refuses a missing or left-over name; the copy keeps it from writing to read-only memory.
    network.load_state_dict({k: torch.tensor(v) for k, v in in_torch_order(params, cfg).items()})
    return torch, network.to(getattr(torch, dtype))


def torch_forward(torch, network, x, padding=None):
    """(embedding and block outputs, reconstruction); positions written out feature by feature."""
    frames, d_model = x.shape[1], network["embed"].out_features
    position = torch.zeros(frames, d_model, dtype=torch.float64)
    time = torch.arange(frames, dtype=torch.float64)
    for feature in range(d_model):
        angle = time * math.exp(-math.log(10_000.0) * (feature - feature % 2) / d_model)
        position[:, feature] = torch.cos(angle) if feature % 2 else torch.sin(angle)
    layers = [network["embed"](x) + position.to(x.dtype)]
    for block in network["blocks"].layers:
        layers.append(block(layers[-1], src_key_padding_mask=padding))
    return layers, network["head"](layers[-1])


def compiled(merge, model_state):
    return jax.jit(lambda params, x, mask, key: merge(params, model_state)(x, mask, key))


@pytest.fixture(scope="module")
def ours():
    """(params, jitted (params, x, mask, key) -> outputs, x, merge, model_state) of the small encoder."""
    merge, params, model_state = random_params(SMALL)
    x = np.random.default_rng(1).standard_normal((3, 40, 156), np.float32)
    return params, compiled(merge, model_state), x, merge, model_state


@pytest.fixture(scope="module")
def theirs(ours):
    """(torch, network in float64 with the same parameters, input, its layers and reconstruction)."""
    torch, network = torch_network(SMALL, ours[0], "float64")
    x = torch.tensor(ours[2]).double()
    with torch.no_grad():
        return torch, network, x, *torch_forward(torch, network, x)


MASK = np.arange(40) < np.array([[40], [25], [1]])


def test_every_stage_equals_torch(ours, theirs, agree):
    params, run, x, *_ = ours
    torch, network, _, layers, reconstruction = theirs
    out = run(params, x, None, None)
    assert len(out["layers"]) == len(layers) == 3
    agree("embedding vs torch", out["layers"][0], layers[0], LAYER)
    for i in range(1, 3):
        agree(f"output of block {i} vs torch", out["layers"][i], layers[i], MODEL)
    agree("reconstruction vs torch", out["reconstruction"], reconstruction, MODEL)
    with torch.no_grad():  # nn.TransformerEncoder as a whole, on its fused path, is the same again
        whole = network["blocks"].eval()(layers[0])
    agree("last layer vs torch.nn.TransformerEncoder", out["layers"][-1], whole, MODEL)


def test_each_part_alone_equals_torch(ours, theirs, agree):
    """Fed with the reference's own input, so that earlier rounding does not count."""
    params, _, _, merge, model_state = ours
    *_, layers, reconstruction = theirs

    @jax.jit
    def parts(params, inputs):
        model = merge(params, model_state)
        return *(block(x) for block, x in zip(model.blocks, inputs, strict=False)), model.head(inputs[-1])

    *blocks, head = parts(params, [jnp.asarray(layer, jnp.float32) for layer in layers])
    for i, block in enumerate(blocks):
        agree(f"block {i + 1} alone vs torch", block, layers[i + 1], LAYER)
    agree("head alone vs torch", head, reconstruction, LAYER)


@pytest.fixture(scope="module")
def loss_and_gradient(ours):
    """Jitted (params, target, cells, mask) -> (masked L1, gradient)."""
    _, _, x, merge, model_state = ours

    def loss_of(params, target, cells, mask):
        return masked_l1(merge(params, model_state)(x, mask)["reconstruction"], target, cells)

    return jax.jit(jax.value_and_grad(loss_of))


@pytest.mark.parametrize("padded", [False, True])
def test_gradient_of_a_step_equals_torch(padded, ours, theirs, loss_and_gradient, agree):
    params, _, x, *_ = ours
    torch, network, same_x, *_ = theirs
    draw = np.random.default_rng(2)
    attended = MASK if padded else np.ones_like(MASK)
    target, cells = draw.standard_normal(x.shape, np.float32), draw.random(x.shape) < 0.2
    cells[0] = False  # a sample with nothing altered
    cells &= attended[..., None]

    loss, gradient = loss_and_gradient(params, target, cells, attended)
    _, reconstruction = torch_forward(torch, network, same_x, torch.tensor(~MASK) if padded else None)
    error, mask = (reconstruction - torch.tensor(target)).abs(), torch.tensor(cells)
    of_torch = sum((error[b] * mask[b]).sum() / max(1, int(mask[b].sum())) for b in range(3)) / 3
    parameters = dict(network.named_parameters())
    of_torch_gradient = dict(zip(parameters, torch.autograd.grad(of_torch, parameters.values()), strict=True))
    agree("loss of a step vs torch", loss, of_torch.item(), MODEL)
    gradients = in_torch_order(gradient, SMALL)
    assert gradients.keys() == of_torch_gradient.keys()
    for name, value in gradients.items():
        agree(f"gradient of {name} vs torch", value, of_torch_gradient[name], MODEL)


def test_padding_mask_equals_torch(ours, theirs, agree):
    params, run, x, *_ = ours
    torch, network, same_x, *_ = theirs
    out = run(params, x, MASK, None)
    with torch.no_grad():
        layers, _ = torch_forward(torch, network, same_x, padding=torch.tensor(~MASK))
    for i in range(1, 3):
        agree(f"block {i} under padding vs torch", out["layers"][i], layers[i], MODEL)


def test_padding_does_not_influence_valid_frames(ours, agree):
    params, run, x, *_ = ours
    padded = np.asarray(run(params, x, MASK, None)["reconstruction"])
    other = run(params, np.where(MASK[..., None], x, 1e3).astype(np.float32), MASK, None)["reconstruction"]
    np.testing.assert_array_equal(padded[MASK], np.asarray(other)[MASK])
    cut = run(params, x[:, :25], None, None)["reconstruction"]
    agree("padded vs cut", padded[1, :25], cut[1], MODEL)
    full = run(params, x, np.ones((3, 40), bool), None)["reconstruction"]
    agree("full mask vs none", full, run(params, x, None, None)["reconstruction"], LAYER)


def test_window_of_padding_only_stays_finite(ours, loss_and_gradient):
    params, _, x, *_ = ours
    loss, gradient = loss_and_gradient(params, x, np.ones(x.shape, bool), np.zeros((3, 40), bool))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((loss, gradient)))


def test_full_size_equals_torch(agree):
    """One window of five minutes through the published 61.1 M parameters, float32 on both sides."""
    cfg = EncoderConfig()
    merge, params, model_state = random_params(cfg)
    torch, network = torch_network(cfg, params, "float32")
    x = np.random.default_rng(1).standard_normal((1, 599, 156), np.float32)
    out = compiled(merge, model_state)(params, x, None, None)
    with torch.no_grad():
        layers, reconstruction = torch_forward(torch, network, torch.tensor(x))
    agree("full size, embedding", out["layers"][0], layers[0], LAYER)
    for i in range(1, 5):
        agree(f"full size, output of block {i}", out["layers"][i], layers[i], MODEL)
    agree("full size, reconstruction", out["reconstruction"], reconstruction, MODEL)


# ---- sizes ----------------------------------------------------------------------------------------------------------


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


# ---- bfloat16 -------------------------------------------------------------------------------------------------------


def test_bfloat16_is_close_to_float32(ours, agree):
    params, run, x, *_ = ours
    half = dataclasses.replace(SMALL, dtype="bfloat16")
    merge, shapes, model_state = split(nnx.eval_shape(lambda: SpectrogramEncoder(half, rngs=nnx.Rngs(0))))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    out, full = compiled(merge, model_state)(params, x, None, None), run(params, x, None, None)["reconstruction"]
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
