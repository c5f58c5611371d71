"""Scores by hand, beside scikit-learn's and SciPy's."""

import numpy as np
import pytest

from selfpab_jax.evaluate.metrics import (
    confusion_matrix,
    mean_and_standard_error,
    mean_scores,
    merge_classes,
    paired_difference,
    subject_scores,
    summary,
)


def test_confusion_matrix_by_hand():
    truth = [0, 0, 1, 2, -1, 2]
    prediction = [0, 1, 1, 0, 2, 2]
    np.testing.assert_array_equal(confusion_matrix(truth, prediction, 3), [[1, 1, 0], [0, 1, 0], [1, 0, 1]])


def test_confusion_matrix_equals_sklearn_on_many_samples():
    from sklearn.metrics import confusion_matrix as reference

    rng = np.random.default_rng(0)
    # int8: truth * K would wrap around if it were multiplied as it is.
    truth, prediction = rng.integers(0, 100, (2, 200_000)).astype(np.int8)
    np.testing.assert_array_equal(confusion_matrix(truth, prediction, 100), reference(truth, prediction))


def test_unlabelled_samples_may_be_predicted_as_anything():
    np.testing.assert_array_equal(confusion_matrix([-1, -1, 1], [7, -1, 0], 2), [[0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([0, 3], [0, 1], "truth holds class indices 0..3, expected 0..2"),
        ([0, -2], [0, 1], "truth holds class indices -2..0"),
        ([0, 1], [0, -1], "prediction holds class indices -1..0"),
        ([0, 1], [0], "one class per sample"),
    ],
)
def test_confusion_matrix_refuses(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(truth, prediction, 3)


def test_scores_skip_ratios_of_nothing():
    # Class 0: 3 of 4 found, 1 false. Class 1: never predicted. Class 2: predicted once, absent from truth.
    # Class 3: absent from both.
    scores = subject_scores([[3, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(scores["per_class_f1"], [6 / 8, 0, 0, np.nan])
    assert scores["macro_f1"] == pytest.approx((0.75 + 0 + 0) / 3)
    assert scores["balanced_accuracy"] == pytest.approx((3 / 4 + 0) / 2)
    assert scores["macro_precision"] == pytest.approx((3 / 4 + 0) / 2)  # class 1 is skipped, class 2 counts as 0
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["macro_f1_sklearn"] == pytest.approx(0.75 / 4)


def test_sklearn_rule_equals_sklearn():
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(1)
    for _ in range(20):
        truth, prediction = rng.integers(0, rng.integers(1, 6), 30), rng.integers(0, rng.integers(1, 6), 30)
        scores = subject_scores(confusion_matrix(truth, prediction, 6))
        expected = precision_recall_fscore_support(truth, prediction, labels=range(6), average="macro", zero_division=0)
        for name, value in (("precision", expected[0]), ("f1", expected[2])):
            assert scores[f"macro_{name}_sklearn"] == pytest.approx(value, abs=1e-12)
            assert scores[f"macro_{name}"] >= value - 1e-12


def test_balanced_accuracy_and_kappa_equal_sklearn():
    from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

    rng = np.random.default_rng(5)
    for _ in range(20):
        truth = rng.permutation(np.append(rng.integers(0, 6, 28), [1, 2]))
        prediction = np.where(rng.random(30) < 0.5, truth, rng.permutation(truth))  # only classes of the truth
        scores = subject_scores(confusion_matrix(truth, prediction, 7))
        assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, prediction), abs=1e-12)
        assert scores["kappa"] == pytest.approx(cohen_kappa_score(truth, prediction), abs=1e-12)


def test_kappa_by_hand():
    # 35 of 50 agree; by chance (25 * 30 + 25 * 20) / 50 = 25 would.
    assert subject_scores([[20, 5], [10, 15]])["kappa"] == pytest.approx((35 - 25) / (50 - 25))
    assert subject_scores([[0, 3], [0, 5]])["kappa"] == 0  # always the same answer
    assert subject_scores([[0, 4], [4, 0]])["kappa"] == -1
    assert subject_scores([[1, 0], [0, 1]])["kappa"] == 1


def test_kappa_of_a_single_class_is_nan():
    scores = subject_scores([[7, 0], [0, 0]])
    assert np.isnan(scores["kappa"])
    assert (scores["balanced_accuracy"], scores["accuracy"]) == (1, 1)


def test_kappa_of_more_samples_than_a_square_of_int64_holds():
    many = 4_000_000_000
    assert subject_scores([[many, 0], [many, 0]])["kappa"] == 0
    assert subject_scores([[many, 0], [0, many]])["kappa"] == 1


def test_skipping_rule_equals_a_slow_reference():
    rng = np.random.default_rng(2)
    for _ in range(20):
        confusion = rng.poisson(0.6, (5, 5))
        f1, precision, recall = [], [], []
        for c in range(5):
            hit, row, column = confusion[c, c], confusion[c].sum(), confusion[:, c].sum()
            if row + column:
                f1.append(2 * hit / (row + column))
            if column:
                precision.append(hit / column)
            if row:
                recall.append(hit / row)
        scores = subject_scores(confusion)
        assert scores["macro_f1"] == pytest.approx(np.mean(f1))
        assert scores["macro_precision"] == pytest.approx(np.mean(precision))
        assert scores["balanced_accuracy"] == pytest.approx(np.mean(recall))


def test_scores_of_nothing_are_nan():
    scores = subject_scores(np.zeros((3, 3), int))
    assert all(np.isnan(value).all() for value in scores.values())


def test_merging_adds_rows_and_columns():
    confusion = np.arange(16).reshape(4, 4)
    merged, classes = merge_classes(confusion, [13, 14, 130, 140], {130: 13, 140: 14})
    assert classes == [13, 14]
    np.testing.assert_array_equal(merged, [[0 + 2 + 8 + 10, 1 + 3 + 9 + 11], [4 + 6 + 12 + 14, 5 + 7 + 13 + 15]])
    stack, _ = merge_classes(np.stack([confusion, confusion]), [13, 14, 130, 140], {130: 13, 140: 14})
    np.testing.assert_array_equal(stack, [merged, merged])


def test_merging_equals_relabelling():
    rng = np.random.default_rng(3)
    truth, prediction = rng.integers(0, 12, (2, 1000))
    index = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 9])
    merged, classes = merge_classes(confusion_matrix(truth, prediction, 12), range(12), {10: 8, 11: 9})
    assert classes == list(range(10))
    np.testing.assert_array_equal(merged, confusion_matrix(index[truth], index[prediction], 10))


@pytest.mark.parametrize("into", [{5: 0}, {0: 5}, {0: 1, 1: 2}])
def test_merging_refuses(into):
    with pytest.raises(ValueError, match="cannot merge class"):
        merge_classes(np.zeros((3, 3)), [0, 1, 2], into)


def test_standard_error_equals_scipy():
    from scipy.stats import sem

    values = np.random.default_rng(4).normal(size=(18, 3))
    mean, se, n = mean_and_standard_error(values)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(se, sem(values))
    assert n.tolist() == [18, 18, 18]


def test_standard_error_skips_nan():
    mean, se, n = mean_and_standard_error([[1, np.nan, np.nan], [3, 5, np.nan]])
    np.testing.assert_allclose(mean, [2, 5, np.nan])
    np.testing.assert_allclose(se, [1, np.nan, np.nan])  # values 1 and 3: deviation sqrt(2), over sqrt(2)
    assert n.tolist() == [2, 1, 0]


def test_summary_over_subjects():
    scores = {"a": subject_scores([[1, 0], [0, 0]]), "b": subject_scores([[1, 1], [0, 2]])}
    total = summary(scores)
    assert total["accuracy"] == {"mean": pytest.approx(0.875), "se": pytest.approx(0.125), "n": 2}
    np.testing.assert_allclose(total["per_class_f1"]["mean"], [(1 + 2 / 3) / 2, 4 / 5])
    assert total["per_class_f1"]["n"].tolist() == [2, 1]
    with pytest.raises(ValueError, match="at least one subject"):
        summary({})


def test_mean_scores_over_seeds():
    mean = mean_scores([subject_scores([[1, 0], [0, 0]]), subject_scores([[1, 1], [0, 2]])])
    assert mean["accuracy"] == pytest.approx(0.875)
    np.testing.assert_allclose(mean["per_class_f1"], [5 / 6, 0.8])


def test_paired_difference_by_hand():
    a = {"x": 0.5, "y": 0.7, "z": 0.9, "w": 0.4}
    b = {"z": 0.6, "y": 0.5, "x": 0.4, "w": 0.0}
    found = paired_difference(a, b)  # differences 0.1, 0.2, 0.3, 0.4
    assert found["mean"] == pytest.approx(0.25)
    assert found["se"] == pytest.approx(np.std([0.1, 0.2, 0.3, 0.4], ddof=1) / 2)
    assert found["p"] == pytest.approx(2 / 2**4)  # all four signs alike, two of the 16 equally likely patterns
    assert (found["n"], found["better"]) == (4, 4)


def test_paired_difference_without_difference():
    same = {"x": 0.5, "y": 0.7}
    assert paired_difference(same, same) == {"mean": 0, "se": 0, "p": 1, "n": 2, "better": 0}


def test_paired_difference_with_ties_zeros_and_nan():
    a = {str(i): value for i, value in enumerate([0.5, 0.5, 0.25, np.nan, 0.75])}
    found = paired_difference(a, dict.fromkeys(a, 0.5))
    assert (found["n"], found["better"]) == (4, 1)
    assert 0 < found["p"] <= 1


def test_paired_difference_needs_the_same_subjects():
    with pytest.raises(ValueError, match=r"only one side has \['y'\]"):
        paired_difference({"x": 1.0}, {"x": 1.0, "y": 2.0})
