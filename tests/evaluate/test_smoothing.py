"""Transition counts by hand, and Viterbi's path against every path there is and against hmmlearn."""

import itertools

import numpy as np
import pytest

from selfpab_jax.evaluate.smoothing import smooth, transition_model


def random_case(seed, steps, classes):
    """Log probabilities [T, K] and log transitions [K, K], drawn."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(classes, 0.6), classes)
    return np.log(rng.dirichlet(np.ones(classes), steps)), np.log(rows)


def joint(path, log_probabilities, log_transition):
    """Log probability of a path and the emissions, up to a constant."""
    total = 0
    for step, state in enumerate(path):
        total += log_probabilities[step, state]
        total += log_transition[path[step - 1], state] if step else 0
    return total


def test_counts_by_hand():
    # 0-0, 0-1, then a gap: neither 1-(-1) nor (-1)-2 counts; 2-1. Across the two sequences there is no pair.
    model = transition_model([np.array([0, 0, 1, -1, 2, 1]), np.array([1, 1], np.int16)], 3)
    rows = np.array([[2, 2, 1], [1, 2, 1], [1, 2, 1]])  # counts plus one
    np.testing.assert_allclose(np.exp(model), rows / rows.sum(axis=1, keepdims=True))


def test_pseudo_count_and_a_class_without_labels():
    model = transition_model([[0, 0, 0, -1], []], 2, pseudo_count=0.5)
    np.testing.assert_allclose(np.exp(model), [[2.5 / 3, 0.5 / 3], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("sequences", "pseudo_count", "message"),
    [
        ([[0, 1]], 0, "the pseudo-count is 0, expected a positive number"),
        ([[0, 2]], 1, r"a label sequence holds 0\.\.2, expected class indices 0\.\.1 or -1"),
        ([[-2, 0]], 1, r"holds -2\.\.0"),
        ([[-1, -1], []], 1, "no step of the label sequences has a label"),
        ([], 1, "no step of the label sequences has a label"),
    ],
)
def test_transition_model_refuses(sequences, pseudo_count, message):
    with pytest.raises(ValueError, match=message):
        transition_model(sequences, 2, pseudo_count)


def test_three_steps_by_hand():
    # Of the eight paths 0-0-0 has 0.8 * 0.9 * 0.4 * 0.9 * 0.8 = 0.21, 0-1-0 only 0.8 * 0.1 * 0.6 * 0.1 * 0.8 = 0.004.
    sticky = np.log([[0.9, 0.1], [0.1, 0.9]])
    probabilities = np.log([[0.8, 0.2], [0.4, 0.6], [0.8, 0.2]])
    assert smooth(probabilities, sticky).tolist() == [0, 0, 0]
    # Where the next step says nothing about the last, each step stands alone.
    assert smooth(probabilities, np.log(np.full((2, 2), 0.5))).tolist() == [0, 1, 0]


def test_a_change_that_is_seen_for_long_enough_is_kept():
    """Staying in class 0 costs log(0.6 / 0.4) a step, the way there and back 2 log 9: eleven steps and more."""
    sticky = np.log([[0.9, 0.1], [0.1, 0.9]])
    for steps, kept in ((10, False), (11, True)):
        seen = np.log(np.repeat([[0.999, 0.001], [0.4, 0.6], [0.999, 0.001]], [5, steps, 5], axis=0))
        assert smooth(seen, sticky).any() == kept


@pytest.mark.parametrize("seed", range(8))
def test_no_path_is_more_probable(seed):
    steps, classes = 6, 2 + seed % 3
    log_probabilities, model = random_case(seed, steps, classes)
    if seed % 2:
        log_probabilities[2, 0] = -np.inf
    path = smooth(log_probabilities, model)
    best = max(itertools.product(range(classes), repeat=steps), key=lambda one: joint(one, log_probabilities, model))
    assert path.dtype == np.int64 and tuple(path.tolist()) == best


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_hmmlearn(seed):
    hmm = pytest.importorskip("hmmlearn.hmm")
    steps, classes = 60, 5
    log_probabilities, model = random_case(100 + seed, steps, classes)
    # Every step is a symbol of its own; one more, which never comes, fills each class's emissions up to 1.
    emission = np.exp(log_probabilities).T  # [K, T]
    emission /= emission.sum(axis=1).max() * 1.01
    theirs = hmm.CategoricalHMM(classes)
    theirs.startprob_, theirs.transmat_ = np.full(classes, 1 / classes), np.exp(model)
    theirs.emissionprob_ = np.hstack([emission, 1 - emission.sum(axis=1, keepdims=True)])
    theirs.n_features = steps + 1
    expected = theirs.decode(np.arange(steps)[:, None])[1]
    assert len(set(expected.tolist())) > 1
    assert smooth(log_probabilities, model).tolist() == expected.tolist()


def test_a_flipped_frame_inside_a_long_stretch_is_removed():
    truth = np.repeat([2, 0, 1], [200, 300, 250])
    model = transition_model([truth], 3)
    seen = truth.copy()
    seen[[50, 260, 600]] = [0, 2, 2]
    log_probabilities = np.log(np.where(np.arange(3) == seen[:, None], 0.8, 0.1))
    assert smooth(log_probabilities, model).tolist() == truth.tolist()


def test_a_class_ruled_out_everywhere():
    log_probabilities, model = random_case(3, 40, 4)
    log_probabilities[:, 1] = -np.inf
    assert 1 not in smooth(log_probabilities, model)


def test_no_step_and_one_step():
    _, model = random_case(0, 1, 3)
    assert smooth(np.zeros((0, 3)), model).shape == (0,)
    # Alone, a step keeps the classifier's own choice.
    assert smooth(np.log([[0.2, 0.3, 0.5]]), model).tolist() == [2]


@pytest.mark.parametrize(
    ("log_probabilities", "message"),
    [
        (np.zeros((4, 2)), r"shape \(4, 2\), expected \[steps, 3 classes\]"),
        (np.zeros(3), r"shape \(3,\)"),
        ([[0, 0, 0], [-np.inf] * 3, [0, 0, 0]], "no possible path"),
        ([[0, 0, 0], [0, np.nan, 0], [0, 0, 0]], "no possible path"),
    ],
)
def test_smooth_refuses(log_probabilities, message):
    with pytest.raises(ValueError, match=message):
        smooth(log_probabilities, random_case(0, 1, 3)[1])


def test_a_long_recording_stays_a_path_of_its_own_steps():
    """Scores of thousands of steps do not underflow: the second half alone gives the same classes."""
    log_probabilities, model = random_case(5, 4000, 6)
    whole, half = smooth(log_probabilities, model), smooth(log_probabilities[2000:], model)
    assert (whole[2100:] == half[100:]).all()
