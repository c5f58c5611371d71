"""SelfPAB's training step for the benchmark: the method, and its network and loss in PyTorch.

PyTorch gets altered spectrograms and masks ready made.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np
import torch

from data_pipelines.contract import fake_batch
from launch.benchmarks.network import Network, masked_l1
from launch.methods import build
from selfpab_jax.interop.names import to_torch
from selfpab_jax.models.functional import split
from selfpab_jax.objectives.method import Method, acceleration_g, row_keys
from selfpab_jax.signals.masking import Masking, alter
from selfpab_jax.signals.stft import log_or_linear, magnitude_spectrogram


def sides(config: Mapping, batch: int, key) -> tuple[Method, dict[str, np.ndarray], torch.nn.Module, Callable]:
    """(our method, int16 windows for it, PyTorch's network with the same parameters, () -> its loss on them).

    The loss sees what the objective draws from `key`.
    """
    windows = fake_batch(batch)
    method = build(config, statistics_of(windows))
    original = method.inputs(acceleration_g(windows))  # [B, T, F]
    rng = row_keys(jax.random.split(key)[0], np.arange(batch))
    altered, cells = jax.vmap(partial(alter, cfg=Masking(**config["masking"])))(rng, original)
    altered, original, cells = (torch.tensor(np.asarray(x)) for x in (altered, original, cells))
    network = Network(config["model"], original.shape[1])
    parameters = to_torch(split(method.model).params)
    network.load_state_dict({name: torch.tensor(array) for name, array in parameters.items()})
    return method, windows, network, lambda: masked_l1(network(altered), original, cells)


def statistics_of(windows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Normalisation statistics of these windows themselves."""
    spectrogram = magnitude_spectrogram(np.asarray(acceleration_g(windows)))
    found = {}
    for magnitude in ("linear", "log"):
        frames = log_or_linear(spectrogram, magnitude).reshape(-1, spectrogram.shape[-1])  # [B * T, F]
        found |= {f"{magnitude}_mean": frames.mean(0), f"{magnitude}_std": frames.std(0)}
    return found
