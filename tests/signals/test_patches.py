"""Patches, their frames' magnitudes and the draw of visible tokens: by hand, in NumPy float64 and against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from selfpab_jax.signals.patches import frame_magnitudes, patchify, random_kept, unpatchify

TOLERANCE = 1e-5


def walking(patches=4, samples=300, seed=0):
    """Gravity, a gait of 1.8 Hz with a harmonic, and noise at 30 Hz, in g; [patches, samples]."""
    draw, seconds = np.random.default_rng(seed), np.arange(samples) / 30
    phase, strength = draw.uniform(0, 6, (2, patches, 1)), draw.uniform(0.1, 0.5, (2, patches, 1))
    waves = [strength[k] * np.sin(2 * np.pi * 1.8 * (k + 1) * seconds + phase[k]) for k in range(2)]
    noise = draw.normal(0, 0.02, (patches, samples))
    return (draw.uniform(-1, 1, (patches, 1)) + sum(waves) + noise).astype(np.float32)


# ---- patches --------------------------------------------------------------------------------------------------------


def test_patches_by_hand():
    """Two axes, seven samples, patches of three: the seventh sample belongs to none."""
    signal = np.array([[[0, 1, 2, 3, 4, 5, 6], [10, 11, 12, 13, 14, 15, 16]]])
    patches = patchify(signal, 3)
    np.testing.assert_array_equal(patches, [[[[0, 1, 2], [10, 11, 12]], [[3, 4, 5], [13, 14, 15]]]])  # [B, N, C, P]
    np.testing.assert_array_equal(unpatchify(patches), signal[..., :6])


@pytest.mark.parametrize("shape", [(12,), (2, 12), (4, 2, 3, 12)])
def test_patches_and_back(shape):
    shape = shape if len(shape) > 1 else (1, *shape)  # at least one channel
    signal = np.random.default_rng(0).standard_normal(shape, np.float32)
    patches = patchify(signal, 4)
    assert patches.shape == (*shape[:-2], 3, shape[-2], 4)
    np.testing.assert_array_equal(unpatchify(patches), signal)


def test_a_signal_shorter_than_a_patch_has_none():
    assert patchify(np.zeros((2, 3, 9)), 10).shape == (2, 0, 3, 10)


# ---- magnitudes -----------------------------------------------------------------------------------------------------


def written_out(signal, length, hop, window):
    """Frame by frame in float64, the window as a formula."""
    weight = [0.5 * (1 - np.cos(2 * np.pi * n / length)) if window == "hann" else 1.0 for n in range(length)]
    starts = range(0, signal.shape[-1] - length + 1, hop)
    frames = [signal[..., first : first + length].astype(np.float64) * weight for first in starts]
    return np.stack([np.abs(np.fft.rfft(frame)) for frame in frames], axis=-2)


def of_short_time_fft(signal, length, hop, window):
    weight = scipy.signal.get_window("hann" if window == "hann" else "boxcar", length, fftbins=True)
    transform = scipy.signal.ShortTimeFFT(weight, hop=hop, fs=30, fft_mode="onesided")
    # Its slice p is centred on sample p * hop, which for hop = length / 2 is the middle of our frame p - 1.
    count = (signal.shape[-1] - length) // hop + 1
    return np.abs(transform.stft(signal.astype(np.float64), p0=1, p1=count + 1)).swapaxes(-1, -2)


@pytest.mark.parametrize("window", ["hann", "rectangular"])
@pytest.mark.parametrize(("length", "hop"), [(60, 30), (30, 15), (300, 300), (64, 20), (7, 3)])
def test_magnitudes_equal_the_formula(length, hop, window, agree):
    signal = walking()
    ours = frame_magnitudes(signal, length, hop, window)
    assert ours.dtype == jnp.float32
    assert ours.shape == (4, (300 - length) // hop + 1, length // 2 + 1)
    agree(f"{window} {length}/{hop} vs written out", ours, written_out(signal, length, hop, window), TOLERANCE)


@pytest.mark.parametrize("window", ["hann", "rectangular"])
def test_magnitudes_equal_scipy(window, agree):
    signal = walking()
    ours = frame_magnitudes(signal, 60, 30, window)
    agree(f"{window} vs ShortTimeFFT", ours, of_short_time_fft(signal, 60, 30, window), TOLERANCE)


def test_a_constant_by_hand():
    """A periodic Hann window of L samples is 1/2 - cos / 2: it sums to L / 2, and leaks L / 4 into bin 1."""
    magnitude = np.asarray(frame_magnitudes(jnp.full((1, 20), -3.0), 8, 4))[0]
    assert magnitude.shape == (4, 5)
    np.testing.assert_allclose(magnitude, np.tile([12, 6, 0, 0, 0], (4, 1)), atol=1e-5)
    magnitude = frame_magnitudes(jnp.full((1, 20), -3.0), 8, 4, "rectangular")[0]
    np.testing.assert_allclose(magnitude, np.tile([24, 0, 0, 0, 0], (4, 1)), atol=1e-5)


def test_frames_stay_inside_the_patch():
    """Ten samples, frames of four every three: samples 0-3, 3-6 and 6-9; of eleven the last is in no frame."""
    impulses = np.eye(11, dtype=np.float32)  # patch k has its only sample at k
    seen = np.asarray(frame_magnitudes(impulses, 4, 3, "rectangular"))[..., 0] > 0.5  # [11, T]
    expected = [[first <= k < first + 4 for first in (0, 3, 6)] for k in range(11)]
    np.testing.assert_array_equal(seen, expected)


def test_magnitudes_are_float32_for_bfloat16():
    rounded = jnp.asarray(walking()).astype(jnp.bfloat16)
    found = frame_magnitudes(rounded, 60, 30)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, frame_magnitudes(rounded.astype(jnp.float32), 60, 30))


# ---- what stays visible ---------------------------------------------------------------------------------------------


def draws(count, tokens, ratio):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: random_kept(key, tokens, ratio)))(keys))  # [count, K]


@pytest.mark.parametrize(("tokens", "ratio", "kept"), [(300, 0.6, 120), (30, 0.6, 12), (7, 0.6, 3), (10, 0.25, 8)])
def test_kept_tokens_are_counted_and_ascend(tokens, ratio, kept):
    """7 tokens: round(4.2) = 4 are masked; 10 tokens at 0.25: round(2.5) = 2, Python rounds halves to even."""
    found = draws(50, tokens, ratio)
    assert found.shape == (50, kept) and found.dtype == np.int32
    assert (np.diff(found, axis=1) > 0).all()
    assert found.min() >= 0 and found.max() < tokens
    assert len(np.unique(found, axis=0)) > 20  # rows differ


def test_every_subset_is_equally_likely():
    """Five tokens, two kept: ten pairs, each in 400 of 4,000 draws give or take 5 standard deviations (19)."""
    pairs, counts = np.unique(draws(4000, 5, 0.6), axis=0, return_counts=True)
    assert pairs.shape == (10, 2)
    assert np.abs(counts - 400).max() < 95
    each = np.bincount(draws(4000, 30, 0.6).ravel(), minlength=30)  # 1,600 give or take 31
    assert np.abs(each - 1600).max() < 155
