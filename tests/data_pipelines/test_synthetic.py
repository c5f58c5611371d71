"""The synthetic cohort: the contract, its seeds, and physics that a probe can learn but not for free."""

import numpy as np
import pytest

from data_pipelines import synthetic, synthetic_wrist
from data_pipelines.contract import channels_of
from data_pipelines.readers.har_csv import HARTH
from data_pipelines.synthetic import ACTIVITIES, SUBJECTS, recording
from data_pipelines.windows import segments


@pytest.fixture(scope="module")
def cohort():
    return [recording(index, hours=0.5) for index in range(SUBJECTS)]


def test_contract(cohort):
    assert len({r.subject for r in cohort}) == len({r.name for r in cohort}) == SUBJECTS
    for r in cohort:
        assert r.acceleration.dtype == np.float32 and r.acceleration.shape == (90_000, 9)
        assert r.channels == channels_of(("back", "thigh", "wrist")) and r.rate_hz == 50
        assert r.label.dtype == np.int16 and r.time.dtype == np.int64 and len(r.label) == len(r.time) == 90_000
        assert np.isfinite(r.acceleration).all() and np.abs(r.acceleration).max() <= 8
        assert (np.diff(r.time) >= 20_000).all()
        assert r.activities == HARTH and set(r.label) <= set(HARTH)
        assert len(set(r.label)) >= 8  # nobody does everything, everybody does most
    for code in HARTH:
        assert sum(code in r.label for r in cohort) >= 6


def test_time_gaps_look_like_the_published_ones():
    times = [recording(i).time for i in range(5)]
    gaps = np.concatenate([np.diff(time) for time in times]) / 1e6
    gaps = gaps[gaps > 0.03]
    assert 30 < len(gaps) < 110  # about 13 an hour
    short = gaps < 5
    assert 0.8 < short.mean() < 1 and gaps[short].min() > 0.9 and 20 <= gaps[~short].min() <= gaps.max() < 125
    assert max(len(segments(time, 5.0)) for time in times) > 1


