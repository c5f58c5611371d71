"""The methods of the tables, each trained on a fold and asked for the probabilities of other windows."""

import math
import os
from collections.abc import Mapping

import numpy as np

from launch.table_sets import TableSet
from selfpab_jax.baselines import classifiers, hand_crafted
from selfpab_jax.evaluate.compare import Bench, Encoder
from selfpab_jax.evaluate.cross_validation import Fold
from selfpab_jax.evaluate.probe import RECIPES, ProbeConfig

NAMES = (*classifiers.NAMES, *RECIPES)
# On the same labels another seed gives the same, but for the split that calibrates the SVM's probabilities.
DETERMINISTIC = ("svm", "xgboost")
NO_ENCODER = Encoder(None, None, lambda seed: {}, None)


def method(data: TableSet, settings: Mapping, name: str, seed: int):
    """A `Classifier` or a `Network`; what all folds share is computed here."""
    return (Classifier if name in classifiers.NAMES else Network)(data, settings, name, seed)


def reads_encoder(name: str) -> bool:
    """Whether the spectrograms or the weights of an encoder matter to a method."""
    return name in RECIPES and RECIPES[name].encoder != "signal"


def needs_training_run(name: str) -> bool:
    """Whether a method starts from pre-trained weights."""
    return name in RECIPES and RECIPES[name].encoder == "pretrained"


class Classifier:
    """A classifier on hand-crafted features of windows of 5 s."""

    def __init__(self, data: TableSet, settings: Mapping, name: str, seed: int):
        self.windows, self._name, self._seed = data.five_seconds, name, seed
        own = settings["classifiers"].get(data.name, {})
        self._how = classifiers.ClassifierSettings(**{**settings["classifiers"]["all"], **own})
        scale = self.windows.scale[:, None, None]
        self._features = hand_crafted.features(self.windows.counts * scale, self.windows.tokens.rate_hz)  # [W, F]

    def fit_predict(self, fold: Fold, number: int, label: np.ndarray | None, test: np.ndarray) -> tuple:
        """(log-probabilities [W', 1, K] of the windows `test`, training history: none)."""
        label = (self.windows.label if label is None else label)[:, 0]
        train = self.windows.of(fold.train)
        train = train[label[train] >= 0]
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        of = (self._features[train], label[train], len(self.windows.codes), self._seed, self._how, threads)
        return classifiers.fit(self._name, *of)(self._features[test])[:, None], []


class Network:
    """A network of the probes, trained as their configs say."""

    def __init__(self, data: TableSet, settings: Mapping, name: str, seed: int):
        recipe = RECIPES[name]
        self.windows = data.five_seconds if recipe.encoder == "signal" else data.frames
        fields = {**settings["probe"], **settings["own"].get(name, {})}
        if settings["epochs"]:
            rows = fields["full_batch_size" if recipe.unfreeze_at == 0 else "batch_size"]
            training = len(self.windows.label) * (1 - 1 / len(data.folds))  # windows of a fold, on average
            fields["steps"] = math.ceil(settings["epochs"] * training / rows)
        if settings["decay_per_200"]:
            fields["decay"] = settings["decay_per_200"] ** (fields["steps"] / 200)
        encoder = data.encoder if reads_encoder(name) else NO_ENCODER
        self._bench = Bench(recipe, seed, self.windows, ProbeConfig(**fields), encoder)

    def fit_predict(self, fold: Fold, number: int, label: np.ndarray | None, test: np.ndarray) -> tuple:
        """(log-probabilities [W', T, K] of the windows `test`, training history)."""
        params, history = self._bench.fit(fold.train, number, label)
        return self._bench.predict(params, test), history
