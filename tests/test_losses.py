"""The losses worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.losses import Spectrum, lmm, lmv, masked_l1, masked_mse, mean_over_valid


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


# ---- spectral losses by hand ----------------------------------------------------------------------------------------

# Frames of two samples (a, b) without a window have the magnitudes |a + b| and |a - b|.
PAIRS = Spectrum(frame_length=2, hop=2, window="rectangular")
WHOLE = Spectrum(frame_length=4, hop=4, window="rectangular")  # of four: a+b+c+d, |(a-c) - i(b-d)|, a-b+c-d


def one_patch(loss, prediction, target, *spectrum):
    """The loss of a single masked patch with one axis."""
    patches = (jnp.array(x, jnp.float32).reshape(1, 1, 1, -1) for x in (prediction, target))
    return float(loss(*patches, jnp.ones((1, 1), bool), *spectrum))


# Frames (3, 1) and (5, 1): magnitudes 4, 2 and 6, 4; means 5, 3; variances 1, 1.
TARGET = [3, 1, 5, 1]
# Frames (201, 199) and (302, 298): magnitudes 400, 2 and 600, 4; means 500, 3; variances 100^2, 1.
LOUDER = [201, 199, 302, 298]


def test_lmm_and_lmv_by_hand():
    # Log means differ by 2 and 0: (4 + 0) / 2. Log variances differ by 4 and 0: (16 + 0) / 2.
    assert one_patch(lmm, LOUDER, TARGET, PAIRS) == pytest.approx(2, rel=1e-5)
    assert one_patch(lmv, LOUDER, TARGET, PAIRS) == pytest.approx(8, rel=1e-5)
    # Errors 198, 198, 297, 297: (198^2 + 297^2) / 2.
    assert one_patch(masked_mse, LOUDER, TARGET) == pytest.approx(63_706.5, rel=1e-6)


def test_distance_and_log_base_by_hand():
    absolute = Spectrum(frame_length=2, hop=2, window="rectangular", distance="l1")
    assert one_patch(lmm, LOUDER, TARGET, absolute) == pytest.approx(1, rel=1e-5)  # (2 + 0) / 2
    assert one_patch(lmv, LOUDER, TARGET, absolute) == pytest.approx(2, rel=1e-5)  # (4 + 0) / 2
    natural = Spectrum(frame_length=2, hop=2, window="rectangular", log_base="e")
    assert one_patch(lmm, LOUDER, TARGET, natural) == pytest.approx(2 * 2.302585**2, rel=1e-5)
    assert one_patch(lmv, LOUDER, TARGET, natural) == pytest.approx(8 * 2.302585**2, rel=1e-5)


def test_average_of_logarithms_by_hand():
    """Sums of the target's frames are 1 and 100, of the prediction's 10 and 10; all differences are 1."""
    target, prediction = [1, 0, 50.5, 49.5], [5.5, 4.5, 5.5, 4.5]
    # Means 50.5 and 10: (log10 5.05)^2 / 2 = 0.703291^2 / 2. Means of the logarithms: 1 and 1.
    assert one_patch(lmm, prediction, target, PAIRS) == pytest.approx(0.247309, rel=1e-5)
    logarithms = Spectrum(frame_length=2, hop=2, window="rectangular", average="mean_of_log")
    assert one_patch(lmm, prediction, target, logarithms) == pytest.approx(0, abs=1e-9)


def test_single_dft_and_pooled_bins_by_hand():
    """The magnitudes of (1, 0, 0, 0) are 1, 1, 1, those of (280, -225, 270, -225) are 100, 10, 1000."""
    prediction, target = [280, -225, 270, -225], [1, 0, 0, 0]
    assert one_patch(lmm, prediction, target, WHOLE) == pytest.approx(14 / 3, rel=1e-5)  # (2^2 + 1^2 + 3^2) / 3
    # In twos the logarithms are (2 + 1) / 2 and 3 / 1; all three together they are 2.
    for width, distance, expected in (
        (2, "l2", (1.5**2 + 3**2) / 2),
        (2, "l1", (1.5 + 3) / 2),
        (3, "l2", 4),
    ):
        spectrum = Spectrum(frame_length=4, hop=4, window="rectangular", distance=distance, pool=width)
        assert one_patch(lmm, prediction, target, spectrum) == pytest.approx(expected, rel=1e-5)


def test_hann_window_by_hand():
    """The window (0, 1/2, 1, 1/2): 1 g everywhere gives 2, 1, 0, ten times it 20, 10, 0; 0 counts as the floor."""
    hann = Spectrum(frame_length=4, hop=4)
    assert one_patch(lmm, [10] * 4, [1] * 4, hann) == pytest.approx((1 + 1 + 0) / 3, rel=1e-5)


def test_floor_by_hand():
    assert one_patch(lmm, [0, 0, 0, 0], [1, 0, 0, 0], WHOLE) == pytest.approx(4**2, rel=1e-5)  # 1e-4 and 1
    assert one_patch(lmv, [0, 0, 0, 0], TARGET, PAIRS) == pytest.approx(8**2, rel=1e-5)  # 1e-8 and 1
    higher = Spectrum(frame_length=2, hop=2, window="rectangular", floor=0.01)
    assert one_patch(lmm, [0, 0, 0, 0], [1, 0, 1, 0], higher) == pytest.approx(2**2, rel=1e-5)  # 1e-2 and 1
    assert one_patch(lmv, [0, 0, 0, 0], TARGET, higher) == pytest.approx(4**2, rel=1e-5)  # 1e-4 and 1


@pytest.mark.parametrize(
    ("loss", "far"), [(lmm, 2), (lmv, 8), (lambda p, t, m, _, v: masked_mse(p, t, m, v), 63_706.5)]
)
def test_masked_patches_and_valid_rows_by_hand(loss, far):
    """Two axes, of which one is equal: a masked patch that is far counts half of it, one that is not masked nothing."""
    target = np.tile(np.float32(TARGET), (3, 2, 2, 1))  # [B, N, C, P]
    prediction = target.copy()
    prediction[:, 0, 1] = LOUDER
    prediction[2] = 1e3
    masked = np.array([[1, 0], [1, 1], [1, 1]], bool)
    rows = [far / 2, far / 4]  # of one masked patch, and of two of which one is equal
    valid = np.array([True, True, False])
    assert float(loss(prediction, target, masked, PAIRS, valid)) == pytest.approx(sum(rows) / 2, rel=1e-5)
    assert float(loss(prediction[:2], target[:2], masked[:2], PAIRS, None)) == pytest.approx(sum(rows) / 2, rel=1e-5)
    elsewhere = np.array([[0, 1], [0, 1], [0, 0]], bool)
    assert float(loss(prediction, target, elsewhere, PAIRS, None)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"window": "hamming"}, "spectrum.window is 'hamming', expected hann or rectangular"),
        ({"average": "median"}, "spectrum.average is 'median', expected log_of_mean or mean_of_log"),
        ({"log_base": "2"}, "spectrum.log_base is '2', expected 10 or e"),
        ({"distance": "l3"}, "spectrum.distance is 'l3', expected l2 or l1"),
        ({"frame_length": 1}, "spectrum.frame_length is 1 samples, expected 2 or more"),
        ({"hop": 61}, "spectrum.hop is 61, expected 1 to spectrum.frame_length (60)"),
        ({"pool": 32}, "spectrum.pool is 32, expected 1 to the number of bins (31)"),
        ({"floor": 0.0}, "spectrum.floor is 0.0, expected a positive magnitude in g, such as 1e-4"),
    ],
)
def test_impossible_spectra(fields, sentence):
    with pytest.raises(ValueError) as error:
        Spectrum(**fields)
    assert str(error.value) == sentence


def test_frames_of_a_patch():
    assert (Spectrum().frames(300), Spectrum(300, 1).frames(300)) == (9, 1)
    with pytest.raises(ValueError, match="frame_length is 60 samples, expected at most a patch \\(59 samples\\)"):
        Spectrum().frames(59)


# ---- spectral losses on simulated walking ---------------------------------------------------------------------------


@functools.cache
def losses(spectrum):
    """Jitted (prediction, target) -> {name: loss}, every patch masked."""

    def of(prediction, target):
        masked = jnp.ones(prediction.shape[:2], bool)
        found = {loss.__name__: loss(prediction, target, masked, spectrum) for loss in (lmm, lmv)}
        return found | {"mse": masked_mse(prediction, target, masked)}

    return jax.jit(of)


def walking(seed, patches=32):
    """Two cuts of 10 s, a random shift apart, of the same walks at 30 Hz: gravity, five harmonics, noise; in g."""
    draw, seconds = np.random.default_rng(seed), np.arange(600) / 30
    gravity = draw.normal(size=(patches, 3, 1))
    gravity /= np.linalg.norm(gravity, axis=1, keepdims=True)
    signal = gravity + draw.normal(0, 0.005, (patches, 3, 600))
    pace = draw.uniform(1.5, 2.1, (patches, 1, 1))
    for k in range(1, 6):
        strength, phase = draw.uniform(0.1, 0.3, (patches, 3, 1)) / k, draw.uniform(0, 2 * np.pi, (patches, 3, 1))
        signal += strength * np.sin(2 * np.pi * k * pace * seconds + phase)
    shift = draw.integers(1, 300)
    return (signal[None, :, :, first : first + 300].astype(np.float32) for first in (0, shift))  # [1, N, C, P] each


def phase_randomised(signal, seed):
    spectrum = np.fft.rfft(signal)
    turn = np.exp(2j * np.pi * np.random.default_rng(seed).random(spectrum.shape))
    turn[..., [0, -1]] = 1
    return np.fft.irfft(spectrum * turn).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_spectral_losses_see_the_spectrum_and_not_the_phase(seed):
    target, shifted = walking(seed)
    copies = {
        "shifted": shifted,
        "phases": phase_randomised(target, seed),
        "flipped": -target,
        "zero": np.zeros_like(target),
        "mean": np.broadcast_to(target.mean(axis=-1, keepdims=True), target.shape),
    }
    found = {name: losses(Spectrum())(copy, target) for name, copy in copies.items()}
    of_lmm, of_lmv, of_mse = ({name: float(f[loss]) for name, f in found.items()} for loss in ("lmm", "lmv", "mse"))
    print(f"LMM {of_lmm}; LMV {of_lmv}; MSE {of_mse}")
    assert of_lmm["shifted"] < 0.2 and of_lmm["phases"] < 0.4
    assert of_lmm["zero"] > 4 and of_lmm["mean"] > 4
    assert max(of_lmm["flipped"], of_lmv["flipped"]) < 1e-12
    assert of_lmv["phases"] > 1
    assert max(of_mse, key=of_mse.get) == "flipped" and of_mse["flipped"] > 1
    assert of_mse["mean"] < 0.1 < of_mse["zero"]


@pytest.mark.parametrize("spectrum", [Spectrum(), Spectrum(60, 30, "rectangular", "mean_of_log", "e", 1e-4, "l1", 4)])
def test_gradients_are_finite(spectrum):
    """Also where a magnitude, a variance or a difference is exactly 0."""
    still, (signal, other) = np.zeros((1, 2, 3, 300), np.float32), walking(0, patches=2)
    one = np.broadcast_to(signal.mean(axis=-1, keepdims=True), signal.shape)
    cases = [(a, b) for a in (still, one, signal, other) for b in (still, one, signal)]
    jacobian = jax.jit(
        jax.vmap(jax.jacrev(lambda p, t: losses(spectrum)(p, t) | {"sum": sum(losses(spectrum)(p, t).values())}))
    )
    gradients = jacobian(*(np.stack(side) for side in zip(*cases, strict=True)))
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all(), name
        assert gradient[-1].any(), name  # of one walk against another


def test_float32_inside_for_bfloat16():
    target, prediction = walking(1, patches=4)
    rounded = jnp.asarray(prediction).astype(jnp.bfloat16)
    low, exact = losses(Spectrum())(rounded, target), losses(Spectrum())(rounded.astype(jnp.float32), target)
    for name, value in low.items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, exact[name], rtol=1e-6)


def test_lmm_and_its_gradient_equal_torch(agree):
    torch = pytest.importorskip("torch")
    from launch.benchmarks.mae_network import lmm as of_torch

    target, prediction = np.random.default_rng(0).normal(size=(2, 4, 5, 3, 300)).astype(np.float32)
    masked = np.zeros((4, 5), bool)
    masked[:, [1, 4]] = True
    loss, gradient = jax.jit(jax.value_and_grad(lambda p: lmm(p, target, masked, Spectrum())))(prediction)
    same = torch.tensor(prediction, dtype=torch.float64, requires_grad=True)
    expected = of_torch(same, torch.tensor(target).double(), torch.tensor(masked), 60, 30, 1e-4)
    expected.backward()
    agree("LMM vs torch", loss, expected.item(), 1e-5)
    agree("gradient of LMM vs torch", gradient, same.grad, 1e-4)
    assert not gradient[:, [0, 2, 3]].any()
