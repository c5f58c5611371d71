"""Folds: the published order, sizes by hand, and what is refused."""

import numpy as np
import pytest

from selfpab_jax.evaluate.cross_validation import Fold, first_fraction_validation, group_k_fold, leave_one_subject_out

HAR70 = [str(number) for number in range(501, 519)]


def published_order(names):
    """What the published code does: the global generator, seeded, shuffling the sorted list."""
    state = np.random.get_state()
    np.random.seed(42)
    names = sorted(names)
    np.random.shuffle(names)
    np.random.set_state(state)
    return names


def test_leave_one_subject_out_follows_the_published_order():
    folds = leave_one_subject_out(HAR70[::-1])
    assert [fold.test for fold in folds] == [(name,) for name in published_order(HAR70)]
    for fold in folds:
        assert fold.train == tuple(name for name in HAR70 if name not in fold.test)


def test_several_recordings_of_a_subject_are_one_subject():
    assert leave_one_subject_out(["a", "b", "a", "b"]) == leave_one_subject_out(["b", "a"])
    assert sorted(fold.test for fold in leave_one_subject_out(["a", "b", "a"])) == [("a",), ("b",)]


def test_the_seed_decides():
    assert leave_one_subject_out(HAR70, seed=1) == leave_one_subject_out(HAR70, seed=1)
    assert leave_one_subject_out(HAR70, seed=1) != leave_one_subject_out(HAR70, seed=2)


@pytest.mark.parametrize(
    ("n", "k", "sizes"),
    [
        (14, 5, [3, 3, 3, 3, 2]),
        (9, 5, [2, 2, 2, 2, 1]),
        (18, 3, [6, 6, 6]),
        (6, 4, [2, 2, 1, 1]),  # ceil(6 / 4) = 2 would leave the fourth fold empty
        (4, 4, [1, 1, 1, 1]),
    ],
)
def test_group_k_fold_sizes(n, k, sizes):
    names = [f"s{index:02d}" for index in range(n)]
    folds = group_k_fold(names, k)
    assert [len(fold.test) for fold in folds] == sizes
    assert [name for fold in folds for name in fold.test] == published_order(names)  # consecutive, each once
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) | set(fold.test) == set(names)


@pytest.mark.parametrize("k", [0, 1, 5])
def test_group_k_fold_refuses(k):
    with pytest.raises(ValueError, match=f"4 subjects cannot be cut into {k} folds, choose 2 to 4 folds"):
        group_k_fold(["a", "b", "c", "d"], k)


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"]])
def test_one_subject_cannot_be_split(names):
    with pytest.raises(ValueError, match="at least 2 subjects"):
        leave_one_subject_out(names)
    with pytest.raises(ValueError, match="at least 2 subjects"):
        group_k_fold(names, 2)


def test_a_fold_is_plain_data():
    assert Fold(train=("a",), test=("b",)) == Fold(train=("a",), test=("b",))


def test_first_fifth_validates_across_segments():
    shares = first_fraction_validation([5, 0, 45, 50])  # 20 of 100 frames: 5 + 0 + 15
    assert [share.validation for share in shares] == [slice(0, 5), slice(0, 0), slice(0, 15), slice(0, 0)]
    assert [share.train for share in shares] == [slice(5, 5), slice(0, 0), slice(15, 45), slice(0, 50)]


def test_validation_fraction_is_rounded_and_checked():
    assert first_fraction_validation([7])[0].validation == slice(0, 1)
    assert first_fraction_validation([8])[0].validation == slice(0, 2)
    assert first_fraction_validation([8], 0)[0].validation == slice(0, 0)
    assert first_fraction_validation([]) == []
    for fraction in (-0.1, 1.0):
        with pytest.raises(ValueError, match="validation fraction"):
            first_fraction_validation([8], fraction)
