"""Calibration by gravity: known gains, offsets and effects of temperature are found again, or the reason is given."""

import json

import numpy as np
import pytest
from scipy.optimize import least_squares

from data_pipelines.ingest.calibration import Calibration, apply, calibrate

GAIN, OFFSET = np.array([1.03, 0.97, 1.01]), np.array([0.05, -0.03, 0.02])
PER_DEGREE = np.array([0.0012, -0.0008, 0.0005])
# Standing, sitting, on either side, on the back, reclined; how often.
POSTURES = np.array([[-1, 0, 0.1], [-0.2, 0.1, -1], [0.1, 1, -0.3], [0, -0.9, 0.45], [-0.1, 0.1, 1], [0.6, 0.5, -0.6]])
SHARE = [0.25, 0.4, 0.1, 0.1, 0.1, 0.05]


def week(noise=0.0, warm=True, spans=3000, table=0, seed=0):
    """Raw means [E, 3], stds, temperatures and true gravity: postures that change after 200 s, then a cold table."""
    rng = np.random.default_rng(seed)
    posture = np.repeat(POSTURES[rng.choice(6, spans // 20, p=SHARE)] + rng.normal(0, 0.1, (spans // 20, 3)), 20, 0)
    gravity = np.concatenate([posture + rng.normal(0, 0.01, posture.shape), np.tile([0.02, 0.01, -1], (table, 1))])
    gravity /= np.linalg.norm(gravity, axis=1, keepdims=True)
    hours = np.arange(spans + table) / 360
    temperature = 31 + 2 * np.sin(hours) + rng.normal(0, 0.2, len(hours)) - 8.0 * (np.arange(len(hours)) >= spans)
    effect = (temperature - 31)[:, None] * PER_DEGREE if warm else 0
    mean = (gravity - OFFSET - effect) / GAIN + rng.normal(0, 1, gravity.shape) * noise
    return mean, np.full_like(mean, 0.004), temperature, gravity


def offset_at(found):
    """True offset at the temperature that the calibration counts from."""
    return OFFSET + (found.temperature_mean - 31) * PER_DEGREE


def test_known_errors_are_found():
    mean, std, temperature, gravity = week(noise=0.0004)
    found = calibrate(mean, std, temperature)
    assert found.status == "calibrated" and found.spans > 2900
    np.testing.assert_allclose(found.gain, GAIN, atol=3e-4)
    np.testing.assert_allclose(found.offset, offset_at(found), atol=3e-4)
    np.testing.assert_allclose(found.temperature_gain, PER_DEGREE, atol=5e-5)
    assert found.error_before_g > 0.02 and found.error_after_g < 0.0005
    corrected = apply(mean.astype(np.float32), temperature.astype(np.float32), found)
    assert corrected.dtype == np.float32 and np.abs(corrected - gravity).max() < 0.003


@pytest.mark.parametrize("warm", [False, True])
def test_against_least_squares(agree, warm):
    mean, std, temperature, _ = week(warm=warm)
    found = calibrate(mean, std, temperature if warm else None)
    warmth = (temperature - found.temperature_mean)[:, None] * warm

    def residual(p):
        return np.linalg.norm(mean * p[:3] + p[3:6] + warmth * p[6:], axis=1) - 1

    best = least_squares(residual, [1, 1, 1] + 6 * [0], xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    agree("gain", found.gain, best[:3], 1e-3)
    assert np.abs(found.offset - best[3:6]).max() < 1e-3 and np.abs(found.temperature_gain - best[6:]).max() < 1e-4


def test_days_on_a_cold_table_do_not_take_over():
    mean, std, temperature, gravity = week(noise=0.0004, table=20_000)
    found = calibrate(mean, std, temperature)
    assert found.status == "calibrated" and found.spans < 3700  # one span in five minutes of the 20,000
    corrected = apply(mean, temperature, found)[:3000]
    assert np.abs(np.linalg.norm(corrected, axis=1) - 1).mean() < 0.0005
    np.testing.assert_allclose(found.gain, GAIN, atol=1e-3)


def test_outliers_weigh_little():
    mean, std, temperature, _ = week(noise=0.0004)
    mean[::25] *= 1.3  # a steady 0.3 g more in 4 % of the spans: an aircraft, a broken block
    found = calibrate(mean, std, temperature)
    # 4 % of 0.3 g are 0.012 g of mean error, more than is allowed; but half of that passes.
    assert "after the fit, below 0.01 g needed" in found.status
    mean[::50] /= 1.3
    found = calibrate(mean, std, temperature)
    assert found.status == "calibrated"
    np.testing.assert_allclose(found.gain, GAIN, atol=3e-3)
    np.testing.assert_allclose(found.offset, offset_at(found), atol=3e-3)


def test_an_exact_sensor_stays_as_it_is():
    _, std, temperature, gravity = week()
    found = calibrate(gravity, std, temperature)
    np.testing.assert_allclose(found.gain, 1, atol=1e-6)
    np.testing.assert_allclose(apply(gravity, temperature, found), gravity, atol=1e-6)


def test_what_was_better_before_stays():
    _, std, temperature, mean = week()
    mean[::33] *= 1.1  # an exact sensor; the fit gives way to what is not
    found = calibrate(mean, std, temperature)
    assert found.status.startswith("mean error 0.0") and found.status.endswith("g before it")
    assert found.gain.tolist() == [1, 1, 1] and 0.002 < found.error_before_g < 0.004


def keep(condition):
    mean, std, temperature, _ = week(noise=0.0004)
    rows = condition(mean)
    return mean[rows], std[rows], temperature[rows]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (keep(lambda mean: mean[:, 0] < 0.25), "no still span with +x beyond 0.3 g"),
        (keep(lambda mean: (mean[:, 1] > -0.25) & (mean[:, 2] < 0.25)), "no still span with -y or +z beyond 0.3 g"),
        (keep(lambda mean: np.arange(len(mean)) < 49), "49 still spans of 10 s apart in posture or time, at least 50"),
        (keep(lambda mean: np.arange(len(mean)) < 0), "0 still spans"),
        ((week()[0] * 1.6, week()[1], None), "gain of x, y, z would be 0.64"),
        ((week()[0] + [0.6, 0, 0], week()[1], None), "offset in g of x, y, z would be -0.5"),
        ((week()[0] + 0.3 * np.sin(np.arange(3000))[:, None], week()[1], None), "gain of x, y, z would be 0.0"),
    ],
    ids=["one side missing", "two sides missing", "too few", "nothing", "gain", "offset", "no sphere"],
)
def test_why_nothing_is_corrected(arrays, reason):
    found = calibrate(*arrays)
    assert reason in found.status
    assert found.gain.tolist() == [1, 1, 1] and not found.offset.any() and not found.temperature_gain.any()
    assert found.error_after_g == found.error_before_g or found.spans == 0
    signal = np.float32([[0.1, 0.2, 0.9]])
    assert apply(signal, np.float32([20]), found) is signal


def test_what_is_not_still_is_left_out():
    mean, std, temperature, _ = week(noise=0.0004)
    none, every = np.zeros(len(mean)), np.ones(len(mean), bool)
    right = calibrate(mean, std, temperature, every, none)
    wrong = np.arange(len(mean)) % 2 == 0  # the first half of each pair is nonsense, for another reason each time
    spoilt = np.where(wrong[:, None], mean * 1.2 + 0.1, mean)
    moving = np.where(wrong[:, None] & (np.arange(3) == 1), 0.0131, std)
    # Only the mean of temperatures shifts a little between all and half of the spans.
    for found in (
        calibrate(spoilt, moving, temperature),
        calibrate(spoilt, std, temperature, complete=~wrong),
        calibrate(spoilt, std, temperature, clipped=wrong * 0.001),
        calibrate(np.where(wrong[:, None], [2.01, 0.5, 0.5], mean), std, temperature),
        calibrate(np.where(wrong[:, None], 0, mean), std, temperature),
    ):
        assert found.status == "calibrated" and found.spans == pytest.approx(len(mean) / 2, rel=0.05)
        np.testing.assert_allclose(found.gain, right.gain, atol=3e-4)
    assert calibrate(mean, np.full_like(std, 0.02)).spans == 0


def test_temperature_that_hardly_varies_is_not_used():
    mean, std, temperature, _ = week(noise=0.0004, warm=False)
    for known in (25 + 0.01 * temperature, np.full(3000, np.nan), None):
        found = calibrate(mean, std, known)
        assert found.status == "calibrated" and not found.temperature_gain.any()
    temperature[::3] = np.nan  # taken for the mean
    found = calibrate(mean, std, temperature)
    assert found.status == "calibrated" and np.abs(found.temperature_gain).max() < 1e-4
    assert np.isfinite(apply(mean, temperature, found)).all()


def test_apply_by_hand():
    gain, offset, per_degree = np.array([[1.1, 1.0, 0.9], [0.1, 0, -0.1], [0, 0.01, 0]])
    known = Calibration(gain, offset, per_degree, 20.0, 0.1, 0.001, 99, "calibrated")
    signal = np.float32([[1, 2, 3], [1, 2, 3]])
    np.testing.assert_allclose(apply(signal, np.float32([30, np.nan]), known), [[1.2, 2.1, 2.6], [1.2, 2, 2.6]], 1e-6)
    np.testing.assert_allclose(apply(signal, None, known)[0], [1.2, 2, 2.6], 1e-6)
    assert signal.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_json():
    found = calibrate(*week()[:3])
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["gain"] == found.gain.tolist() and values["status"] == "calibrated"
    assert calibrate(np.zeros((0, 3)), np.zeros((0, 3))).to_json()["error_before_g"] is None
