"""Confusion matrices, scores per subject, mean ± standard error over subjects, paired differences.

Everything is derived from one confusion matrix per subject (rows: truth, columns: prediction), so that scores
can be recomputed, and classes merged, long after the predictions are gone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

UNLABELLED = -1


def confusion_matrix(truth, prediction, n_classes: int) -> np.ndarray:
    """Counts of (truth, prediction) pairs, int64 [K, K], row = truth, column = prediction.

    Args:
      truth: integers [S], class indices; -1 (unlabelled) samples are left out, whatever was predicted there.
      prediction: integers [S], class indices.

    Raises:
      ValueError: different lengths, or a class index outside 0..K-1.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape or truth.ndim != 1:
        raise ValueError(
            f"truth and prediction need one class per sample each, got shapes {truth.shape} and {prediction.shape}"
        )
    labelled = truth != UNLABELLED
    # int64 before the product: labels are stored as int16, where truth * K would wrap around silently.
    rows, columns = truth[labelled].astype(np.int64), prediction[labelled].astype(np.int64)
    for name, values in (("truth", rows), ("prediction", columns)):
        if values.size and not (0 <= values.min() and values.max() < n_classes):
            raise ValueError(
                f"{name} holds class indices {values.min()}..{values.max()}, expected 0..{n_classes - 1}; "
                "map the data set's own codes to indices first"
            )
    counts = np.bincount(rows * n_classes + columns, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes)  # [K, K]


def merge_classes(confusion, classes: Sequence, into: Mapping) -> tuple[np.ndarray, list]:
    """The confusion matrix [K', K'] and class list after adding rows and columns of some classes to others.

    HARTH is trained on 12 classes and reported on 10 with `into={130: 13, 140: 14}`.

    Args:
      confusion: [..., K, K].
      classes: the K classes, in the order of rows and columns (codes or names).
      into: class to remove -> class that takes over its counts.

    Raises:
      ValueError: a class that is not in `classes`, or a target that is itself merged away.
    """
    confusion = np.asarray(confusion)
    for source, target in into.items():
        if source not in classes or target not in classes or target in into:
            raise ValueError(f"cannot merge class {source!r} into {target!r}, the classes are {classes}")
    kept = [name for name in classes if name not in into]
    membership = np.zeros((len(classes), len(kept)), confusion.dtype)
    for row, name in enumerate(classes):
        membership[row, kept.index(into.get(name, name))] = 1
    return membership.T @ confusion @ membership, kept  # [..., K', K']


def _divide(numerator, denominator, empty: float) -> np.ndarray:
    """numerator / denominator with `empty` where the denominator is 0."""
    out = np.full(np.shape(numerator), empty, np.float64)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)


