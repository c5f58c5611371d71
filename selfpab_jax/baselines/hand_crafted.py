"""Hand-crafted features of windows of acceleration, which the published encoder is compared against.

The signals of a window are its axes and after them each sensor's magnitude. A low-pass filter over the window splits
each signal, the magnitude too, into gravity and the movement that is left.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from scipy.signal import butter, filtfilt

from selfpab_jax.signals.stft import SAMPLE_RATE_HZ

ORDER, CUTOFF_HZ = 4, 1.0  # of the Butterworth low-pass
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST_SAMPLES = 3 * (ORDER + 1) + 1  # the filter extends a window by one less on each side
LEAST_SPREAD = 1e-6  # g^2, of two axes: below it their correlation fades to 0
STILL_G = 1e-9  # a signal that varies less is constant: what the filter leaves of it is rounding
CHUNK = 8  # windows at a time: larger arrays would be handed back to the system, and cleared by it, again and again

# One number a signal each, in the order of the columns; between the two the pairs of axes.
OF_GRAVITY = ("mean_gravity", "cv_gravity", "std_gravity", *(f"q{100 * q:.0f}_gravity" for q in QUANTILES))
OF_MOVEMENT = ("skew", "kurtosis", "energy")
OF_SPECTRUM = ("freq_mean", "freq_dom", "freq_dom_mag", "freq_total_signal_power", "freq_std", "freq_cent")


def feature_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of `features`, such as "mean_gravity back_x", "skew |back|", "axes_corr back_x thigh_z".

    Raises:
      ValueError: channels that are not three axes a sensor.
    """
    if not channels or len(channels) % 3:
        raise ValueError(f"there are {len(channels)} channels, expected three axes a sensor")
    sensors = [name.rpartition("_")[0] for name in channels[::3]]
    magnitudes = [f"|{sensor}|" for sensor in sensors]

    def of_signals(names: Sequence[str]) -> list[str]:
        return [f"{name} {signal}" for name in names for signal in (*channels, *magnitudes)]

    pairs = [*combinations(channels, 2), *combinations(magnitudes, 2)]
    across = [(channels[i], channels[j]) for i, j in _across(len(channels))]
    found = of_signals(OF_GRAVITY + OF_MOVEMENT)
    found += [f"axes_corr {a} {b}" for a, b in pairs] + [f"axes_mean {a} {b}" for a, b in across]
    return tuple(found + of_signals(OF_SPECTRUM))


def features(acceleration, rate_hz: float = SAMPLE_RATE_HZ) -> np.ndarray:
    """Features of each window on its own, float64 [W, F]; 161 of two sensors, finite for finite windows.

    Of gravity: mean, coefficient of variation, standard deviation, quantiles (the sorted sample at int(q S)); of the
    movement: skewness, excess kurtosis, energy, correlations of all pairs of axes and of all pairs of magnitudes; of
    gravity: the mean of two axes for each such pair of two sensors; of the movement's amplitude spectrum |X|: mean,
    dominant frequency and its amplitude, total power, standard deviation, centroid. Frequencies are in cycles a sample.
    Skewness, kurtosis, correlation, dominant frequency and centroid of a constant signal are 0, and so is the
    coefficient of variation around a mean of 0.

    Args:
      acceleration: [W, C, S], g, three axes a sensor.

    Raises:
      ValueError: another shape, axes that are not three a sensor, or a window shorter than 16 samples.

    Source: Logacjov et al. 2024, the hand-crafted features beside SelfPAB; the filter and the order of the columns are
    those of its published code.
    """
    acceleration = np.asarray(acceleration)
    if acceleration.ndim != 3:
        raise ValueError(f"acceleration has shape {acceleration.shape}, expected [windows, channels, samples]")
    windows, channels, samples = acceleration.shape
    names = feature_names(("",) * channels)
    if samples < LEAST_SAMPLES:
        raise ValueError(f"windows have {samples} samples, expected at least {LEAST_SAMPLES} to filter them")
    low_pass, found = butter(ORDER, CUTOFF_HZ, fs=rate_hz), np.empty((windows, len(names)))
    for begin in range(0, windows, CHUNK):
        part = slice(begin, begin + CHUNK)
        found[part] = _features(acceleration[part].astype(np.float64), low_pass)
    return found


def _across(channels: int) -> list[tuple[int, int]]:
    """Pairs of axes of two different sensors, sensor by sensor."""
    sensors = [range(first, first + 3) for first in range(0, channels, 3)]
    return [pair for one, other in combinations(sensors, 2) for pair in product(one, other)]


def _features(axes: np.ndarray, low_pass: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Features [W, F] of axes float64 [W, C, S]."""
    channels, samples = axes.shape[1:]
    x, y, z = (axes[:, axis::3] for axis in range(3))
    signals = np.concatenate([axes, np.sqrt(x * x + y * y + z * z)], 1)  # [W, C + sensors, S]
    gravity = filtfilt(*low_pass, signals)
    movement = signals - gravity
    still = np.ptp(signals, -1) < STILL_G
    gravity[still], movement[still] = signals[still], 0
    mean, std = gravity.mean(-1), gravity.std(-1)
    ordered = np.sort(gravity, -1)
    found = [mean, _ratio(std, mean), std]
    found += [ordered[..., min(int(q * samples), samples - 1)] for q in QUANTILES]

    centred = movement - movement.mean(-1, keepdims=True)
    covariance = centred @ centred.mT / samples  # [W, C + sensors, C + sensors]
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    squares = centred * centred
    third, fourth = (_sum_of_products(squares, of) / samples for of in (centred, squares))
    found += [_ratio(third, variance**1.5), _ratio(fourth, variance**2, constant=3) - 3]
    found += [_sum_of_products(movement, movement)]

    pairs = [*combinations(range(channels), 2), *combinations(range(channels, signals.shape[1]), 2)]
    i, j = np.array(pairs).T
    found += [covariance[:, i, j] / np.maximum(np.sqrt(variance[:, i] * variance[:, j]), LEAST_SPREAD)]
    found += [(mean[:, [a]] + mean[:, [b]]) / 2 for a, b in _across(channels)]
    return np.concatenate(found + _of_spectrum(movement), -1)  # [W, F]


def _of_spectrum(movement: np.ndarray) -> list[np.ndarray]:
    """Each [W, signals], in the order of OF_SPECTRUM."""
    amplitude, frequency = np.abs(np.fft.rfft(movement)), np.fft.rfftfreq(movement.shape[-1])  # [W, signals, bins]
    mean, dominant = amplitude.mean(-1), frequency[amplitude.argmax(-1)]
    power = _sum_of_products(amplitude, amplitude)
    centroid = _ratio(amplitude @ frequency, amplitude.sum(-1))
    return [mean, dominant, amplitude.max(-1), power, amplitude.std(-1), centroid]


def _sum_of_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...s,...s->...", a, b)


def _ratio(above: np.ndarray, below: np.ndarray, constant: float = 0.0) -> np.ndarray:
    """above / below, `constant` where below is 0."""
    return np.divide(above, below, out=np.full_like(above, constant), where=below != 0)
