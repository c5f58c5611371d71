"""A whole training step of this project beside the same network, loss and optimizer in PyTorch.

Ours begins with int16 windows and draws its masks; PyTorch gets its input and masks ready made.
"""

import json
import sys
from functools import partial

import jax
import torch

from launch import bench_step_mae, bench_step_selfpab
from launch.bench_timing import Row, compare, in_turns, timed
from launch.config_file import load_config
from launch.methods import entry
from selfpab_jax.models.functional import model_state, parameter_count, split
from selfpab_jax.train import optim, sharding, step

SIDES = {"selfpab": bench_step_selfpab.sides, "mae": bench_step_mae.sides}
TOLERANCE = 1e-4  # relative, of the two losses without dropout
STEPS = 1000  # of the learning-rate schedule


def measure(batch: int, repeats: int, config_name: str) -> list[Row]:
    """Rows of the comparison, after a check that both losses agree on the same input and masks.

    Raises:
      ValueError: the networks differ in their number of parameters or in their loss, or PyTorch's side does not know
        the config's method or loss.
    """
    config = json.loads(load_config(config_name).to_json())
    entry(config)  # names the known methods where the config's is none of them
    key, mesh = jax.random.key(0), sharding.make_mesh(devices=jax.devices()[:1])
    method, windows, network, loss = SIDES[config["objective"]](config, batch, key)
    merge, params, extra = split(method.model)
    _check_equal(method, windows, key, network, loss)

    optimizer, schedule = optim.adamw(optim.OptimizerConfig(**config["optimizer"]), STEPS)
    state = step.init_state(params, extra, optimizer, mesh)
    train_step = step.make_train_step(method.objective, merge, model_state, optimizer, schedule, state)
    proceed = sharding.flags(mesh)[False]
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
        state, metrics = train_step(state, sharding.to_devices(windows, mesh, batch), key, proceed)
        jax.block_until_ready((state, metrics))

    def pytorch():
        theirs.zero_grad()
        loss().backward()
        theirs.step()

    times = in_turns({"ours": partial(timed, ours), "PyTorch": partial(timed, pytorch)}, repeats, "training steps")
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
