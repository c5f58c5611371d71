"""From a resolved config to the objects of the library: the one place that names every pre-training method."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

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
            "--rate that belong to it"
        )
