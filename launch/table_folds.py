"""One fold of one method on one data set of the tables: trained, predicted, scored, timed. Runs in worker processes."""

import json
import time
import warnings
from functools import lru_cache
from typing import NamedTuple

import jax

from data_pipelines.processes import worker_number
from launch.table_methods import Classifier, Network, method
from launch.table_sets import TableSet
from selfpab_jax.evaluate import few_labels
from selfpab_jax.evaluate.compare import hop_labels, reduced, score
from selfpab_jax.evaluate.cross_validation import Fold
from selfpab_jax.evaluate.smoothing import transition_model

MINUTE_S = 60


class Job(NamedTuple):
    """A fold to do; `labels` is "all", "minute" (of each activity) or a number of training subjects."""

    dataset: str
    method: str
    labels: str
    seed: int
    fold: int


def run_fold(settings: str, job: Job) -> dict:
    """A row of the results store: confusion matrices [K, K] of each test subject, as predicted and smoothed, and times.

    What folds of one data set, method and seed share is kept from call to call.

    Args:
      settings: of `TableSet`, as JSON.
    """
    devices = jax.local_devices()
    with jax.default_device(devices[worker_number() % len(devices)]):
        begun = _clocks()
        data, built = table_set(settings, job.dataset), _built(settings, job.dataset, job.method, job.seed)
        ready = _clocks()
        row = _scored(data.folds[job.fold], job, built)
    done = _clocks()
    names = ("seconds", "cpu_seconds")
    row |= {name: round(b - a, 3) for name, a, b in zip(names, ready, done, strict=True)}
    return row | {f"setup_{name}": round(b - a, 3) for name, a, b in zip(names, begun, ready, strict=True)}


def _scored(fold: Fold, job: Job, built: Classifier | Network) -> dict:
    windows, few = built.windows, job.labels == "minute"
    if job.labels.isdecimal():
        fold = reduced(fold, int(job.labels), job.seed, job.fold)
    label = few_labels.draw(windows, fold.train, MINUTE_S, job.seed, job.fold) if few else None
    test = windows.of(fold.test)
    log_probabilities, history = built.fit_predict(fold, job.fold, label, test)
    found = {"confusion": score(log_probabilities, windows, test), "smoothed": {}}
    if not few:  # blocks of 5 s tell nothing of what follows what
        log_transition = transition_model(hop_labels(windows, fold.train), len(windows.codes))
        found["smoothed"] = score(log_probabilities, windows, test, log_transition=log_transition)
    row = {**job._asdict(), "train": list(fold.train), "codes": list(windows.codes), "classes": list(windows.names)}
    row["history"] = [{k: round(v, 5) if isinstance(v, float) else v for k, v in one.items()} for one in history]
    return row | {kind: {who: one.tolist() for who, one in people.items()} for kind, people in found.items()}


@lru_cache(maxsize=1)
def table_set(settings: str, dataset: str) -> TableSet:
    """The data set; the last one asked for is kept. What there is to warn of has been said by who started the folds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TableSet(json.loads(settings), dataset)


_kept: dict[tuple, Classifier | Network] = {}


def _built(settings: str, dataset: str, name: str, seed: int) -> Classifier | Network:
    key = (settings, dataset, name, seed)
    if key not in _kept:
        _kept.clear()  # before another is built: its features may take gigabytes
        _kept[key] = method(table_set(settings, dataset), json.loads(settings), name, seed)
    return _kept[key]


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
