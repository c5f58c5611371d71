"""The masked autoencoder against the same network in PyTorch's own modules, and what it may look at."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from selfpab_jax.models.functional import parameter_count, split
from selfpab_jax.models.mae import MaeConfig, MaskedAutoencoder, masked_autoencoder, rotate, seen

LAYER, MODEL = 1e-5, 1e-4  # tolerances, relative to the largest value
TOKENS = MaeConfig(patch=20, d_model=32, layers=2, heads=4, decoder_layers=1, decoder_width=16)
VARIANTS = {
    "mask tokens": dataclasses.replace(TOKENS, layers=1),
    "dropped tokens": dataclasses.replace(TOKENS, drop_tokens=True),
}
B, N = 3, 11
KEPT = np.array([[0, 3, 4, 10], [1, 2, 7, 9], [5, 6, 8, 10]])
VALID = np.arange(N) < np.array([[N], [6], [1]])
INPUTS = {"all": (None, np.ones_like(VALID)), "kept": (KEPT, None), "padded": (None, VALID)}
TARGET = np.random.default_rng(3).standard_normal((B, N, 3, TOKENS.patch), np.float32)


def random_network(cfg):
    """(merge, params): every parameter drawn, norms, biases and mask token included."""
    draw = np.random.default_rng(0)
    merge, shapes, _ = split(nnx.eval_shape(lambda: MaskedAutoencoder(cfg, rngs=nnx.Rngs(0))))

    def value(path, leaf):
        if path[-1].key == "scale":
            return draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        spread = len(leaf) ** -0.5 if path[-1].key == "kernel" else 0.3
        return spread * draw.standard_normal(leaf.shape, np.float32)

    return merge, jax.tree_util.tree_map_with_path(value, shapes)


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((B, N, 3, TOKENS.patch), np.float32)


@pytest.fixture(scope="module", params=VARIANTS)
def ours(request):
    """(cfg, params, run, merge) of one variant; run: (params, patches, kept, valid) -> ((squared error of the
    reconstruction from TARGET, outputs), gradient), compiled once with `kept` and once with `valid`."""
    cfg = VARIANTS[request.param]
    merge, params = random_network(cfg)

    def error(params, patches, kept, valid):
        out = merge(params, {})(patches, kept, valid)
        return ((out["reconstruction"] - TARGET) ** 2).mean(), out

    return cfg, params, jax.jit(jax.value_and_grad(error, has_aux=True)), merge


@pytest.fixture(scope="module")
def theirs(ours):
    """(torch, the network in float64 with the same parameters)."""
    torch = pytest.importorskip("torch")
    from launch.benchmarks.mae_network import MaskedAutoencoder as Twin

    cfg, params, *_ = ours
    network = Twin(dataclasses.asdict(cfg))
    network.load(params)
    return torch, network.double()


@pytest.mark.parametrize("inputs", INPUTS)
def test_every_stage_and_gradient_equal_torch(inputs, ours, theirs, patches, agree):
    (cfg, params, run, _), (torch, network) = ours, theirs
    from launch.benchmarks.mae_network import flat

    kept, valid = INPUTS[inputs]
    (loss, out), gradient = run(params, patches, kept, valid)
    # Every token valid is the same as no word about it.
    same = (None if array is None or array.all() else torch.tensor(array) for array in (kept, valid))
    layers, reconstruction = network(torch.tensor(patches).double(), *same)
    assert len(out["layers"]) == len(layers) == cfg.layers + 1
    agree(f"{inputs}: embedding vs torch", out["layers"][0], layers[0].detach(), LAYER)
    for i in range(1, cfg.layers + 1):
        agree(f"{inputs}: output of block {i} vs torch", out["layers"][i], layers[i].detach(), MODEL)
    assert out["reconstruction"].shape == patches.shape
    agree(f"{inputs}: reconstruction vs torch", out["reconstruction"], reconstruction.detach(), MODEL)

    of_torch = ((reconstruction - torch.tensor(TARGET)) ** 2).mean()
    parameters = dict(network.named_parameters())
    found = dict(zip(parameters, torch.autograd.grad(of_torch, parameters.values(), allow_unused=True), strict=True))
    agree(f"{inputs}: loss vs torch", loss, of_torch.item(), MODEL)
    gradient = flat(gradient)
    assert gradient.keys() == found.keys()
    for name, value in gradient.items():
        if found[name] is None:  # the mask token, where every patch is seen
            assert name == "mask_token" and inputs != "kept" and not value.any()
        else:
            agree(f"{inputs}: gradient of {name} vs torch", value, found[name], MODEL)


@pytest.mark.parametrize("ours", ["dropped tokens"], indirect=True)
def test_each_part_alone_equals_torch(ours, theirs, agree):
    """Fed with the same input, so that earlier rounding does not count; positions up to those of 50 minutes."""
    (cfg, params, _, merge), (torch, network) = ours, theirs
    from launch.benchmarks.mae_network import turns

    draw, position = np.random.default_rng(2), np.array([[0, 1, 2, 298, 299]] * B, np.float32)
    wide, narrow = (draw.standard_normal((B, 5, d), np.float32) for d in (cfg.d_model, cfg.decoder_width))

    @jax.jit
    def parts(params):
        model = merge(params, {})
        blocks = [block(wide, position) for block in model.blocks], [block(narrow, position) for block in model.decoder]
        return *blocks, model.norm(wide), model.head(narrow)

    encoder, decoder, norm, head = parts(params)
    turn = turns(torch.tensor(position), cfg.d_model // cfg.heads, torch.float64)
    wide, narrow = (torch.tensor(x).double() for x in (wide, narrow))
    with torch.no_grad():
        for i, block in enumerate(network.blocks):
            agree(f"block {i + 1} alone vs torch", encoder[i], block(wide, turn, None), LAYER)
        agree("block of the decoder alone vs torch", decoder[0], network.decoder[0](narrow, turn, None), LAYER)
        agree("last norm alone vs torch", norm, network.norm(wide), LAYER)
        agree("head alone vs torch", head, network.head(narrow), LAYER)


def test_reference_size():
    """9,940,620 parameters, counted by hand too; nothing is allocated.

    A block: qkv 256 * 768 + 768, out 256 * 256 + 256, gate and up 256 * 683 + 683 each, down 683 * 256 + 256 and two
    norms of 256, together 789,846. Around them: embedding 900 * 256 + 256, mask token and last norm 256 each, head
    256 * 900 + 900, together 462,468.
    """
    params = split(nnx.eval_shape(lambda: masked_autoencoder(MaeConfig(), 0))).params
    assert MaeConfig().ff == 683
    assert {parameter_count(block) for block in params["blocks"].values()} == {789_846}
    assert parameter_count(params) == 12 * 789_846 + 462_468 == 9_940_620


def test_only_kept_patches_are_seen(ours, patches):
    cfg, params, run, _ = ours
    masked = ~np.asarray(seen(jnp.asarray(KEPT), N))
    assert masked.sum() == B * (N - KEPT.shape[1])
    changed = np.where(masked[..., None, None], 1e3, patches)
    (_, one), (_, other) = (run(params, x, KEPT, None)[0] for x in (patches, changed.astype(np.float32)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    changed = patches.copy()
    changed[:, KEPT[:, 0]] += 1
    (_, other), _ = run(params, changed, KEPT, None)
    assert np.abs(other["reconstruction"] - one["reconstruction"]).max(axis=(2, 3)).min() > 1e-3  # of every token


def test_embedding_by_hand(ours, patches):
    """Linear in the flattened patch where it is seen; elsewhere the mask token, or no token at all."""
    cfg, params, run, _ = ours
    first = np.asarray(run(params, patches, KEPT, None)[0][1]["layers"][0])
    kernel, bias = params["embed"]["kernel"], params["embed"]["bias"]
    for b in range(B):
        rows = [patches[b, n].ravel() @ kernel + bias if n in KEPT[b] else params["mask_token"] for n in range(N)]
        expected = [rows[n] for n in KEPT[b]] if cfg.drop_tokens else rows
        np.testing.assert_allclose(first[b], expected, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing_for_the_others(ours, patches):
    _, params, run, _ = ours
    changed = np.where(VALID[..., None, None], patches, 7).astype(np.float32)
    one, other, without = (
        run(params, *given)[0][1]
        for given in ((patches, None, VALID), (changed, None, VALID), (patches, None, np.ones_like(VALID)))
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[VALID], np.asarray(b)[VALID])
    assert np.abs(without["reconstruction"] - one["reconstruction"])[1, :6].max() > 1e-2


# ---- rotary positions -----------------------------------------------------------------------------------------------


def test_rotary_position_by_hand():
    """Four features: pairs (0, 2) and (1, 3), which turn by 1 and by 10000^(-2/4) = 1/100 a position."""
    x = jnp.array([3.0, 5.0, 4.0, 12.0]).reshape(1, 1, 1, 4)
    turned = {p: np.asarray(rotate(x, jnp.array([p], jnp.float32))).ravel() for p in (0, np.pi / 2, 50 * np.pi)}
    np.testing.assert_array_equal(turned[0], [3, 5, 4, 12])
    # A quarter turn takes (3, 4) to (-4, 3); meanwhile (5, 12) turns by pi / 200.
    c, s = np.cos(np.pi / 200), np.sin(np.pi / 200)
    np.testing.assert_allclose(turned[np.pi / 2], [-4, 5 * c - 12 * s, 3, 12 * c + 5 * s], rtol=1e-5)
    # After 25 whole turns of the first pair the second has made a quarter turn.
    np.testing.assert_allclose(turned[50 * np.pi], [3, -12, 4, 5], rtol=1e-4)


def test_scores_depend_on_the_difference_of_positions():
    query, keys = np.random.default_rng(0).standard_normal((2, 1, 5, 2, 8), np.float32)
    position = np.array([0, 1, 4, 9, 20], np.float32)

    def scores(positions):
        return jnp.einsum("bqhd,bkhd->bhqk", rotate(query, positions), rotate(keys, positions))

    near = scores(position)
    np.testing.assert_allclose(scores(position + 250), near, atol=1e-4)
    assert np.abs(scores(2 * position) - near).max() > 0.1
    np.testing.assert_allclose(
        np.linalg.norm(rotate(query, position), axis=-1), np.linalg.norm(query, axis=-1), rtol=1e-5
    )


# ---- precision and settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", ["dropped tokens"], indirect=True)
def test_bfloat16_activations(ours, patches):
    exact, params, run, _ = ours
    cfg = dataclasses.replace(exact, dtype="bfloat16")
    merge, params = random_network(cfg)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    out = jax.jit(lambda params: merge(params, {})(patches, KEPT))(params)
    (_, expected), _ = run(params, patches, KEPT, None)
    assert {layer.dtype for layer in out["layers"]} == {jnp.dtype("bfloat16")}
    assert out["reconstruction"].dtype == jnp.float32
    difference = np.abs(out["reconstruction"] - expected["reconstruction"]).max()
    assert 1e-4 < difference / np.abs(expected["reconstruction"]).max() < 0.05


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"layers": 0}, "model.layers is 0, expected 1 or more"),
        ({"patch": 0}, "model.patch is 0, expected 1 or more"),
        ({"d_model": 24, "heads": 8}, "model.d_model is 24, expected a multiple of twice model.heads (16)"),
        ({"decoder_width": 48}, "model.decoder_width is 48, expected a multiple of the width of a head (32)"),
        ({"ff_ratio": 0.0}, "model.ff_ratio is 0.0, expected a positive number"),
        ({"dtype": "float16"}, "model.dtype is 'float16', expected float32 or bfloat16"),
    ],
)
def test_impossible_sizes(fields, sentence):
    with pytest.raises(ValueError) as error:
        MaeConfig(**fields)
    assert str(error.value) == sentence