def mean_and_standard_error(values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard error (ddof 1) and count over the first axis, each [...], NaN entries skipped.

    The mean of nothing and the standard error of fewer than two values are NaN. Equals scipy.stats.sem.

    Args:
      values: [n, ...].
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    n = present.sum(axis=0)
    mean = _divide(np.where(present, values, 0).sum(axis=0), n, np.nan)
    squares = np.where(present, (values - mean) ** 2, 0).sum(axis=0)
    variance = _divide(squares, n - 1, np.nan)  # NaN for n = 1, and -1 is not > 0 for n = 0
    return mean, np.sqrt(_divide(variance, n, np.nan)), n


def subject_scores(confusion) -> dict[str, float | np.ndarray]:
    """Scores of one subject: macro_f1, macro_precision, balanced_accuracy, kappa, accuracy and per_class_f1 [K].

    A ratio 0/0 is NaN, and the macro means skip NaN: a class absent from truth and prediction is left out; a class
    absent from truth but predicted counts as F1 0; precision skips classes never predicted, which flatters timid
    classifiers. balanced_accuracy is the mean recall over the classes that occur in truth, scikit-learn's
    balanced_accuracy_score. kappa is Cohen's: agreement beyond what the row and column sums make expected, 1 at best,
    0 for none, NaN where the expected agreement is 1 (a single class in truth and prediction). The keys ending in
    `_sklearn` follow scikit-learn with fixed labels and zero_division=0 instead (every 0/0 counts as 0), which is lower
    or equal. Without any labelled sample all scores are NaN.

    Args:
      confusion: counts [K, K], row = truth.

    Source: SelfPAB's evaluation (package cmat 0.1: pandas means, which skip NaN); Cohen (1960) for kappa.
    """
    confusion = np.asarray(confusion)
    hits, rows, columns = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    total = confusion.sum()
    ratios = {"f1": (2 * hits, rows + columns), "precision": (hits, columns)}
    scores: dict[str, float | np.ndarray] = {}
    for name, (numerator, denominator) in ratios.items():
        per_class = _divide(numerator, denominator, np.nan)
        with_zeros = np.where(np.isnan(per_class), 0, per_class)
        scores[f"macro_{name}"] = float(mean_and_standard_error(per_class)[0])
        scores[f"macro_{name}_sklearn"] = float(with_zeros.mean()) if total else np.nan
        if name == "f1":
            scores["per_class_f1"] = per_class
    scores["balanced_accuracy"] = float(mean_and_standard_error(_divide(hits, rows, np.nan))[0])
    # Observed and expected agreement, both times total squared, so that an expected agreement of 1 is seen exactly; in
    # float64, since the square of a few billion samples leaves int64.
    chance, everything = rows.astype(np.float64) @ columns.astype(np.float64), np.float64(total)
    scores["kappa"] = float(_divide(hits.sum() * everything - chance, everything**2 - chance, np.nan))
    scores["accuracy"] = float(_divide(hits.sum(), total, np.nan))
    return scores


def mean_scores(scores: Sequence[Mapping]) -> dict[str, float | np.ndarray]:
    """Score by score the mean of several `subject_scores` (one subject's, over seeds), NaN skipped."""
    means = {key: mean_and_standard_error([one[key] for one in scores])[0] for key in scores[0]}
    return {key: mean if mean.ndim else float(mean) for key, mean in means.items()}


def summary(scores: Mapping[str, Mapping]) -> dict[str, dict]:
    """For every score its {"mean", "se", "n"} over subjects; for per_class_f1 each of them is an array [K].

    se is the standard error over subjects (ddof 1); n counts the subjects for which the score exists, e.g.
    those who did the activity at all.

    Args:
      scores: subject -> what `subject_scores` returns.

    Raises:
      ValueError: no subject.
    """
    if not scores:
        raise ValueError("a summary needs the scores of at least one subject, got none")
    out = {}
    for key in next(iter(scores.values())):
        mean, se, n = mean_and_standard_error([one[key] for one in scores.values()])
        out[key] = {"mean": mean, "se": se, "n": n}
        if not mean.ndim:
            out[key] = {"mean": float(mean), "se": float(se), "n": int(n)}
    return out


def paired_difference(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    """How a differs from b on the same subjects: {"mean", "se", "p", "n", "better"} of a - b.

    p is Wilcoxon's signed-rank test, two-sided, subjects without a difference dropped (1.0 when none is
    left); `better` counts the subjects with a > b. Subjects for whom either value is NaN are left out.

    Args:
      a, b: subject -> score.

    Raises:
      ValueError: the subjects of a and b differ.
    """
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))
        raise ValueError(f"a paired difference needs the same subjects twice, only one side has {odd}")
    difference = np.array([a[subject] - b[subject] for subject in sorted(a)], np.float64)
    difference = difference[~np.isnan(difference)]
    mean, se, n = mean_and_standard_error(difference)
    return {
        "mean": float(mean),
        "se": float(se),
        "p": _wilcoxon(difference),
        "n": int(n),
        "better": int((difference > 0).sum()),
    }


def _wilcoxon(difference: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, zeros dropped."""
    from scipy.stats import wilcoxon  # imported late: it takes half a second, and training never needs it

    difference = difference[difference != 0]
    return float(wilcoxon(difference).pvalue) if difference.size else 1.0
