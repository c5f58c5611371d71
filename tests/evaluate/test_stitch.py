"""Stitching by hand and against a slow reference; labels of frames."""

import numpy as np
import pytest

from selfpab_jax.evaluate.stitch import (
    average_windows,
    cut_windows,
    hop_distributions,
    sample_classes,
    token_labels,
    window_starts,
)
from selfpab_jax.signals.stft import n_frames
from selfpab_jax.signals.tokens import Tokens


@pytest.mark.parametrize(
    ("frames", "window", "stride", "starts"),
    [
        (10, 4, 2, [0, 2, 4, 6]),
        (11, 4, 2, [0, 2, 4, 6, 7]),  # the last one flush with the end
        (8, 4, 4, [0, 4]),
        (9, 4, 4, [0, 4, 5]),
        (4, 4, 1, [0]),
        (3, 4, 1, [0]),  # one padded window
        (1, 4, 4, [0]),
        (0, 4, 4, []),
    ],
)
def test_window_starts_by_hand(frames, window, stride, starts):
    assert window_starts(frames, window, stride).tolist() == starts


def test_windows_cover_every_frame():
    for frames in range(1, 40):
        for window in (1, 5, 12):
            for stride in range(1, window + 1):
                starts = window_starts(frames, window, stride)
                _, valid = cut_windows(np.arange(frames), starts, window)
                covered = {int(s) + t for s, row in zip(starts, valid, strict=True) for t in np.flatnonzero(row)}
                assert covered == set(range(frames))
                assert len(set(starts.tolist())) == len(starts)


@pytest.mark.parametrize("stride", [0, -1, 5])
def test_window_starts_refuses_a_stride_with_holes(stride):
    with pytest.raises(ValueError, match="the stride is"):
        window_starts(20, 4, stride)


def test_cut_windows_pads_and_tells():
    windows, valid = cut_windows(np.array([[1], [2], [3]]), [0, 2], 2, fill=-1)
    assert windows[..., 0].tolist() == [[1, 2], [3, -1]]
    assert valid.tolist() == [[True, True], [True, False]]
    labels, _ = cut_windows([4, 5], [0], 3, fill=-1)
    assert labels.tolist() == [[4, 5, -1]]


def test_cut_windows_refuses_a_start_outside():
    for starts in ([3], [-1]):
        with pytest.raises(ValueError, match="the segment has 3 frames"):
            cut_windows(np.zeros((3, 1)), starts, 2)


def test_average_over_windows_by_hand():
    probabilities = np.array([[[1.0, 0.0], [0.8, 0.2]], [[0.4, 0.6], [np.nan, np.nan]]])
    averaged = average_windows(probabilities, [0, 1], [[True, True], [True, False]], 2)
    np.testing.assert_allclose(averaged, [[1, 0], [0.6, 0.4]])


@pytest.mark.parametrize(
    ("starts", "valid", "frames", "message"),
    [
        ([0, 1], [[1, 1], [1, 1]], 4, "frame 3 of 4 is covered by no window"),
        ([0, 2], [[1, 1], [1, 1]], 3, "marks frames 2..3 as real, the segment has 3"),
        ([-1, 1], [[1, 1], [1, 1]], 3, "marks frames -1..0 as real"),
        ([0], [[1, 1], [1, 1]], 3, "got shapes"),
        ([0, 1], [[1], [1]], 3, "got shapes"),
    ],
)
def test_average_refuses(starts, valid, frames, message):
    with pytest.raises(ValueError, match=message):
        average_windows(np.full((2, 2, 2), 0.5), starts, valid, frames)


def test_half_seconds_by_hand():
    halves = hop_distributions([[1.0, 0.0], [0.0, 1.0], [0.4, 0.6]])
    np.testing.assert_allclose(halves, [[1, 0], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6]])


def test_sample_classes_by_hand():
    distribution = [[0.9, 0.1], [0.3, 0.7], [0.3, 0.7]]
    # 100 samples, 3 frames; samples 25-49 average to 0.6 / 0.4; the last frame alone decides 75-99.
    assert sample_classes(distribution, 100).tolist() == [0] * 50 + [1] * 50
    # 20 samples more make no further frame and take the last class.
    assert sample_classes(distribution, 120).tolist() == [0] * 50 + [1] * 70
    assert sample_classes([[0.5, 0.5]], 50).tolist() == [0] * 50  # a tie


@pytest.mark.parametrize(("frames", "samples"), [(3, 99), (3, 125), (0, 49), (1, 49)])
def test_sample_classes_refuses(frames, samples):
    with pytest.raises(ValueError, match=f"{samples} samples have"):
        sample_classes(np.full((frames, 2), 0.5), samples)


def stitch(probabilities, starts, valid, samples):
    """Windows averaged, then overlapping frames, then argmax: what scoring does."""
    return sample_classes(average_windows(probabilities, starts, valid, n_frames(samples)), samples)


