"""Choosing sensors and resampling: against analytic sines, by-hand times and labels, and across gaps."""

import numpy as np
import pytest
import scipy.signal

from data_pipelines.contract import Recording, channels_of
from data_pipelines.resample import fourier_resample, resample, select_sensors

WRIST = channels_of(["wrist"])


def recording(signal, rate_hz, time=None, label=None):
    """A wrist recording with `signal` [S] on every axis and a clock without jitter."""
    signal = np.repeat(np.asarray(signal, np.float32)[:, None], 3, axis=1)
    time = np.rint(np.arange(len(signal)) * 1e6 / rate_hz).astype(np.int64) if time is None else time
    return Recording("P", "P_1", signal, time, label, {1: "walking"}, WRIST, rate_hz)


def sine(hz, rate_hz, n=3000):
    return np.sin(2 * np.pi * hz * np.arange(n) / rate_hz)


@pytest.mark.parametrize(("old", "new"), [(50, 30), (100, 30), (30, 50), (25, 30), (64, 30)])
@pytest.mark.parametrize("hz", [0.1, 1, 5, 10])
def test_a_slow_sine_keeps_amplitude_and_phase(old, new, hz):
    out = resample(recording(sine(hz, old), old), new, 5.0)
    assert out.acceleration.dtype == np.float32 and out.rate_hz == new and out.channels == WRIST
    assert len(out.acceleration) == len(out.time) == -(-3000 * new // old)
    inner = slice(2 * new, -2 * new)
    for channel in out.acceleration.T:
        np.testing.assert_allclose(channel[inner], sine(hz, new, len(channel))[inner], atol=5e-4)


@pytest.mark.parametrize(("old", "hz"), [(50, 18), (50, 22), (100, 22), (100, 45)])
def test_a_fast_sine_does_not_come_back_as_a_slow_one(old, hz):
    out = resample(recording(sine(hz, old), old), 30, 5.0).acceleration
    assert np.abs(out[60:-60]).max() < 0.002


@pytest.mark.parametrize(("old", "new"), [(50, 30), (100, 30), (30, 50), (25, 30), (64, 30)])
@pytest.mark.parametrize("samples", [1, 2, 40, 3000])
def test_gravity_stays_what_it_is_up_to_the_ends(old, new, samples):
    out = resample(recording(np.full(samples, -0.98), old), new, 5.0).acceleration
    np.testing.assert_allclose(out, -0.98, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(100, 50), (98, 50), (50, 100), (33, 50)])
