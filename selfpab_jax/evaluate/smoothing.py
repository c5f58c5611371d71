"""Activities last: a hidden Markov model over a classifier's predictions, and its most probable path."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Transitions(NamedTuple):
    """How activities follow one another, as natural logarithms.

    Attributes:
      log_transition: [K, K], row = class of a step, column = class of the next step.
      log_prior: [K], share of each class; -inf for a class without a label, which is then never predicted.
    """

    log_transition: np.ndarray
    log_prior: np.ndarray


def transition_model(sequences: Iterable[np.ndarray], classes: int, pseudo_count: float = 1.0) -> Transitions:
    """Transition probabilities and class shares of label sequences.

    Args:
      sequences: class indices [T] of a recording each, one per prediction step; -1 is unlabelled, and a pair of
        steps with an unlabelled one is not counted.
      classes: K.
      pseudo_count: added to the count of every pair, so that no transition is impossible. The shares have none: the
        output of a class that was never trained would otherwise be divided by next to nothing.

    Raises:
      ValueError: a pseudo-count that is not positive, a class index outside -1..K-1, or no labelled step.
    """
    if not pseudo_count > 0:
        raise ValueError(f"the pseudo-count is {pseudo_count}, expected a positive number")
    pairs, steps = np.zeros(classes * classes, np.int64), np.zeros(classes, np.int64)
    for sequence in sequences:
        labels = np.asarray(sequence, np.int64)
        if labels.size and not (-1 <= labels.min() and labels.max() < classes):
            raise ValueError(
                f"a label sequence holds {labels.min()}..{labels.max()}, expected class indices 0..{classes - 1} "
                "or -1 for unlabelled"
            )
        steps += np.bincount(labels[labels >= 0], minlength=classes)
        now, following = labels[:-1], labels[1:]
        both = (now >= 0) & (following >= 0)
        pairs += np.bincount(now[both] * classes + following[both], minlength=classes * classes)
    if not steps.any():
        raise ValueError("no step of the label sequences has a label, a transition model needs at least one")
    counts = pairs.reshape(classes, classes) + pseudo_count  # [K, K]
    log_prior = np.log(steps / steps.sum(), out=np.full(classes, -np.inf), where=steps > 0)
    return Transitions(np.log(counts / counts.sum(axis=1, keepdims=True)), log_prior)


def smooth(log_probabilities, model: Transitions) -> np.ndarray:
    """The most probable sequence of classes, int64 [T]: Viterbi's path through a hidden Markov model.

    The model's emissions are scaled likelihoods p(class | x) / p(class), proportional to p(x | class) by Bayes' rule;
    it starts with the class shares. Of equally probable predecessors the lowest class index is taken.

    Args:
      log_probabilities: [T, K], log p(class | x) of the steps of one recording; -inf rules a class out at a step.

    Raises:
      ValueError: another number of classes than the model's, NaN, or no path that is possible at all.

    Source: Bourlard and Morgan (1994), Connectionist Speech Recognition, for the scaled likelihoods; Viterbi (1967).
    """
    given, (transition, prior) = np.asarray(log_probabilities, np.float64), model
    if given.ndim != 2 or given.shape[1] != len(prior):
        raise ValueError(f"log probabilities have shape {given.shape}, expected [steps, {len(prior)} classes]")
    path = np.zeros(len(given), np.int64)
    if not len(given):
        return path
    # A class without a share stays at -inf: -inf minus -inf would be NaN.
    scores = np.subtract(given, prior, out=np.full(given.shape, -np.inf), where=np.isfinite(prior))  # [T, K]
    scores[0] += prior
    into = np.ascontiguousarray(transition.T)  # [K, K], row = class arrived at
    arriving, best = np.empty(into.shape), np.empty(len(prior))
    for before, now in zip(scores, scores[1:], strict=False):
        np.add(into, before, out=arriving)
        now += np.maximum.reduce(arriving, axis=1, out=best)
    if not np.isfinite(scores[-1].max()):
        raise ValueError(
            "the log probabilities leave no possible path: at some step they are NaN or -inf for every class"
        )
    path[-1] = scores[-1].argmax()
    # The way back repeats the few additions it needs, which is quicker than keeping a predecessor for every class.
    for step in range(len(path) - 1, 0, -1):
        path[step - 1] = (into[path[step]] + scores[step - 1]).argmax()
    return path
