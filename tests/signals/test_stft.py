"""The spectrogram against SciPy, torch.stft and a transform written out, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from selfpab_jax.signals.stft import HANN, N_FRAMES, WINDOW_SAMPLES, log_or_linear, magnitude_spectrogram, n_frames

TOLERANCE = 1e-5
NAMESPACES = {"numpy": np.asarray, "jax": jnp.asarray}


def recording(samples=WINDOW_SAMPLES, channels=6, seed=0):
    """Gravity, a gait of 1.8 Hz with two harmonics, and noise, in g; every channel differs."""
    draw, seconds = np.random.default_rng(seed), np.arange(samples) / 50
    waves = [np.sin(2 * np.pi * 1.8 * k * seconds + phase) / k for k, phase in ((1, 0.3), (2, 1.1), (3, 2.0))]
    gravity, strength = draw.uniform(-1, 1, (channels, 1)), draw.uniform(0.1, 1, (channels, 3))
    return (gravity + strength @ np.array(waves) + draw.normal(0, 0.05, (channels, samples))).astype(np.float32)


def periodic_hann():
    return np.array([0.5 * (1 - np.cos(2 * np.pi * n / 50)) for n in range(50)])


def written_out(acceleration):
    """Frame by frame in float64; [T, C * F], channel-major."""
    frames = []
    for first in range(0, acceleration.shape[1] - 50 + 1, 25):
        frame = acceleration[:, first : first + 50].astype(np.float64) * periodic_hann()
        frames.append(np.abs(np.fft.rfft(frame, axis=1)).reshape(-1))
    return np.array(frames)


def of_short_time_fft(acceleration):
    # "onesided" puts no scaling on the magnitudes; the first whole frame of SciPy's grid is centred on sample 25.
    transform = scipy.signal.ShortTimeFFT(periodic_hann(), hop=25, fs=50, fft_mode="onesided")
    whole = transform.stft(acceleration.astype(np.float64), p0=1, p1=n_frames(acceleration.shape[1]) + 1)  # [C, F, T]
    return np.abs(whole).transpose(2, 0, 1).reshape(whole.shape[2], -1)


def of_scipy_stft(acceleration):
    # scipy.signal.stft divides by the window's sum, 25.
    *_, whole = scipy.signal.stft(acceleration.astype(np.float64), 50, "hann", 50, 25, boundary=None, padded=False)
    return 25 * np.abs(whole).transpose(2, 0, 1).reshape(whole.shape[2], -1)


def of_torch(acceleration):
    torch = pytest.importorskip("torch")
    whole = torch.stft(
        torch.from_numpy(acceleration), 50, 25, window=torch.hann_window(50), center=False, return_complex=True
    )
    return whole.abs().numpy().transpose(2, 0, 1).reshape(whole.shape[2], -1)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("reference", [written_out, of_short_time_fft, of_scipy_stft, of_torch])
def test_equals_reference(reference, namespace, agree):
    acceleration = recording()
    ours = magnitude_spectrogram(NAMESPACES[namespace](acceleration))
    agree(f"stft {namespace} vs {reference.__name__}", ours, reference(acceleration), TOLERANCE)


def test_window_is_periodic_hann():
    np.testing.assert_allclose(HANN, scipy.signal.get_window("hann", 50, fftbins=True), atol=1e-7)
    assert HANN.sum() == pytest.approx(25)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_constant_of_one_g(namespace):
    spectrogram = np.asarray(magnitude_spectrogram(NAMESPACES[namespace](np.ones((1, 100), np.float32))))
    assert spectrogram.shape == (3, 26)
    expected = np.array([25, 12.5] + [0] * 24)
    np.testing.assert_allclose(spectrogram, np.tile(expected, (3, 1)), atol=25 * TOLERANCE)


def test_features_are_channel_major():
    """A sine of h Hz in channel c has its peak, half the window's sum, at feature 26 * c + h."""
    seconds = np.arange(500) / 50
    for channel, hertz in enumerate((3, 7, 11, 5, 20, 24)):
        acceleration = np.zeros((6, 500), np.float32)
        acceleration[channel] = np.sin(2 * np.pi * hertz * seconds)
        spectrogram = magnitude_spectrogram(acceleration)
        assert set(spectrogram.argmax(axis=1)) == {26 * channel + hertz}
        np.testing.assert_allclose(spectrogram[:, 26 * channel + hertz], 12.5, rtol=1e-5)


