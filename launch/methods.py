"""From a resolved config to the objects of the library: the one place that names every pre-training method."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from data_pipelines.order import check_order
from selfpab_jax.evaluate import figures, signal_figures
from selfpab_jax.objectives import mae, selfpab
from selfpab_jax.objectives.method import Method


class Entry(NamedTuple):
    """How a method is built, and how a row of its preview is drawn: (arrays, path, method)."""

    build: Callable[[Mapping, Mapping[str, np.ndarray]], Method]
    picture: Callable


METHODS = {
    "selfpab": Entry(selfpab.build, lambda parts, path, method: figures.reconstruction(parts, path, method.channels)),
    "mae": Entry(mae.build, signal_figures.reconstruction),
}


def build(config: Mapping, normalization: Mapping[str, np.ndarray]) -> Method:
    """The pre-training method that the config's `objective` names, freshly initialised from `seed`."""
    return entry(config).build(config, normalization)


def entry(config: Mapping) -> Entry:
    """The method that the config's `objective` names; ValueError where there is no such method."""
    if config.get("objective") not in METHODS:
        raise ValueError(f"config.objective is '{config.get('objective')}', expected one of {', '.join(METHODS)}")
    return METHODS[config["objective"]]


def check_fits(method: Method, channels: Sequence[str], rate_hz: float, folder) -> None:
    """Raises ValueError unless recordings of these channels and this rate are what the method reads."""
    found, wanted = (tuple(channels), rate_hz), (method.recorded, method.tokens.rate_hz)
    if found != wanted:
        words = [f"{', '.join(names)} at {rate} Hz" for names, rate in (found, wanted)]
        raise ValueError(
            f"{folder} holds {words[0]}, the method reads {words[1]}: prepare the recordings with the --sensors and "
            "--rate that belong to it, or choose another sensor in the config"
        )


def check_run(method: Method, manifest: Mapping, data: Mapping) -> None:
    """Raises ValueError unless the method can train on a prepared folder in the way that `config.data` says."""
    channels = manifest["channels"]
    check_fits(method, channels, manifest["sample_rate_hz"], data["dir"])
    check_order(data["sampling"], data["random_start"], data["split"])
    samples, tokens = manifest["settings"]["window_samples"], method.tokens
    if not tokens.count(samples) or (samples - tokens.size) % tokens.hop:
        raise ValueError(
            f"{data['dir']} holds windows of {samples / tokens.rate_hz:g} s ({samples} samples), expected a whole "
            f"number of tokens of {tokens.size} samples, one every {tokens.hop}: prepare it with another --window"
        )
    # What the objective itself refuses, such as a mask of no token, before there is a run folder.
    rows = {"acceleration": jax.ShapeDtypeStruct((2, len(channels), samples), np.int16)}
    rows |= {"scale": jax.ShapeDtypeStruct((2,), np.float32)}
    jax.eval_shape(lambda batch, key: method.objective(method.model, batch, key, True)[0], rows, jax.random.key(0))
