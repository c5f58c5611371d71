"""Short-time Fourier magnitudes of acceleration, in the convention the published encoder was trained with.

One implementation serves NumPy (statistics while preparing data) and JAX (inside the jitted step): the array
namespace is taken from the argument.
"""

from collections.abc import Sequence

import numpy as np

from selfpab_jax.signals.tokens import Tokens

SAMPLE_RATE_HZ = 50
N_FFT = 50  # 1 s frames, so bins lie 1 Hz apart
HOP = 25  # half a frame
FRAMES = Tokens(SAMPLE_RATE_HZ, N_FFT, HOP)
N_BINS = N_FFT // 2 + 1
MAGNITUDES = ("linear", "log")
WINDOW_SAMPLES = 15_000  # 5 minutes
CHANNELS = ("back_x", "back_y", "back_z", "thigh_x", "thigh_y", "thigh_z")
SENSORS = ("back", "thigh")

# Periodic Hann (not the symmetric one of scipy.signal.get_window(..., fftbins=False)); sums to 25.
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


def sensor_channels(sensors: Sequence[str]) -> slice:
    """Where the channels of these sensors stand in `CHANNELS`.

    Raises:
      ValueError: no sensor, an unknown one, or another order than that of the channels.
    """
    numbers = [SENSORS.index(name) if name in SENSORS else -1 for name in sensors]
    if not numbers or numbers != list(range(numbers[0], numbers[-1] + 1)) or numbers[0] < 0:
        raise ValueError(f"sensors are {', '.join(sensors) or 'none'}, expected back, thigh or both in this order")
    each = len(CHANNELS) // len(SENSORS)
    return slice(numbers[0] * each, (numbers[-1] + 1) * each)


def n_frames(n_samples: int) -> int:
    """Number of whole frames in `n_samples` samples; no padding, so 15,000 samples give 599."""
    return FRAMES.count(n_samples)


N_FRAMES = n_frames(WINDOW_SAMPLES)


def magnitude_spectrogram(acceleration):
    """Magnitudes |X| of the windowed one-sided DFT, [..., C, S] in g -> [..., T, C * F] in g.

    Frames start every 25 samples, without centring or padding; magnitudes are neither scaled nor logged, so a
    constant of 1 g gives 25 in bin 0 and 12.5 in bin 1. Features are channel-major with frequency ascending inside a
    channel: index = 26 * channel + bin.

    Args:
      acceleration: float32, NumPy or JAX, S >= 50 samples at 50 Hz.

    Raises:
      ValueError: fewer samples than one frame.

    Source: SelfPAB (doi 10.1007/s10489-024-05322-3), section 3; torch.stft(n_fft=50, center=False) of its code.
    """
    xp = acceleration.__array_namespace__()
    *lead, channels, samples = acceleration.shape
    frames = n_frames(samples)
    if frames == 0:
        raise ValueError(f"a spectrogram needs at least {N_FFT} samples (1 s at 50 Hz), got {samples}")
    # Frames are pairs of neighbouring half-frames: a reshape and a concatenation instead of a gather.
    halves = acceleration[..., : (frames + 1) * HOP].reshape(*lead, channels, frames + 1, HOP)  # [..., C, T+1, 25]
    framed = xp.concat([halves[..., :-1, :], halves[..., 1:, :]], axis=-1)  # [..., C, T, 50]
    magnitude = xp.abs(xp.fft.rfft(framed * xp.asarray(HANN)))  # [..., C, T, F]
    return xp.moveaxis(magnitude, -3, -2).reshape(*lead, frames, channels * N_BINS)  # [..., T, C * F]


def log_or_linear(spectrogram, magnitude: str):
    """The spectrogram itself ("linear", as published) or log(1 + x) of it ("log").

    Raises:
      ValueError: another word.
    """
    if magnitude == "linear":
        return spectrogram
    if magnitude == "log":
        return spectrogram.__array_namespace__().log1p(spectrogram)
    raise ValueError(f"magnitude is '{magnitude}', expected 'linear' or 'log'")
