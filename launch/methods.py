"""From a resolved config to the objects of the library: the one place that names every pre-training method."""

from collections.abc import Mapping

import numpy as np

from selfpab_jax.objectives import selfpab
from selfpab_jax.objectives.method import Method

METHODS = {"selfpab": selfpab.build}


def build(config: Mapping, normalization: Mapping[str, np.ndarray]) -> Method:
    """The pre-training method that the config's `objective` names, freshly initialised from `seed`."""
    if config.get("objective") not in METHODS:
        raise ValueError(f"config.objective is '{config.get('objective')}', expected one of {', '.join(METHODS)}")
    return METHODS[config["objective"]](config, normalization)
