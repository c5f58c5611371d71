"""DeepConvLSTM against torch.nn.Conv2d and torch.nn.LSTM, on both kinds of tokens."""

import jax
import numpy as np
import pytest

from selfpab_jax.models.deep_conv_lstm import deep_conv_lstm
from selfpab_jax.models.functional import parameter_count, split

CHANNELS, CLASSES, FILTERS, HIDDEN = 3, 4, 6, 5
SIZES = {"filters": FILTERS, "hidden": HIDDEN}


def drawn(features: int, per_token: bool):
    """(merged and jitted forward pass, parameters all drawn)."""
    made = split(deep_conv_lstm(CHANNELS, features, CLASSES, 0, **SIZES, per_token=per_token))
    assert not made.model_state
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape, np.float32) / 3, made.params)
    return jax.jit(lambda p, x, valid: made.merge(p, {})(x, valid)), params


def of_torch(params, x, per_token: bool):
    """Log-probabilities of x [B, T, C, F]: at the last step, or at each one with zeros beyond both ends."""
    torch = pytest.importorskip("torch")
    as_tensor = lambda array: torch.tensor(np.asarray(array), dtype=torch.float64)  # noqa: E731
    y = as_tensor(x).permute(0, 3, 1, 2)  # [B, F, T, C]
    for layer in params["convolutions"].values():
        weight = as_tensor(layer["kernel"]).permute(2, 1, 0)[..., None]  # [F', F, 5, 1]
        padding = (0, 0) if per_token else (2, 0)
        y = torch.relu(torch.nn.functional.conv2d(y, weight, as_tensor(layer["bias"]), padding=padding))
    y = y.permute(0, 2, 3, 1).flatten(2)  # [B, T', C F']
    for cell in params["lstms"].values():
        lstm = torch.nn.LSTM(y.shape[-1], HIDDEN, batch_first=True).double()
        with torch.no_grad():
            lstm.weight_ih_l0.copy_(as_tensor(cell["dense_i"]["kernel"]).T)
            lstm.weight_hh_l0.copy_(as_tensor(cell["dense_h"]["kernel"]).T)
            lstm.bias_ih_l0.copy_(as_tensor(cell["dense_h"]["bias"]))
            lstm.bias_hh_l0.zero_()
        y = lstm(y)[0].detach()
    y = y[:, -1] if per_token else y
    return torch.log_softmax(y @ as_tensor(params["out"]["kernel"]) + as_tensor(params["out"]["bias"]), -1).numpy()


def test_a_signal_a_token_equals_torch(agree):
    run, params = drawn(CHANNELS * 30, per_token=True)
    x = np.random.default_rng(1).standard_normal((2, 3, 1, CHANNELS * 30), np.float32)
    signals = x.reshape(6, CHANNELS, 30, 1).swapaxes(1, 2)
    expected = of_torch(params, signals, per_token=True).reshape(2, 3, CLASSES)
    agree("DeepConvLSTM on signals vs torch", run(params, x, None), expected, 1e-5)


def test_a_sequence_of_tokens_equals_torch_and_padding_changes_nothing(agree):
    run, params = drawn(CHANNELS * 7, per_token=False)
    x = np.random.default_rng(2).standard_normal((2, 9, 1, CHANNELS * 7), np.float32)
    valid = np.arange(9) < np.array([9, 6])[:, None]
    found = run(params, x, valid)
    assert found.shape == (2, 9, CLASSES)
    for row, length in enumerate((9, 6)):  # each alone, so without padding
        alone = x[row : row + 1, :length, 0].reshape(1, length, CHANNELS, 7)
        expected = of_torch(params, alone, per_token=False)[0]
        agree(f"DeepConvLSTM on {length} frames vs torch", found[row, :length], expected, 1e-5)
    other = x.copy()
    other[~valid] = 9
    np.testing.assert_array_equal(np.asarray(run(params, other, valid))[valid], np.asarray(found)[valid])


def test_channels_share_their_kernels_and_do_not_mix_before_the_lstm():
    """The first convolution of 1 x 5 x 64 weights is all that the number of sensor channels leaves alone."""
    sizes = {"filters": 64, "hidden": 128, "per_token": True}
    count = lambda channels: parameter_count(split(deep_conv_lstm(channels, channels * 250, 7, 0, **sizes)).params)  # noqa: E731
    assert count(6) - count(3) == 3 * 64 * 4 * 128  # inputs of the first LSTM's four gates
    kernels = [5 * 1 * 64 + 64] + 3 * [5 * 64 * 64 + 64]
    lstms = [4 * 128 * (width + 128 + 1) for width in (6 * 64, 128)]
    assert count(6) == sum(kernels) + sum(lstms) + 128 * 7 + 7


def test_the_same_seed_gives_the_same_parameters():
    first, second, other = (
        split(deep_conv_lstm(CHANNELS, 30, CLASSES, seed, **SIZES, per_token=True)).params for seed in (1, 1, 2)
    )
    same = lambda a, b: jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))  # noqa: E731
    assert same(first, second) and not same(first, other)
