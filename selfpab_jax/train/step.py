"""The training state and the two jitted steps. Nothing here knows a model or a data set."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from selfpab_jax.train.sharding import ROWS, TensorSplit, by_shape, replicated

State = dict[str, Any]
Objective = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def init_state(
    params, model_state, optimizer: optax.GradientTransformation, mesh: Mesh, tensor_split: TensorSplit | None = None
) -> State:
    """The state before the first step, spread over the mesh as `sharding.by_shape` says.

    `step` counts batches seen (it is the position in the data), `skipped` the updates left out because they were not
    finite, `bad_streak` how many of them came last in a row.
    """

    def make(params, model_state):
        zero = jnp.zeros((), jnp.int32)
        return {
            "params": params,
            "model_state": model_state,
            "opt_state": optimizer.init(params),
            "step": zero,
            "skipped": zero,
            "bad_streak": zero,
        }

    # From host memory, because each process has made the same parameters on a device of its own.
    start = jax.device_get((params, model_state))
    return jax.jit(make, out_shardings=by_shape(jax.eval_shape(make, *start), mesh, tensor_split or {}))(*start)


def make_train_step(
    objective: Objective,
    merge: Callable,
    model_state_of: Callable,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    state: State,
    accumulate: int = 1,
):
    """Jitted (state, batch, key, flag) -> (state, metrics); the state's memory is reused.

    All randomness is a function of (key, step, row), so a resumed run repeats it. An update whose loss, gradient or
    result is not finite is left out: parameters and optimizer stay as they were, the data position moves on. The flag
    (`sharding.flags`) of any process makes the metric `stop` true on all.

    Args:
      state: one such as the step will see; says how it is spread over the devices.
      accumulate: a batch is worked through in so many parts, whose gradients are averaged in float32.
    """
    spread = jax.tree.map(lambda leaf: leaf.sharding, state)
    mesh = spread["step"].mesh

    def train_step(state, batch, key, flag):
        rng = jax.random.fold_in(key, state["step"])

        def loss_of(params, model_state, part):
            model = merge(params, model_state)
            loss, metrics = objective(model, part, rng, True)
            return loss, (metrics | {"loss": loss}, model_state_of(model))

        def add(carry, part):
            total, model_state = carry
            gradient, (metrics, model_state) = jax.grad(loss_of, has_aux=True)(state["params"], model_state, part)
            return (jax.tree.map(jnp.add, total, gradient), model_state), metrics

        batch = _numbered(batch)
        if accumulate == 1:
            differentiate = jax.grad(loss_of, has_aux=True)
            gradient, (metrics, model_state) = differentiate(state["params"], state["model_state"], batch)
        else:
            start = (jax.tree.map(jnp.zeros_like, state["params"]), state["model_state"])
            (gradient, model_state), metrics = jax.lax.scan(add, start, _parts(batch, accumulate, mesh))
            gradient = jax.tree.map(lambda total: total / accumulate, gradient)
            metrics = jax.tree.map(lambda values: values.mean(axis=0), metrics)
        updates, opt_state = optimizer.update(gradient, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm) & jnp.isfinite(optax.tree.norm(params))
        for leaf in jax.tree.leaves(model_state):
            finite &= jnp.isfinite(leaf).all() if jnp.issubdtype(leaf.dtype, jnp.inexact) else True
        new = {"params": params, "model_state": model_state, "opt_state": opt_state}
        old = {name: state[name] for name in new}
        kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        skipped = jnp.where(finite, 0, 1)
        bad_streak = jnp.where(finite, 0, state["bad_streak"] + 1)
        # The rate of the update just made, so that it is the one the schedule gave this count.
        rate = schedule(state["step"] - state["skipped"])
        metrics = metrics | {"grad_norm": norm, "learning_rate": rate, "stop": flag.any()}
        metrics |= {"skipped": skipped, "bad_streak": bad_streak}
        state = kept | {"step": state["step"] + 1, "skipped": state["skipped"] + skipped, "bad_streak": bad_streak}
        return state, metrics

    return jax.jit(train_step, out_shardings=(spread, replicated(mesh)), donate_argnums=0)


def make_valid_step(objective: Objective, merge: Callable, mesh: Mesh):
    """Jitted (params, model_state, batch, key, flag) -> metrics summed over the valid rows, and their number `rows`.

    `stop` among them is true where the flag of any process is.
    """

    def valid_step(params, model_state, batch, key, flag):
        loss, metrics = objective(merge(params, model_state), _numbered(batch), key, False)
        rows = batch["valid"].sum()
        sums = jax.tree.map(lambda m: m * rows, metrics | {"loss": loss})
        return sums | {"rows": rows, "stop": flag.any()}

    return jax.jit(valid_step, out_shardings=replicated(mesh))


def _numbered(batch):
    """The batch with the number of each row, from which its random numbers follow."""
    return batch | {"row": jnp.arange(len(jax.tree.leaves(batch)[0]))}


def _parts(batch, accumulate: int, mesh: Mesh):
    """[B, ...] -> [A, B / A, ...]; each device keeps its rows, so that part a has the rows a, a + A, a + 2 A, ..."""
    spread = NamedSharding(mesh, PartitionSpec(None, *ROWS))

    def split(rows):
        parts = rows.reshape(-1, accumulate, *rows.shape[1:]).swapaxes(0, 1)  # [A, B / A, ...]
        return jax.lax.with_sharding_constraint(parts, spread)

    return jax.tree.map(split, batch)
