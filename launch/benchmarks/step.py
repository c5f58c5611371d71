"""A whole training step of this project beside the same network, loss and optimizer in PyTorch.

Ours begins with int16 windows and draws its masks; PyTorch gets its input and masks ready made.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial

import jax
import torch

from launch.benchmarks import step_mae, step_selfpab
from launch.benchmarks.timing import Row, compare, in_turns, settled
from launch.benchmarks.training import Training
from launch.methods import entry
from selfpab_jax.models.functional import parameter_count, split
from selfpab_jax.train import sharding

SIDES = {"selfpab": step_selfpab.sides, "mae": step_mae.sides}
TOLERANCE = 1e-4  # relative, of the two losses without dropout


class LeftOut(Exception):
    """PyTorch's side is not written for this config."""


def comparison(config: Mapping, batch: int) -> Callable[[int], list[Row]]:
    """rounds -> rows of the comparison; it is made after a check that both losses agree on the same input and masks.

    Raises:
      LeftOut: PyTorch's side does not know the config's loss or dtype.
      ValueError: the networks differ in their number of parameters or in their loss.
    """
    entry(config)  # names the known methods where the config's is none of them
    if config["model"]["dtype"] != "float32":
        raise LeftOut(f"model.dtype is {config['model']['dtype']}, its side computes in float32")
    key = jax.random.key(0)
    try:
        method, windows, network, loss = SIDES[config["objective"]](config, batch, key)
    except ValueError as error:
        raise LeftOut(str(error)) from error
    _check_equal(method, windows, key, network, loss)
    return partial(_in_turns, config, method, windows, network, loss)


def _in_turns(config: Mapping, method, windows: dict, network: torch.nn.Module, loss, repeats: int) -> list[Row]:
    mesh, batch = sharding.make_mesh(devices=jax.devices()[:1]), len(windows["scale"])
    training = Training(config, method, mesh, windows)
    chosen = config["optimizer"]
    theirs = torch.optim.AdamW(
        network.parameters(),
        lr=chosen["learning_rate"],
        betas=(chosen["b1"], chosen["b2"]),
        eps=chosen["eps"],
        weight_decay=chosen["weight_decay"],
    )

    def pytorch():
        theirs.zero_grad()
        loss().backward()
        theirs.step()

    candidates = {"ours": lambda: training.run(training.put(windows)), "PyTorch": pytorch}
    times = in_turns({name: partial(settled, run) for name, run in candidates.items()}, repeats, "training steps")
    return compare(f"training step, batch {batch}", times["ours"], times["PyTorch"])


def _check_equal(method, windows: dict, key, network: torch.nn.Module, loss) -> None:
    """Raises ValueError unless parameters and losses agree; prints how closely."""
    merge, params, extra = split(method.model)
    count, theirs = parameter_count(params), sum(p.numel() for p in network.parameters())
    if count != theirs:
        raise ValueError(f"the networks have {count:,} and {theirs:,} parameters, expected equal ones")
    one = float(jax.jit(lambda p, b, k: method.objective(merge(p, extra), b, k, False)[0])(params, windows, key))
    network.eval()
    with torch.no_grad():
        other = float(loss())
    network.train()
    if not abs(one / other - 1) < TOLERANCE:
        raise ValueError(f"the losses on one batch are {one} and {other} without dropout, expected equal ones")
    print(f"{count:,} parameters; loss without dropout {one:.6f}, in PyTorch {other:.6f}", file=sys.stderr)
