"""A whole training step of this project beside the same network, loss and optimizer in PyTorch.

Ours begins with int16 windows and draws its masks; PyTorch gets altered spectrograms and masks ready made.
"""

import json
import sys
from functools import partial

import jax
import numpy as np
import torch

from data_pipelines.contract import fake_batch
from launch.bench_network import Network, masked_l1
from launch.bench_timing import Row, compare, in_turns, timed
from launch.config_file import load_config
from launch.methods import build
from selfpab_jax.interop.names import to_torch
from selfpab_jax.models.functional import model_state, parameter_count, split
from selfpab_jax.objectives.method import acceleration_g, row_keys
from selfpab_jax.signals.masking import Masking, alter
from selfpab_jax.signals.stft import log_or_linear, magnitude_spectrogram
from selfpab_jax.train import optim, sharding, step

TOLERANCE = 1e-4  # relative, of the two losses without dropout
STEPS = 1000  # of the learning-rate schedule


def measure(batch: int, repeats: int, config_name: str) -> list[Row]:
    """Rows of the comparison, after a check that both losses agree on the same altered spectrograms.

    Raises:
      ValueError: the networks differ in their number of parameters or in their loss.
    """
    config = json.loads(load_config(config_name).to_json())
    windows, mesh = fake_batch(batch), sharding.data_mesh(jax.devices()[:1])
    key = jax.random.key(0)
    method = build(config, statistics_of(windows))
    merge, params, extra = split(method.model)

    original = method.inputs(acceleration_g(windows))  # [B, T, F]
    rng = row_keys(jax.random.split(key)[0], batch)
    altered, cells = jax.vmap(partial(alter, cfg=Masking(**config["masking"])))(rng, original)
    altered, original, cells = (torch.tensor(np.asarray(x)) for x in (altered, original, cells))
    network = Network(config["model"], original.shape[1])
    network.load_state_dict({name: torch.tensor(array) for name, array in to_torch(params).items()})
    _check_equal(method, params, extra, windows, key, network, (altered, original, cells))

    optimizer, schedule = optim.adamw(optim.OptimizerConfig(**config["optimizer"]), STEPS)
    train_step = step.make_train_step(method.objective, merge, model_state, optimizer, schedule, mesh)
    state = step.init_state(params, extra, optimizer, mesh)
    chosen = config["optimizer"]
    theirs = torch.optim.AdamW(
        network.parameters(),
        lr=chosen["learning_rate"],
        betas=(chosen["b1"], chosen["b2"]),
        eps=chosen["eps"],
        weight_decay=chosen["weight_decay"],
    )

    def ours():
        nonlocal state
        state, metrics = train_step(state, sharding.to_devices(windows, mesh), key)
        jax.block_until_ready((state, metrics))

    def pytorch():
        theirs.zero_grad()
        masked_l1(network(altered), original, cells).backward()
        theirs.step()

    times = in_turns({"ours": partial(timed, ours), "PyTorch": partial(timed, pytorch)}, repeats, "training steps")
    return compare(f"training step, batch {batch}", times["ours"], times["PyTorch"])


def statistics_of(windows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Normalisation statistics of these windows themselves."""
    spectrogram = magnitude_spectrogram(np.asarray(acceleration_g(windows)))
    found = {}
    for magnitude in ("linear", "log"):
        frames = log_or_linear(spectrogram, magnitude).reshape(-1, spectrogram.shape[-1])  # [B * T, F]
        found |= {f"{magnitude}_mean": frames.mean(0), f"{magnitude}_std": frames.std(0)}
    return found


def _check_equal(method, params, extra, windows, key, network: Network, data: tuple) -> None:
    """Raises ValueError unless parameters and losses agree; prints how closely."""
    count, theirs = parameter_count(params), sum(p.numel() for p in network.parameters())
    if count != theirs:
        raise ValueError(f"the networks have {count:,} and {theirs:,} parameters, expected equal ones")
    loss = float(
        jax.jit(lambda b, k: method.objective(split(method.model).merge(params, extra), b, k, False)[0])(windows, key)
    )
    network.eval()
    with torch.no_grad():
        altered, original, cells = data
        other = float(masked_l1(network(altered), original, cells))
    network.train()
    if not abs(loss / other - 1) < TOLERANCE:
        raise ValueError(f"the losses on one batch are {loss} and {other} without dropout, expected equal ones")
    print(f"{count:,} parameters; loss without dropout {loss:.6f}, in PyTorch {other:.6f}", file=sys.stderr)