def test_five_minutes():
    assert N_FRAMES == n_frames(15_000) == 599
    spectrogram = magnitude_spectrogram(recording())
    assert spectrogram.shape == (599, 156)
    assert spectrogram.dtype == np.float32
    assert magnitude_spectrogram(recording(channels=3)).shape == (599, 78)


def test_frames_need_whole_seconds():
    assert [n_frames(samples) for samples in (0, 49, 50, 74, 75, 20_001)] == [0, 0, 1, 1, 2, 799]
    longer = recording(samples=124)  # the last 24 samples fill no frame
    np.testing.assert_array_equal(magnitude_spectrogram(longer), magnitude_spectrogram(longer[:, :100]))


def test_leading_axes_and_cuts(agree):
    """A batch equals its rows, and the spectrogram of a cut equals the cut of the spectrogram."""
    batch = np.stack([recording(600, seed=seed) for seed in range(4)]).reshape(2, 2, 6, 600)
    whole = magnitude_spectrogram(batch)
    agree("stft batch vs rows", whole[1, 0], magnitude_spectrogram(batch[1, 0]), TOLERANCE)
    agree("stft cut", magnitude_spectrogram(batch[..., 100:400]), whole[..., 4:15, :], TOLERANCE)


def test_jit_and_numpy_agree(agree):
    acceleration = recording()
    ours = jax.jit(magnitude_spectrogram)(acceleration)
    agree("stft jit vs numpy", ours, magnitude_spectrogram(acceleration), TOLERANCE)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradient_is_finite_where_magnitudes_vanish(value):
    """|X| has no derivative at 0, where still sensors and dead channels live."""
    acceleration = jnp.full((6, 200), value)
    gradient = jax.grad(lambda a: magnitude_spectrogram(a).sum())(acceleration)
    assert np.isfinite(gradient).all()


def test_gradient_by_hand():
    """d|X_0| / dx_n = w_n for a positive signal."""
    gradient = jax.grad(lambda a: magnitude_spectrogram(a)[0, 0])(jnp.ones((1, 50)))
    np.testing.assert_allclose(gradient[0], HANN, atol=1e-6)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_too_short(namespace):
    with pytest.raises(ValueError, match="at least 50 samples.*got 49"):
        magnitude_spectrogram(NAMESPACES[namespace](np.zeros((6, 49), np.float32)))


def test_log_or_linear():
    spectrogram = np.array([[0.0, 1.0, np.e - 1]], np.float32)
    assert log_or_linear(spectrogram, "linear") is spectrogram
    np.testing.assert_allclose(log_or_linear(spectrogram, "log"), [[0, np.log(2), 1]], rtol=1e-6)
    np.testing.assert_allclose(log_or_linear(jnp.asarray(spectrogram), "log"), [[0, np.log(2), 1]], rtol=1e-6)
    with pytest.raises(ValueError, match="magnitude is 'dB', expected 'linear' or 'log'"):
        log_or_linear(spectrogram, "dB")


def test_precision_of_matrix_products_does_not_matter():
    """No product of matrices is in it, which accelerators round to bfloat16 or TF32 where nobody asks otherwise."""
    acceleration = recording(samples=600)

    def spectrogram(precision):
        with jax.default_matmul_precision(precision):
            assert "dot_general" not in str(jax.make_jaxpr(magnitude_spectrogram)(acceleration))
            return jax.jit(lambda a: magnitude_spectrogram(a))(acceleration)

    np.testing.assert_array_equal(spectrogram("bfloat16"), spectrogram("float32"))