@pytest.mark.parametrize("hz", [0.1, 1, 5, 12])
def test_fourier_keeps_a_slow_sine(old, new, hz):
    out = fourier_resample(recording(sine(hz, old), old), new, 5.0)
    assert out.acceleration.dtype == np.float32 and len(out.acceleration) == len(out.time) == -(-3000 * new // old)
    for channel in out.acceleration.T:
        np.testing.assert_allclose(
            channel[2 * new : -2 * new], sine(hz, new, len(channel))[2 * new : -2 * new], atol=2e-3
        )


@pytest.mark.parametrize(("old", "hz"), [(100, 30), (100, 45), (98, 30)])
def test_fourier_cuts_off_a_fast_sine(old, hz):
    out = fourier_resample(recording(sine(hz, old), old), 50, 5.0).acceleration
    assert np.abs(out[100:-100]).max() < 0.01


@pytest.mark.parametrize(("old", "new"), [(100, 50), (50, 100), (98, 50)])
def test_fourier_is_that_of_scipy_where_the_stretch_is_whole_periods(old, new):
    # Away from its ends, where SciPy sees the next period and this a reflection.
    signal = sine(2, old, 50 * old) + 0.3 * sine(7, old, 50 * old) - 1
    out = fourier_resample(recording(signal, old), new, 5.0).acceleration[:, 1]
    inner = slice(5 * new, -5 * new)
    np.testing.assert_allclose(out[inner], scipy.signal.resample(signal, 50 * new)[inner], atol=2e-4)


@pytest.mark.parametrize("samples", [1, 2, 41, 3001])
def test_fourier_ends_do_not_ring_into_each_other(samples):
    # A ramp from -1 to 1 g: on a circle without reflections its end would be a step of 2 g.
    ramp = np.linspace(-1, 1, samples) if samples > 1 else np.array([-1.0])
    out = fourier_resample(recording(ramp, 100), 50, 5.0)
    np.testing.assert_allclose(out.acceleration[:, 0], ramp[::2], atol=0.03 if samples < 100 else 1e-3)
    constant = fourier_resample(recording(np.full(samples, -0.98), 98), 50, 5.0).acceleration
    np.testing.assert_allclose(constant, -0.98, atol=1e-6)


@pytest.mark.parametrize("method", [resample, fourier_resample])
def test_gaps_are_not_bridged(method):
    # 0 g before a gap of 10 s and 1 g after it; a gap of 1 s is joined.
    n = 1000
    time = (
        20_000 * np.arange(n)
        + np.where(np.arange(n) >= 500, 10_000_000, 0)
        + np.where(np.arange(n) >= 800, 1_000_000, 0)
    )
    out = method(recording(np.arange(n) >= 500, 50, time), 30, 5.0)
    assert len(out.time) == 600
    np.testing.assert_allclose(out.acceleration[:300], 0, atol=1e-6)
    np.testing.assert_allclose(out.acceleration[300:], 1, atol=1e-6)
    assert out.time[300] == time[500]
    step = np.diff(out.time)
    assert step[299] == 10_000_000 + 20_000 - (out.time[299] - time[499]) and (np.delete(step, 299) < 1_100_000).all()


@pytest.mark.parametrize("resample", [resample, fourier_resample])
def test_times_and_labels_by_hand(resample):
    # 50 -> 30 Hz: the outputs lie at samples 0, 5/3, 10/3, 5, 20/3, 25/3 of a clock that jitters by 1 ms.
    time = np.array([0, 20, 41, 60, 80, 100, 120, 139, 160], np.int64) * 1000
    label = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9], np.int16)
    out = resample(recording(np.zeros(9), 50, time, label), 30, 5.0)
    assert out.time.dtype == np.int64 and out.label.dtype == np.int16
    np.testing.assert_array_equal(out.time, [0, 34_000, 66_666, 100_000, 132_666, 166_666])
    np.testing.assert_array_equal(out.label, [1, 3, 4, 6, 8, 9])
    # 30 -> 60 Hz: every second output lies between two samples, the last one half a step beyond the end.
    out = resample(recording(np.zeros(3), 30, np.array([0, 33_000, 67_000]), label[:3]), 60, 5.0)
    np.testing.assert_array_equal(out.time, [0, 16_500, 33_000, 50_000, 67_000, 83_666])
    np.testing.assert_array_equal(out.label, [1, 2, 2, 3, 3, 3])
    assert (out.subject, out.name, out.activities) == ("P", "P_1", {1: "walking"})


def test_times_increase_even_where_the_clock_hardly_moves():
    time = np.array([0, 1, 2, 3, 20_000, 40_000], np.int64)
    out = resample(recording(np.zeros(6), 50, time), 200, 5.0)
    assert len(out.time) == 24 and (np.diff(out.time) > 0).all()


def test_nothing_to_do_gives_the_same_recording():
    original = recording(sine(1, 50), 50)
    assert resample(original, 50, 5.0) is original and fourier_resample(original, 50, 5.0) is original
    assert select_sensors(original, ["wrist"]) is original
    empty = resample(recording(np.zeros(0), 50), 30, 5.0)
    assert empty.acceleration.shape == (0, 3) and empty.time.shape == (0,) and empty.label is None


@pytest.mark.parametrize("resample", [resample, fourier_resample])
def test_a_rate_that_is_none(resample):
    with pytest.raises(ValueError, match="^P_1: rate is 0 Hz, expected at least 1: choose another --rate"):
        resample(recording(np.zeros(9), 50), 0, 5.0)


def test_sensors_are_chosen_in_the_order_asked_for():
    signal = np.arange(18, dtype=np.float32).reshape(2, 9)
    both = Recording("P", "P_1", signal, np.array([0, 20_000]), channels=channels_of(["back", "thigh", "wrist"]))
    chosen = select_sensors(both, ["wrist", "back"])
    assert chosen.channels == channels_of(["wrist", "back"])
    np.testing.assert_array_equal(chosen.acceleration, [[6, 7, 8, 0, 1, 2], [15, 16, 17, 9, 10, 11]])
    assert chosen.acceleration.flags.c_contiguous and chosen.time is both.time
    two = select_sensors(both, ["back", "thigh"])
    with pytest.raises(ValueError, match="^P_1: holds no wrist sensor, only back, thigh: take a recording that has it"):
        select_sensors(two, ["thigh", "wrist"])
