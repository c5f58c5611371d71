"""The three classifiers on small made-up data, and one by one against the packages they come from."""

import json
import sys

import numpy as np
import pytest

from selfpab_jax.baselines.classifiers import LEAST_PROBABILITY, NAMES, ClassifierSettings, fit

QUICK = ClassifierSettings(xgboost_trees=10, forest_trees=20)


def three_clouds(windows: int = 150, spread: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(features [N, 4], class 0..2 [N]); the first two features tell."""
    rng = np.random.default_rng(seed)
    label = np.arange(windows) % 3
    features = rng.normal(0, spread, (windows, 4))
    features[:, :2] += np.array([[0, 0], [3, 0], [0, 30]])[label]
    return features, label


def needs(name: str) -> None:
    pytest.importorskip("xgboost" if name == "xgboost" else "sklearn")


@pytest.mark.parametrize("name", NAMES)
def test_learns_what_can_be_separated(name):
    needs(name)
    predict = fit(name, *three_clouds(), classes=3, seed=0, settings=QUICK)
    unseen, truth = three_clouds(60, seed=1)
    found = predict(unseen)
    assert found.shape == (60, 3) and found.dtype == np.float64
    np.testing.assert_array_equal(found.argmax(1), truth)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_classes_that_training_did_not_see(name):
    """0, 1, 2 are learned as 1, 4, 5 of seven; the other four are as improbable as can be."""
    needs(name)
    features, label = three_clouds()
    codes = np.array([1, 4, 5])
    found = fit(name, features, codes[label], classes=7, seed=0, settings=QUICK)(features)
    np.testing.assert_array_equal(found.argmax(1), codes[label])
    np.testing.assert_allclose(found[:, [0, 2, 3, 6]], np.log(LEAST_PROBABILITY))
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-12)
    alone = fit(name, features, label, classes=3, seed=0, settings=QUICK)(features)
    np.testing.assert_allclose(np.exp(found[:, codes]), np.exp(alone), atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_two_classes(name):
    needs(name)
    features, label = three_clouds()
    found = fit(name, features, 2 * (label == 1), classes=3, seed=0, settings=QUICK)(features)
    np.testing.assert_array_equal(found.argmax(1), 2 * (label == 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_again(name):
    needs(name)
    features, label = three_clouds(spread=2)
    first, again, other = (fit(name, features, label, 3, seed, QUICK)(features) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert name == "xgboost" or (first != other).any()  # xgboost draws nothing


@pytest.mark.filterwarnings("ignore:The .probability. parameter was deprecated:FutureWarning")
def test_the_svm_is_the_published_pipeline():
    """Labels are the argmax of the calibrated probabilities, also where the machines' own vote differs."""
    pytest.importorskip("sklearn")
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MinMaxScaler
    from sklearn.svm import SVC

    rng = np.random.default_rng(3)
    label = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    features = rng.normal(0, 1, (300, 4)) * [1, 10, 1, 1]
    features[:, 0] += label
    machine = SVC(C=10, kernel="rbf", gamma="scale", class_weight=None, probability=True, random_state=5)
    pipeline = Pipeline([("scale", MinMaxScaler()), ("svm", machine)])
    expected = pipeline.fit(features, label).predict_proba(features)
    assert (expected.argmax(1) != pipeline.predict(features)).any()
    found = fit("svm", features, label, 3, 5, ClassifierSettings())(features)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-9)


def test_settings_reach_the_svm_and_the_forest():
    pytest.importorskip("sklearn")
    features, label = three_clouds(spread=2)
    for name, other in [
        ("svm", ClassifierSettings(svm_c=0.1)),
        ("svm", ClassifierSettings(svm_gamma=0.01)),
        ("svm", ClassifierSettings(svm_class_weight="balanced")),
        ("random_forest", ClassifierSettings(forest_trees=3)),
    ]:
        uneven = label * (np.arange(len(label)) % 2)  # class 0 four times as often as another
        first, second = (fit(name, features, uneven, 3, 0, settings)(features) for settings in (QUICK, other))
        assert (first != second).any(), other
    shares = np.exp(fit("random_forest", features, label, 3, 0, ClassifierSettings())(features))
    # Leaves are pure: each of 300 trees votes for one class.
    np.testing.assert_allclose(300 * shares, np.round(300 * shares), atol=1e-6)


def test_settings_reach_xgboost(monkeypatch):
    xgboost = pytest.importorskip("xgboost")
    boosters, train = [], xgboost.train
    monkeypatch.setattr(xgboost, "train", lambda *given: boosters.append(train(*given)) or boosters[-1])
    features, label = three_clouds()
    fit("xgboost", features, label, 3, 7, ClassifierSettings(), threads=2)
    other = ClassifierSettings(
        xgboost_rate=0.5,
        xgboost_depth=3,
        xgboost_trees=4,
        xgboost_lambda=2,
        xgboost_alpha=0.25,
        xgboost_gamma=0.125,
        xgboost_tree_method="exact",
    )
    fit("xgboost", features, label, 3, 8, other)
    # seed, threads, tree method, rate, depth, lambda, alpha, gamma, rounds
    assert [_arrived(booster) for booster in boosters] == [
        ("multi:softprob", 7, 2, "hist", pytest.approx(0.3), 5, 1, 0, 0, 512),
        ("multi:softprob", 8, 1, "exact", 0.5, 3, 2, 0.25, 0.125, 4),
    ]


def _arrived(booster) -> tuple:
    learner = json.loads(booster.save_config())["learner"]
    general, trees = learner["generic_param"], learner["gradient_booster"]
    tree = trees["tree_train_param"]
    numbers = [float(tree[name]) for name in ("eta", "max_depth", "lambda", "alpha", "gamma")]
    method = trees["gbtree_train_param"]["tree_method"]
    who = learner["objective"]["name"], int(general["seed"]), int(general["nthread"]), method
    return *who, *numbers, booster.num_boosted_rounds()


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("svm", "sklearn.svm", "scikit-learn"),
        ("xgboost", "xgboost", "xgboost"),
        ("random_forest", "sklearn.ensemble", "scikit-learn"),
    ],
)
def test_a_missing_package_is_one_sentence(name, module, package, monkeypatch):
    for missing in (module, module.partition(".")[0]):
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError) as raised:
        fit(name, *three_clouds(), classes=3, seed=0, settings=QUICK)
    assert str(raised.value) == f"the baseline {name} needs {package}: pip install 'selfpab_jax[baselines]'"


@pytest.mark.parametrize(
    ("name", "labels", "sentence"),
    [
        ("SVM", [0, 1, 2], "there is no classifier 'SVM', expected one of svm, xgboost, random_forest"),
        ("svm", [0, 1, 3], "the labels to learn from are 0, 1, 3, expected two or more of 0..2"),
        ("svm", [-1, 1, 2], "the labels to learn from are -1, 1, 2, expected two or more of 0..2"),
        ("xgboost", [1, 1, 1], "the labels to learn from are 1, expected two or more of 0..2"),
        ("svm", [0, 1], r"features \(3, 4\) and labels \(2,\), expected \[windows, features\], \[windows\]"),
    ],
)
def test_mistakes(name, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(name, np.zeros((3, 4)), np.array(labels), classes=3, seed=0, settings=QUICK)
