"""The probe's head by hand and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from selfpab_jax.evaluate.probe import masked_cross_entropy
from selfpab_jax.models.functional import parameter_count, split
from selfpab_jax.models.heads import LstmHead, ProbeHead

LAYERS, FEATURES, HIDDEN, CLASSES = 3, 8, 6, 4


def random_head(hidden=HIDDEN, seed=0):
    """(merge, parameters all drawn, layer outputs [2, 5, n, D])."""
    draw = np.random.default_rng(seed)
    shapes = nnx.eval_shape(lambda: ProbeHead(LAYERS, FEATURES, hidden, CLASSES, rngs=nnx.Rngs(0)))
    merge, params, model_state = split(shapes)
    assert not model_state
    params = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape, np.float32), params)
    return lambda p: merge(p, {}), params, draw.standard_normal((2, 5, LAYERS, FEATURES), np.float32)


@pytest.mark.parametrize("hidden", [HIDDEN, 0])
def test_head_written_out(hidden, agree):
    merge, params, layers = random_head(hidden)
    x = sum(params["layer_weight"][i] * layers[:, :, i].astype(np.float64) for i in range(LAYERS))
    if hidden:
        x = np.maximum(x @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    logits = x @ params["out"]["kernel"] + params["out"]["bias"]
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    agree(f"head with {hidden} hidden vs written out", merge(params)(layers), expected, 1e-5)


def test_loss_and_gradient_equal_torch(agree):
    """Cross-entropy over labelled frames; the gradient reaches the sum's weights and every layer of the encoder."""
    torch = pytest.importorskip("torch")
    merge, params, layers = random_head()
    label = np.random.default_rng(1).integers(-1, CLASSES, (2, 5))

    def ours(params, layers):
        return masked_cross_entropy(merge(params)(layers), label)

    loss, (gradient, of_layers) = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(params, layers)
    theirs = jax.tree.map(lambda leaf: torch.tensor(leaf, dtype=torch.float64, requires_grad=True), params)
    same_layers = torch.tensor(layers, dtype=torch.float64, requires_grad=True)
    x = (same_layers * theirs["layer_weight"][:, None]).sum(-2)
    x = torch.relu(x @ theirs["hidden"]["kernel"] + theirs["hidden"]["bias"])
    logits = (x @ theirs["out"]["kernel"] + theirs["out"]["bias"]).reshape(-1, CLASSES)
    of_torch = torch.nn.functional.cross_entropy(logits, torch.tensor(label).reshape(-1), ignore_index=-1)
    of_torch.backward()
    agree("cross-entropy vs torch", loss, of_torch.item(), 1e-5)
    agree("its gradient in the layers vs torch", of_layers, same_layers.grad, 1e-5)
    assert np.abs(of_layers).max(axis=(0, 1, 3)).all()
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        reference = theirs
        for key in path:
            reference = reference[key.key]
        agree(f"its gradient in {jax.tree_util.keystr(path)} vs torch", leaf, reference.grad, 1e-5)


def test_probabilities_and_types():
    merge, params, layers = random_head()
    out = merge(params)(jnp.asarray(layers, jnp.bfloat16))
    assert out.shape == (2, 5, CLASSES) and out.dtype == jnp.float32
    np.testing.assert_allclose(np.exp(out).sum(-1), 1, rtol=1e-5)


def test_sum_starts_as_the_mean_and_sizes_are_published():
    """1,543,028 + 1,029 K parameters of the published head, and one weight a layer output."""
    _, params, _ = split(nnx.eval_shape(lambda: ProbeHead(5, 1500, 1028, 12, rngs=nnx.Rngs(0))))
    assert parameter_count(params) == 1_543_028 + 1029 * 12 + 5
    head = ProbeHead(5, 2, 0, 2, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(head.layer_weight[...], np.full(5, 0.2))
    assert head.hidden is None


def test_lstm_equals_torch_and_padding_changes_nothing(agree):
    """Two bidirectional layers against torch.nn.LSTM, its gate order i f g o and its two biases added."""
    torch = pytest.importorskip("torch")
    draw, hidden, lengths = np.random.default_rng(3), 5, (7, 4)
    shapes = nnx.eval_shape(lambda: LstmHead(1, FEATURES, hidden, CLASSES, rngs=nnx.Rngs(0)))
    merge, params, model_state = split(shapes)
    assert not model_state
    params = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape, np.float32) / 2, params)
    params["layer_weight"] = np.ones(1, np.float32)
    layers = draw.standard_normal((2, 7, 1, FEATURES), np.float32)
    valid = np.arange(7) < np.array(lengths)[:, None]
    ours = jax.jit(lambda p, x, v: merge(p, {})(x, v))

    lstm = torch.nn.LSTM(FEATURES, hidden, 2, batch_first=True, bidirectional=True).double()
    for number in range(2):
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            cell = params[direction][number]
            for name, array in (
                (f"weight_ih_l{number}{suffix}", cell["dense_i"]["kernel"].T),
                (f"weight_hh_l{number}{suffix}", cell["dense_h"]["kernel"].T),
                (f"bias_ih_l{number}{suffix}", cell["dense_h"]["bias"]),
                (f"bias_hh_l{number}{suffix}", np.zeros(4 * hidden)),
            ):
                lstm.state_dict()[name].copy_(torch.tensor(np.asarray(array)))
    found = ours(params, layers, valid)
    for row, length in enumerate(lengths):  # each alone, so without padding
        states, _ = lstm(torch.tensor(layers[row : row + 1, :length, 0]).double())
        logits = states.detach().numpy()[0] @ params["out"]["kernel"] + params["out"]["bias"]
        expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        agree(f"LSTM over {length} tokens vs torch", found[row, :length], expected, 1e-5)
    other = layers.copy()
    other[~valid] = 9
    np.testing.assert_array_equal(np.asarray(ours(params, other, valid))[valid], np.asarray(found)[valid])
