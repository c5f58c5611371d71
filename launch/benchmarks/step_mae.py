"""The masked autoencoder's training step for the benchmark: the method, and its network and loss in PyTorch.

PyTorch gets patches in g and the numbers of the visible ones ready made.
"""

from collections.abc import Callable, Mapping

import jax
import numpy as np
import torch

from data_pipelines.contract import fake_batch
from launch.benchmarks.mae_network import MaskedAutoencoder, lmm
from launch.methods import build
from selfpab_jax.models.functional import split
from selfpab_jax.models.mae import seen
from selfpab_jax.objectives.method import Method, acceleration_g, row_keys
from selfpab_jax.signals.patches import patchify, random_kept

PATCHES = 300  # of a window; 3,000 s at the reference size
KNOWN = {  # what PyTorch's loss is written for
    "loss": {"lmm": 1.0, "lmv": 0.0, "mse": 0.0},
    "spectrum": {"window": "hann", "average": "log_of_mean", "log_base": "10", "distance": "l2", "pool": 1},
    "model": {"dtype": "float32"},
}


def sides(config: Mapping, batch: int, key) -> tuple[Method, dict[str, np.ndarray], torch.nn.Module, Callable]:
    """(our method, int16 windows for it, PyTorch's network with the same parameters, () -> its loss on them).

    The loss sees what the objective draws from `key`.

    Raises:
      ValueError: a loss that PyTorch's side does not know.
    """
    for group, fields in KNOWN.items():
        for name, known in fields.items():
            if config[group][name] != known:
                raise ValueError(
                    f"{group}.{name} is {config[group][name]}, expected {known}: the comparison of training steps is "
                    "written for this setting alone"
                )
    windows = fake_batch(batch, channels=config["model"]["channels"], samples=PATCHES * config["model"]["patch"])
    method = build(config, {})
    patches = patchify(acceleration_g(windows), config["model"]["patch"])  # [B, N, C, P]
    draw = jax.vmap(lambda row: random_kept(row, PATCHES, config["mask_ratio"]))
    kept = draw(row_keys(key, np.arange(batch)))  # [B, K]
    patches, masked = (torch.tensor(np.asarray(x)) for x in (patches, ~seen(kept, PATCHES)))
    kept = torch.tensor(np.asarray(kept)).long()
    network = MaskedAutoencoder(config["model"])
    network.load(split(method.model).params)
    chosen = [config["spectrum"][name] for name in ("frame_length", "hop", "floor")]
    return method, windows, network, lambda: lmm(network(patches, kept)[1], patches, masked, *chosen)