def test_same_seed_same_bits():
    first, again, other_seed, other_person = (
        recording(i, seed=s, hours=0.1) for i, s in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    np.testing.assert_array_equal(first.acceleration, again.acceleration)
    np.testing.assert_array_equal(first.time, again.time)
    assert not np.array_equal(first.acceleration, other_seed.acceleration)
    assert not np.array_equal(first.acceleration, other_person.acceleration)


def of(r, code, *channels):
    """Channels (all if none is named) of the samples in an activity, without those within 2 s of another label."""
    change = np.flatnonzero(np.diff(r.label)) + 1
    near = np.zeros(len(r.label), bool)
    for c in change:
        near[max(0, c - 100) : c + 100] = True
    columns = [r.channels.index(channel) for channel in channels or r.channels]
    return r.acceleration[(r.label == code) & ~near][:, columns]


def test_gravity_follows_posture(cohort):
    # Median over time, then over people: each wears the sensors askew by up to 15 degrees.
    def gravity(code):
        found = [of(r, code) for r in cohort if code in r.label]
        median = np.median([np.median(a, axis=0) for a in found if len(a)], axis=0)
        return dict(zip(cohort[0].channels, median, strict=True))

    walking, standing, sitting, cycling = (gravity(code) for code in (1, 6, 7, 13))
    assert abs(standing["back_x"] + 1) < 0.1 and abs(standing["thigh_x"] + 1) < 0.1
    assert sitting["thigh_z"] < -0.85 and abs(sitting["thigh_x"]) < 0.35 and sitting["back_x"] < -0.85
    # The arm hangs; the hand lies palm down; the forearm slopes to the handlebar.
    assert walking["wrist_x"] < -0.85 and sitting["wrist_z"] > 0.75
    assert cycling["wrist_z"] > 0.65 and -0.75 < cycling["wrist_x"] < -0.3
    for r in cohort:
        assert np.abs(of(r, 8, "back_x")).mean() < 0.5  # the back is level
        for sensor, activity, tolerance in (("back", 8, 0.05), ("wrist", 8, 0.03), ("wrist", 7, 0.03)):
            still = np.linalg.norm(of(r, activity, *channels_of([sensor])), axis=1)
            assert abs(np.median(still) - 1) < tolerance  # and weighs 1 g


def peak_hz(signal):
    frames = signal[: len(signal) // 500 * 500].reshape(-1, 500)  # [N, T]
    power = np.abs(np.fft.rfft((frames - frames.mean(1, keepdims=True)) * np.hanning(500))) ** 2
    return power.mean(0).argmax() / 10


def test_gait_has_its_frequency_and_strength(cohort):
    walk, run = ([x for r in cohort if len(x := of(r, code, "back_x")[:, 0]) >= 1000] for code in (1, 2))
    assert 1.4 < np.median([peak_hz(x) for x in walk]) < 2.3
    assert 2.3 < np.median([peak_hz(x) for x in run]) < 3.3
    strength = {
        code: np.median([x.std() for r in cohort if len(x := of(r, code, "thigh_x")) > 200]) for code in ACTIVITIES
    }
    assert strength[2] > 2 * strength[1] and strength[1] > 3 * strength[6] and strength[3] > 1.5 * strength[6]
    assert strength[13] > 2 * strength[130]


def test_the_arm_swings_once_in_two_steps(cohort):
    for code in (1, 2):
        ratios = []
        for r in cohort:
            x = of(r, code, "back_x", "wrist_y", "wrist_z")
            for frame in x[: len(x) // 500 * 500].reshape(-1, 500, 3):  # 10 s each: [T, C]
                back, y, z = (frame - frame.mean(0)).T
                swing = np.linalg.svd(np.cov(y, z))[0][:, 0] @ (y, z)  # along the path of the hand
                ratios.append(peak_hz(swing) / peak_hz(back))
        assert abs(np.median(ratios) - 0.5) < 0.03


def test_the_arm_swings_as_far_as_the_stride_clock_says():
    # A stride of 0.9 Hz. Gravity and the hand's own acceleration along its path: size (reach w^2 / 9.81 - 1) sin.
    clock = 2 * np.pi * 0.9 * np.arange(3000) / 50
    arm = synthetic_wrist.ARMS[1]
    expected = np.deg2rad(arm.swing) * (arm.reach * (2 * np.pi * 0.9) ** 2 / 9.81 - 1)
    found = []
    for seed in range(30):
        wrist = synthetic_wrist.acceleration(
            np.random.default_rng(seed), np.array([1]), np.zeros(3000, int), clock, np.ones(3000)
        )
        found.append(2 * (wrist * np.sin(clock)[:, None]).mean(0))
    sizes = np.linalg.norm(found, axis=1)
    assert abs(np.median(sizes) / expected - 1) < 0.15 and 0.1 < np.std(sizes) / expected < 0.4
    assert np.median(found, axis=0)[2] > 0  # the way of the sine at the back of the hand


def test_the_wrist_is_busier_with_what_the_body_does(cohort):
    strength = {
        code: np.median([x.std(0).max() for r in cohort if len(x := of(r, code, *channels_of(["wrist"]))) > 200])
        for code in ACTIVITIES
    }
    assert strength[2] > 1.5 * strength[1] and strength[1] > strength[7] and strength[7] > strength[8]

    def shaking(code):  # within 0.1 s, so that slow turning does not count
        return np.median([np.diff(of(r, code, "wrist_z")[::5, 0]).std() for r in cohort if len(of(r, code)) > 200])

    assert shaking(13) > 2 * shaking(7) and shaking(130) > 1.5 * shaking(8)


def test_noise_floor_is_the_sensors(cohort):
    for r in cohort[:3]:
        # Second differences remove slow movement; white noise of variance v gives 6 v.
        noise = np.median(np.abs(np.diff(of(r, 8), n=2, axis=0))) / 0.6745 / np.sqrt(6)
        assert 0.8 * synthetic.NOISE_G < noise < 1.6 * synthetic.NOISE_G


def test_a_linear_probe_is_neither_lost_nor_done(cohort):
    # Nearest class centroid on means and deviations of 2 s, leaving one person out: a floor far above chance
    # (1/12).
    def features(r):
        n = len(r.label) // 100
        x = r.acceleration[: n * 100, :6].reshape(n, 100, 6)  # [N, T, C], back and thigh
        return np.concatenate([x.mean(1), np.log(x.std(1) + 0.01)], axis=1), r.label[: n * 100 : 100]

    data = [features(r) for r in cohort]
    scores = []
    for left_out in range(0, SUBJECTS, 3):
        x = np.concatenate([f for i, (f, _) in enumerate(data) if i != left_out])
        y = np.concatenate([c for i, (_, c) in enumerate(data) if i != left_out])
        sd = x.std(0)
        codes = np.unique(y)
        centroids = np.stack([x[y == c].mean(0) for c in codes]) / sd  # [K, F]
        test_x, test_y = data[left_out]
        guess = codes[((test_x[:, None] / sd - centroids) ** 2).sum(-1).argmin(1)]
        recall = [(guess[test_y == c] == c).mean() for c in np.unique(test_y)]
        scores.append(np.mean(recall))
    assert 0.45 < np.mean(scores) < 0.9


def test_refusals():
    with pytest.raises(ValueError, match="subject 10 does not exist, expected 0 to 9"):
        recording(10)
    with pytest.raises(ValueError, match="holds no sample"):
        recording(0, hours=0)


def test_short_recordings_work():
    assert len(recording(3, hours=1 / 3600).time) == 50
