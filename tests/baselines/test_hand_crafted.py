"""The 161 features against their definitions and by hand."""

from itertools import combinations

import numpy as np
import pytest
from scipy.signal import butter, filtfilt

from selfpab_jax.baselines.hand_crafted import CHUNK, feature_names, features
from selfpab_jax.signals.stft import CHANNELS

WRIST = ("wrist_x", "wrist_y", "wrist_z")
TIME = np.arange(250) / 50


def quotient(above: float, below: float) -> float:
    return above / below if below else 0.0


def moment(signal, power: int) -> float:
    return float(np.mean((signal - np.mean(signal)) ** power))


def correlation(a, b) -> float:
    covariance = np.mean(a * b) - np.mean(a) * np.mean(b)
    return covariance / max(np.std(a) * np.std(b), 1e-6)


def features_of_window(axes, rate_hz: float = 50) -> list[float]:
    """All features of one window [C, S] in the order of the columns, signal by signal from their definitions."""
    n = axes.shape[1]
    sensors = [range(first, first + 3) for first in range(0, len(axes), 3)]
    magnitudes = [np.sqrt(sum(axes[i] ** 2 for i in sensor)) for sensor in sensors]
    signals = [*axes, *magnitudes]
    numerator, denominator = butter(4, 1, btype="lowpass", fs=rate_hz)
    gravity, data = [], []
    for signal in signals:
        constant = np.all(signal == signal[0])
        slow = signal if constant else filtfilt(numerator, denominator, signal)
        gravity.append(slow)
        data.append(signal - slow)

    found = [np.mean(g) for g in gravity]
    found += [quotient(np.std(g), np.mean(g)) for g in gravity]
    found += [np.std(g) for g in gravity]
    for q in (0, 0.25, 0.5, 0.75):
        found += [sorted(g)[int(q * n)] for g in gravity]
    found += [sorted(g)[-1] for g in gravity]

    found += [quotient(moment(d, 3), moment(d, 2) ** 1.5) for d in data]
    found += [moment(d, 4) / moment(d, 2) ** 2 - 3 if moment(d, 2) else 0.0 for d in data]
    found += [np.sum(d**2) for d in data]

    axes_data, magnitudes_data = data[: len(axes)], data[len(axes) :]
    found += [correlation(a, b) for a, b in combinations(axes_data, 2)]
    found += [correlation(a, b) for a, b in combinations(magnitudes_data, 2)]
    for one, other in combinations(sensors, 2):
        for i in one:
            for j in other:
                found.append(np.mean(np.concatenate([gravity[i], gravity[j]])))

    times = np.arange(n)
    bins = np.arange(n // 2 + 1) / n  # cycles a sample
    amplitudes = [[abs(np.sum(d * np.exp(-2j * np.pi * f * times))) for f in bins] for d in data]
    found += [np.mean(x) for x in amplitudes]
    found += [bins[int(np.argmax(x))] if np.any(d) else 0.0 for x, d in zip(amplitudes, data, strict=True)]
    found += [max(x) for x in amplitudes]
    found += [sum(value**2 for value in x) for x in amplitudes]
    found += [np.std(x) for x in amplitudes]
    found += [quotient(sum(f * value for f, value in zip(bins, x, strict=True)), sum(x)) for x in amplitudes]
    return found


def walking(windows: int, channels: int, samples: int = 250, seed: int = 0) -> np.ndarray:
    """Gravity that turns slowly, steps and noise, float64 [W, C, S]."""
    rng = np.random.default_rng(seed)
    time, phase = np.arange(samples) / 50, rng.uniform(0, 2 * np.pi, (windows, channels, 1))
    steps = rng.exponential(0.2, (windows, channels, 1)) * np.sin(2 * np.pi * 1.8 * time + phase)
    turning = rng.normal(0, 1, (windows, channels, 1)) * np.cos(2 * np.pi * 0.1 * time + phase)
    return turning + steps + rng.normal(0, 0.05, (windows, channels, samples))


def check(acceleration: np.ndarray, rate_hz: float = 50) -> None:
    expected = np.array([features_of_window(window, rate_hz) for window in acceleration])
    found = features(acceleration, rate_hz)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def column(acceleration: np.ndarray, name: str, channels=CHANNELS) -> np.ndarray:
    """One feature of each window."""
    return features(acceleration)[:, feature_names(channels).index(name)]


def on_axis(signal: np.ndarray, axis: int = 0) -> np.ndarray:
    """One window in which two sensors lie still, 1 g on z, but for one axis."""
    window = np.zeros((1, 6, len(signal)))
    window[0, [2, 5]] = 1
    window[0, axis] = signal
    return window


@pytest.mark.parametrize("windows", [1, CHUNK, CHUNK + 1])
def test_equals_the_definitions(windows):
    check(walking(windows, 6))


def test_equals_the_definitions_for_another_rate_and_length():
    check(walking(2, 6, samples=91, seed=1), rate_hz=30)


@pytest.mark.parametrize("channels", [3, 9])
def test_equals_the_definitions_for_one_sensor_and_for_three(channels):
    check(walking(2, channels, seed=2))


def test_windows_that_are_constant_in_part_or_whole():
    acceleration = walking(4, 6, seed=3)
    acceleration[0] = 0  # nothing at all
    acceleration[1] = np.array([1 / 3, -0.7, 0.1, 0.9, 0.2, -0.3])[:, None]
    acceleration[2, :3] = 0.57
    acceleration[3, 4] = 0
    check(acceleration)
    found = features(acceleration)
    assert np.isfinite(found).all()
    assert not found[0].any()
    names = feature_names(CHANNELS)
    still = dict(zip(names, found[1], strict=True))
    for name in ("skew", "kurtosis", "energy", "freq_mean", "freq_dom", "freq_total_signal_power", "freq_cent"):
        assert [still[f"{name} {signal}"] for signal in (*CHANNELS, "|back|", "|thigh|")] == [0] * 8
    assert still["q0_gravity back_x"] == still["q100_gravity back_x"] == 1 / 3


def test_rounding_is_not_movement():
    """A change that no sensor resolves is as still as none."""
    acceleration = on_axis(1 + 1e-12 * np.sin(TIME))
    assert column(acceleration, "energy back_x") == column(acceleration, "freq_dom back_x") == 0


def test_mean_of_zero_has_no_variation():
    """Odd around its middle: the mean of gravity may be exactly 0 while it varies."""
    acceleration = np.zeros((1, 3, 16))
    acceleration[0, 0] = [-1.0] * 8 + [1.0] * 8
    assert np.isfinite(features(acceleration)).all()


def test_float32_and_no_windows():
    acceleration = walking(2, 6).astype(np.float32)
    np.testing.assert_array_equal(features(acceleration), features(acceleration.astype(np.float64)))
    assert features(acceleration[:0]).shape == (0, 161)


def test_windows_are_filtered_each_on_its_own():
    acceleration = walking(3, 6, seed=4)
    np.testing.assert_array_equal(features(acceleration)[1:2], features(acceleration[1:2]))


def test_a_sine_has_its_frequency():
    """2 Hz in 5 s: bin 10 of 250 samples, amplitude 125 g; nothing is left of it below 1 Hz."""
    acceleration = on_axis(np.sin(2 * np.pi * 2 * TIME), axis=3)
    assert column(acceleration, "freq_dom thigh_x") == 10 / 250
    assert column(acceleration, "freq_dom_mag thigh_x") == pytest.approx(125, rel=0.01)
    assert column(acceleration, "freq_total_signal_power thigh_x") == pytest.approx(125**2, rel=0.02)
    assert column(acceleration, "energy thigh_x") == pytest.approx(125, rel=0.02)
    assert column(acceleration, "skew thigh_x") == pytest.approx(0, abs=0.01)
    assert column(acceleration, "kurtosis thigh_x") == pytest.approx(-1.5, abs=0.02)  # 3/8 / (1/2)^2 - 3
    assert column(acceleration, "mean_gravity thigh_x") == pytest.approx(0, abs=0.01)
    assert column(acceleration, "freq_dom thigh_y") == 0


def test_a_slow_ramp_is_gravity():
    """The filter lets a straight line pass, but for its ends: quantiles are the samples 62, 125 and 187."""
    acceleration = on_axis(np.arange(250) / 100)
    found = [column(acceleration, f"q{q}_gravity back_x").item() for q in (25, 50, 75)]
    assert found == pytest.approx([0.62, 1.25, 1.87], abs=0.001)
    found = [column(acceleration, f"q{q}_gravity back_x").item() for q in (0, 100)]
    assert found == pytest.approx([0, 2.49], abs=0.07)
    mean, std = 1.245, np.sqrt((250**2 - 1) / 12) / 100
    assert column(acceleration, "mean_gravity back_x").item() == pytest.approx(mean, rel=0.002)
    assert column(acceleration, "std_gravity back_x").item() == pytest.approx(std, rel=0.002)
    assert column(acceleration, "cv_gravity back_x").item() == pytest.approx(std / mean, rel=0.002)
    # The samples of both signals together: (1.245 + 1) / 2.
    assert column(acceleration, "axes_mean back_x thigh_z").item() == pytest.approx(1.1225, rel=0.001)


def test_the_magnitude_is_filtered_as_a_signal():
    """x and y on a circle at 3 Hz: both are movement alone, their length of 1 g is gravity alone."""
    acceleration = np.zeros((1, 3, 250))
    acceleration[0, :2] = np.cos(2 * np.pi * 3 * TIME), np.sin(2 * np.pi * 3 * TIME)
    assert column(acceleration, "mean_gravity |wrist|", WRIST).item() == pytest.approx(1)
    assert column(acceleration, "energy |wrist|", WRIST).item() == 0
    assert column(acceleration, "mean_gravity wrist_x", WRIST).item() == pytest.approx(0, abs=0.05)


def test_correlation_of_identical_and_opposite_axes():
    acceleration = walking(1, 6, seed=5)
    acceleration[0, 4] = acceleration[0, 0]
    acceleration[0, 2] = 1 - acceleration[0, 0]
    acceleration[0, 5] = 0.5
    assert column(acceleration, "axes_corr back_x thigh_y").item() == pytest.approx(1)
    assert column(acceleration, "axes_corr back_x back_z").item() == pytest.approx(-1)
    assert column(acceleration, "axes_corr back_x thigh_z") == 0


def test_correlation_fades_where_hardly_anything_moves():
    """Movement of 1e-4 g on both axes: the product of the spreads, 5e-9 g^2, is below the least, 1e-6."""
    shake = 1e-4 * np.sin(2 * np.pi * 5 * TIME)
    acceleration = on_axis(shake)
    acceleration[0, 4] = shake
    assert column(acceleration, "axes_corr back_x thigh_y").item() == pytest.approx(0.005, rel=0.02)


def test_names_in_the_published_order():
    names = feature_names(CHANNELS)
    assert len(names) == len(set(names)) == 161 == features(walking(1, 6)).shape[1]
    # fmt: off
    counts = {
        "mean_gravity": 8, "cv_gravity": 8, "std_gravity": 8, "q0_gravity": 8, "q25_gravity": 8, "q50_gravity": 8,
        "q75_gravity": 8, "q100_gravity": 8, "skew": 8, "kurtosis": 8, "energy": 8, "axes_corr": 16, "axes_mean": 9,
        "freq_mean": 8, "freq_dom": 8, "freq_dom_mag": 8, "freq_total_signal_power": 8, "freq_std": 8, "freq_cent": 8,
    }
    # fmt: on
    assert [name.split(" ")[0] for name in names] == [name for name, count in counts.items() for _ in range(count)]
    assert names[:8] == tuple(f"mean_gravity {signal}" for signal in (*CHANNELS, "|back|", "|thigh|"))
    assert names[88] == "axes_corr back_x back_y" and names[103] == "axes_corr |back| |thigh|"
    assert names[104] == "axes_mean back_x thigh_x" and names[112] == "axes_mean back_z thigh_z"


def test_names_for_one_sensor():
    names = feature_names(WRIST)
    assert len(names) == 17 * 4 + 3 == features(walking(1, 3)).shape[1]
    assert [name for name in names if name.startswith("axes")] == [
        "axes_corr wrist_x wrist_y",
        "axes_corr wrist_x wrist_z",
        "axes_corr wrist_y wrist_z",
    ]
    assert len(feature_names((*CHANNELS, *WRIST))) == 17 * 12 + 36 + 3 + 27


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((6, 250), r"acceleration has shape \(6, 250\), expected \[windows, channels, samples\]"),
        ((1, 4, 250), "there are 4 channels, expected three axes a sensor"),
        ((1, 0, 250), "there are 0 channels, expected three axes a sensor"),
        ((1, 6, 15), "windows have 15 samples, expected at least 16"),
    ],
)
def test_wrong_shapes(shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        features(np.zeros(shape))
