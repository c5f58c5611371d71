"""The classifiers that the published encoder is compared against, on features of whole windows."""

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np

NAMES = ("svm", "xgboost", "random_forest")
LEAST_PROBABILITY = 1e-12  # of a class, so that its logarithm is finite

Predict = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """The published settings; xgboost's are those of HAR70+ (of HARTH: rate 0.5, depth 3, 1024 trees).

    Attributes:
      svm_c: weight of the samples inside the margin; the kernel is RBF, features are scaled to 0..1.
      svm_gamma: "scale" (1 / (F var X)) or the kernel's 1 / length^2.
      svm_class_weight: "balanced", or None for samples of equal weight.
      xgboost_rate, xgboost_depth, xgboost_trees: learning rate, levels of a tree, rounds with a tree a class each.
      xgboost_lambda, xgboost_alpha, xgboost_gamma: L2 and L1 on the leaves, least gain of a split.
      xgboost_tree_method: "hist", or "exact" as published, which is several times slower.
      forest_trees: of the random forest.
    """

    svm_c: float = 10.0
    svm_gamma: float | str = "scale"
    svm_class_weight: str | None = None
    xgboost_rate: float = 0.3
    xgboost_depth: int = 5
    xgboost_trees: int = 512
    xgboost_lambda: float = 1.0
    xgboost_alpha: float = 0.0
    xgboost_gamma: float = 0.0
    xgboost_tree_method: str = "hist"
    forest_trees: int = 300


def fit(name: str, features, label, classes: int, seed: int, settings: ClassifierSettings, threads: int = 1) -> Predict:
    """A function features [N, F] -> log-probabilities float64 [N, K]; the label is their argmax.

    For the SVM that is the argmax of its calibrated probabilities too, as published, which is not always the class
    that the machines vote for. A class that training did not see gets the least probability.

    Args:
      name: one of NAMES.
      features: [N, F].
      label: [N], class indices 0..K-1.
      classes: K.
      seed: the same gives the same function, on one machine with as many threads.
      threads: of xgboost and the random forest; the SVM has one.

    Raises:
      ValueError: an unknown name, a package that is not installed, or labels that cannot be learned from.
    """
    if name not in NAMES:
        raise ValueError(f"there is no classifier {name!r}, expected one of {', '.join(NAMES)}")
    features, label = np.asarray(features), np.asarray(label)
    if features.ndim != 2 or label.shape != features.shape[:1]:
        raise ValueError(f"features {features.shape} and labels {label.shape}, expected [windows, features], [windows]")
    present, index = np.unique(label, return_inverse=True)
    if len(present) < 2 or present[0] < 0 or present[-1] >= classes:
        found = ", ".join(map(str, present)) or "none"
        raise ValueError(f"the labels to learn from are {found}, expected two or more of 0..{classes - 1}")
    check_installed(name)
    build = {"svm": _svm, "xgboost": _xgboost, "random_forest": _random_forest}[name]
    probabilities = build(features, index, seed, settings, threads)

    def log_probabilities(features) -> np.ndarray:
        found = np.full((len(features), classes), LEAST_PROBABILITY)
        found[:, present] = np.maximum(probabilities(np.asarray(features)), LEAST_PROBABILITY)
        return np.log(found / found.sum(1, keepdims=True))  # [N, K]

    return log_probabilities


def check_installed(name: str) -> None:
    """Raises ValueError if the package of the classifier `name` is not installed."""
    try:
        if name == "xgboost":
            import xgboost  # noqa: F401
        else:
            import sklearn  # noqa: F401
    except ModuleNotFoundError as error:
        package = "xgboost" if name == "xgboost" else "scikit-learn"
        raise ValueError(f"the baseline {name} needs {package}: pip install 'selfpab_jax[baselines]'") from error


def _svm(features: np.ndarray, index: np.ndarray, seed: int, settings: ClassifierSettings, threads: int) -> Predict:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler
    from sklearn.svm import SVC

    machine = SVC(
        C=settings.svm_c,
        gamma=settings.svm_gamma,
        class_weight=settings.svm_class_weight,
        probability=True,
        random_state=seed,
        cache_size=500,
    )
    with warnings.catch_warnings():
        # What scikit-learn advises instead calibrates each class against the rest; libsvm, which the published
        # numbers come from, calibrates each pair of classes and couples them, and the labels differ.
        warnings.filterwarnings("ignore", "The `probability` parameter was deprecated", FutureWarning)
        return make_pipeline(MinMaxScaler(), machine).fit(features, index).predict_proba


def _xgboost(features: np.ndarray, index: np.ndarray, seed: int, settings: ClassifierSettings, threads: int) -> Predict:
    import xgboost

    parameters = {
        "objective": "multi:softprob",
        "num_class": int(index.max()) + 1,
        "eta": settings.xgboost_rate,
        "max_depth": settings.xgboost_depth,
        "lambda": settings.xgboost_lambda,
        "alpha": settings.xgboost_alpha,
        "gamma": settings.xgboost_gamma,
        "tree_method": settings.xgboost_tree_method,
        "seed": seed,
        "nthread": threads,
    }
    training = xgboost.DMatrix(features, index, nthread=threads)
    booster = xgboost.train(parameters, training, settings.xgboost_trees)
    return lambda features: booster.predict(xgboost.DMatrix(features, nthread=threads)).astype(np.float64)


def _random_forest(
    features: np.ndarray, index: np.ndarray, seed: int, settings: ClassifierSettings, threads: int
) -> Predict:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(settings.forest_trees, random_state=seed, n_jobs=threads)
    return forest.fit(features, index).predict_proba
