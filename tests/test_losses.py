"""The losses worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from selfpab_jax.losses import masked_l1, mean_over_valid


def random_case(seed=0, shape=(3, 7, 5)):
    draw = np.random.default_rng(seed)
    prediction, target = draw.normal(size=(2, *shape)).astype(np.float32)
    return prediction, target, draw.random(shape) < 0.3


def test_masked_l1_by_hand():
    prediction = jnp.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, -2.0], [5.0, 9.0]]])
    target = jnp.array([[[0.0, 2.0], [1.0, 1.0]], [[1.0, 2.0], [5.0, 0.0]]])
    cells = jnp.array([[[1, 0], [1, 1]], [[0, 1], [0, 0]]], bool)
    # (1 + 2 + 3) / 3 = 2 and 4 / 1 = 4
    assert masked_l1(prediction, target, cells) == 3


def test_masked_l1_written_out(agree):
    prediction, target, cells = random_case()
    samples = []
    for b in range(3):
        where = zip(prediction[b].ravel(), target[b].ravel(), cells[b].ravel(), strict=True)
        errors = [abs(float(p) - float(t)) for p, t, cell in where if cell]
        samples.append(sum(errors) / len(errors))
    agree("masked L1 vs written out", masked_l1(prediction, target, cells), sum(samples) / 3, 1e-6)


def test_masked_l1_ignores_other_cells():
    prediction, target, cells = random_case()
    changed = np.where(cells, prediction, np.nan)
    assert masked_l1(changed, target, cells) == masked_l1(prediction, target, cells)


def test_empty_mask_contributes_zero():
    prediction, target, cells = random_case()
    cells[1] = False
    both = masked_l1(prediction[[0, 2]], target[[0, 2]], cells[[0, 2]])
    np.testing.assert_allclose(masked_l1(prediction, target, cells), 2 / 3 * both, rtol=1e-6)
    assert masked_l1(prediction, target, np.zeros_like(cells)) == 0
    gradient = jax.grad(masked_l1)(prediction, target, cells)
    assert np.isfinite(gradient).all() and not gradient[1].any()


def test_each_sample_weighs_the_same():
    """One altered cell or all of them: a sample with error 1 everywhere adds 1 / B."""
    cells = np.zeros((2, 4, 4), bool)
    cells[0, 0, 0], cells[1] = True, True
    prediction = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)]).astype(np.float32)
    assert masked_l1(prediction, np.zeros_like(prediction), cells) == 2
    gradient = jax.grad(masked_l1)(prediction, np.zeros_like(prediction), cells)
    np.testing.assert_allclose(gradient.sum(axis=(1, 2)), [0.5, 0.5], rtol=1e-6)


def test_padding_rows_are_left_out():
    prediction, target, cells = random_case()
    prediction[2] = 1e6
    valid = np.array([True, True, False])
    padded = masked_l1(prediction, target, cells, valid)
    np.testing.assert_allclose(padded, masked_l1(prediction[:2], target[:2], cells[:2]), rtol=1e-6)
    assert not np.any(jax.grad(masked_l1)(prediction, target, cells, valid)[2])
    assert masked_l1(prediction, target, cells, np.zeros(3, bool)) == 0


def test_masked_l1_is_float32_for_bfloat16():
    prediction, target, cells = random_case()
    loss = masked_l1(prediction.astype(jnp.bfloat16), target, cells)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, masked_l1(prediction, target, cells), rtol=1e-2)


def test_mean_over_valid_by_hand():
    values = jnp.array([1.0, 2.0, 6.0])
    assert mean_over_valid(values) == 3
    assert mean_over_valid(values, jnp.array([True, False, True])) == 3.5
    assert mean_over_valid(values, jnp.zeros(3, bool)) == 0
