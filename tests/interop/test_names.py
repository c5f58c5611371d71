"""The table of names: both directions, and what it says about tensors that are not those of an encoder."""

import numpy as np
import pytest

from selfpab_jax.interop.names import POSITIONS, from_torch, positions, table, to_torch
from selfpab_jax.models.encoder import EncoderConfig

EMBEDDING = "emb.lin_proj_layer.weight"
CFG = EncoderConfig(in_features=78, out_features=78, d_model=20, heads=2, ff=24, layers=3, dropout=0.0)


@pytest.fixture
def tensors(random_params):
    return to_torch(random_params(CFG)[1])


def test_both_directions_are_exact(random_params, tensors):
    import jax

    params = random_params(CFG)[1]
    cfg, back = from_torch(tensors, {"heads": 2}, "F")
    assert cfg == EncoderConfig(in_features=78, out_features=78, d_model=20, heads=2, ff=24, layers=3)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    again = to_torch(back)
    assert list(again) == list(tensors) == [row.torch for row in table(3)]
    assert all(np.array_equal(again[name], tensors[name]) and again[name].flags.c_contiguous for name in tensors)


def test_the_published_names_and_shapes():
    """Section by section as the published state_dict lists them: 52 parameters and a buffer."""
    rows = {row.torch: row for row in table(4)}
    assert len(rows) == 52
    assert rows["transformer_encoder.layers.3.self_attn.in_proj_weight"].ours == "blocks/3/attn/qkv/kernel"
    assert positions(1500).shape == (1, 10_000, 1500) and POSITIONS == "emb.pos_encoder.pe"


def test_queries_keys_and_values_are_thirds_of_the_rows(tensors):
    """The three thirds, each changed alone, change the third of our kernel's columns that attention reads as such."""
    name = "transformer_encoder.layers.0.self_attn.in_proj_weight"
    before = from_torch(tensors, {"heads": 2}, "F")[1]["blocks"][0]["attn"]["qkv"]["kernel"]
    for third in range(3):
        changed = tensors[name].copy()
        changed[20 * third : 20 * (third + 1)] += 1
        after = from_torch(tensors | {name: changed}, {"heads": 2}, "F")[1]["blocks"][0]["attn"]["qkv"]["kernel"]
        changed_thirds = [bool((after != before)[:, 20 * i : 20 * (i + 1)].all()) for i in range(3)]
        assert changed_thirds == [i == third for i in range(3)]


def test_all_problems_are_in_one_sentence(tensors):
    block = "transformer_encoder.layers."
    tensors = {name: array for name, array in tensors.items() if not name.startswith(f"{block}1.")}
    tensors[f"{block}0.linear1.weight"] = tensors[f"{block}0.linear1.weight"].T
    tensors[f"{block}2.norm1.bias"] = np.zeros(7, np.float32)
    tensors[f"{block}2.norm2.bias"] = np.full(20, np.nan, np.float32)
    tensors["prediction_head.mlp.layer0.linear_relu.0.weight"] = np.zeros((3, 20), np.float32)
    with pytest.raises(ValueError) as error:
        from_torch(tensors, {"heads": 2, "ff": 25}, "F.pt")
    sentence = str(error.value)
    for part in (
        "F.pt does not hold the tensors of a SelfPAB encoder: missing: transformer_encoder.layers.1.self_attn.in_proj",
        "transformer_encoder.layers.1.norm2.bias;",
        "not of this network: prediction_head.mlp.layer0.linear_relu.0.weight;",
        "transformer_encoder.layers.0.linear1.weight is (20, 24), expected (24, 20), transposed",
        "transformer_encoder.layers.2.norm1.bias is (7,), expected (20,)",
        "not finite: transformer_encoder.layers.2.norm2.bias",
        "ff is 25 by the hyper-parameters or flags and 24 by the tensors",
    ):
        assert part in sentence
    assert "linear2" not in sentence.split("wrongly shaped")[1]  # what is right is not blamed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t | {EMBEDDING: t[EMBEDDING].T}, r"\(78, 20\), expected \(20, 78\), transposed"),
        (lambda t: {f"model.{name}": value for name, value in t.items()}, "found: model.emb.lin_proj_layer.weight, "),
        (lambda t: {}, "found: none"),
        (lambda t: t | {POSITIONS: positions(20) + 0.1}, "pe differs by 0.1 from the sinusoids"),
        (lambda t: t | {POSITIONS: positions(20)[:, :600]}, r"pe is \(1, 600, 20\), expected \(1, 10000, 20\)"),
        (lambda t: t | {POSITIONS: positions(22)}, r"pe is \(1, 10000, 22\), expected \(1, 10000, 20\)"),
        (lambda t: t | {"transformer_encoder.layers.²": np.zeros(20, np.float32)}, "not of this network"),
        (lambda t: t | {"transformer_encoder.layers.9999.norm1.bias": np.zeros(20, np.float32)}, "missing"),
        (lambda t: t | {f"transformer_encoder.layers.{'9' * 5000}.x": np.zeros(20, np.float32)}, "not of this network"),
    ],
)
def test_what_it_refuses(change, sentence, tensors):
    with pytest.raises(ValueError, match=sentence):
        from_torch(change(tensors), {"heads": 2}, "F")


def test_heads_are_never_guessed(tensors):
    with pytest.raises(ValueError, match="does not tell the number of attention heads .* add --heads"):
        from_torch(tensors, {}, "F")
    with pytest.raises(ValueError, match="F does not .* 3 attention heads do not divide the width 20"):
        from_torch(tensors, {"heads": 3}, "F")