def slow_stitch(probabilities, starts, valid, samples):
    """Sample by sample: the mean over its frames of the mean over their windows."""
    frames, k = n_frames(samples), probabilities.shape[2]
    distribution = np.zeros((frames, k))
    for t in range(frames):
        seen = [
            probabilities[w, t - start]
            for w, start in enumerate(starts)
            if 0 <= t - start < probabilities.shape[1] and valid[w, t - start]
        ]
        distribution[t] = np.mean(seen, axis=0)
    classes = []
    for s in range(samples):
        over = [distribution[t] for t in range(frames) if 25 * t <= s < 25 * t + 50]
        classes.append(int(np.argmax(np.mean(over, axis=0))) if over else classes[-1])
    return classes


@pytest.mark.parametrize(("samples", "window", "stride"), [(50, 4, 2), (99, 4, 4), (524, 6, 4), (610, 7, 3)])
def test_stitch_equals_a_slow_reference(samples, window, stride):
    rng = np.random.default_rng(samples)
    frames = n_frames(samples)
    starts = window_starts(frames, window, stride)
    _, valid = cut_windows(np.zeros(frames), starts, window)
    probabilities = rng.dirichlet(np.ones(4), valid.shape)
    probabilities[~valid] = np.nan
    found = stitch(probabilities, starts, valid, samples)
    assert found.shape == (samples,)
    assert found.tolist() == slow_stitch(probabilities, starts, valid, samples)


def test_stitching_sure_predictions_gives_the_labels_back():
    label = np.repeat([0, 2, 1], [200, 300, 225])
    frames = n_frames(len(label))
    starts = window_starts(frames, 10, 5)
    onehot = np.eye(3)[token_labels(label)]
    windows, valid = cut_windows(onehot, starts, 10)
    wrong = np.flatnonzero(stitch(windows, starts, valid, len(label)) != label)
    edges = np.array([200, 500])
    assert np.abs(wrong[:, None] + 0.5 - edges).min(axis=1).max() < 25  # only within half a second of a change


def test_token_labels_by_hand():
    label = np.full(100, 2)
    label[:26] = 1  # frame 0: 26 of 50
    label[50:75] = 0  # frame 1: 24 times 2 + 1 once, 25 times 0; frame 2: 25 each
    label[25:27] = -1
    assert token_labels(label).tolist() == [1, 0, 0]


def test_token_labels_leave_unlabelled_samples_out():
    label = np.full(125, -1)
    label[100] = 3
    assert token_labels(label).tolist() == [-1, -1, -1, 3]
    assert token_labels(np.full(75, -1)).tolist() == [-1, -1]
    assert token_labels([5] * 49).tolist() == []
    with pytest.raises(ValueError, match="got -2"):
        token_labels([-2] * 50)


def test_token_labels_equal_a_slow_reference():
    rng = np.random.default_rng(7)
    for samples in (50, 74, 75, 1013):
        # Few samples a bout, so that ties and mixed frames are common.
        label = np.repeat(rng.integers(-1, 4, samples), rng.integers(1, 30, samples))[:samples].astype(np.int16)
        expected = []
        for t in range(n_frames(samples)):
            votes = label[25 * t : 25 * t + 50]
            votes = votes[votes >= 0]
            expected.append(int(np.bincount(votes).argmax()) if len(votes) else -1)
        assert token_labels(label).tolist() == expected


PATCHES = Tokens(rate_hz=2, size=4, hop=4)


def test_patches_end_to_end():
    """Tokens that do not overlap: the class of a sample is that of its token, the rest follows the last one."""
    distribution = [[0.9, 0.1], [0.2, 0.8]]
    assert hop_distributions(distribution, PATCHES).tolist() == distribution
    assert sample_classes(distribution, 11, PATCHES).tolist() == [0] * 4 + [1] * 7
    assert token_labels([0, 0, 1, 1, 1, 1, 0, 1, 0], PATCHES).tolist() == [0, 1]  # a tie; the ninth belongs to none


def test_three_tokens_over_a_hop():
    tokens = Tokens(rate_hz=2, size=6, hop=2)
    found = hop_distributions([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], tokens)
    np.testing.assert_allclose(found[:, 0], [1, 1 / 2, 1.5 / 3, 0.5 / 2, 0.5])
    assert token_labels([0, 0, 1, 1, 1, 1, 2, 2], tokens).tolist() == [1, 1]


def test_mixed_tokens_have_no_label_above_the_least_majority():
    label = [0, 0, 0, 1] + [0, 0, 1, 1] + [0, 0, -1, -1]
    assert token_labels(label, PATCHES).tolist() == [0, 0, 0]
    assert token_labels(label, PATCHES, min_majority=0.5).tolist() == [0, 0, 0]
    # Unlabelled samples count among all of a token's samples, so half a token of one label is mixed too.
    assert token_labels(label, PATCHES, min_majority=0.75).tolist() == [0, -1, -1]
