"""The training state and the two jitted steps. Nothing here knows a model or a data set."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from selfpab_jax.train.sharding import by_row, replicated

State = dict[str, Any]
Objective = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def init_state(params, model_state, optimizer: optax.GradientTransformation, mesh: Mesh) -> State:
    """The state before the first step, replicated over the mesh.

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

    return jax.jit(make, out_shardings=replicated(mesh))(params, model_state)


def make_train_step(
    objective: Objective,
    merge: Callable,
    model_state_of: Callable,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
):
    """Jitted (state, batch, key) -> (state, metrics); the state's memory is reused.

    All randomness is a function of (key, step, row), so a resumed run repeats it. An update whose loss, gradient or
    result is not finite is left out: parameters and optimizer stay as they were, the data position moves on.
    """

    def train_step(state, batch, key):
        rng = jax.random.fold_in(key, state["step"])

        def loss_of(params):
            model = merge(params, state["model_state"])
            loss, metrics = objective(model, batch, rng, True)
            return loss, (metrics, model_state_of(model))

        (loss, (metrics, model_state)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state["params"])
        updates, opt_state = optimizer.update(gradient, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm) & jnp.isfinite(optax.tree.norm(params))
        for leaf in jax.tree.leaves(model_state):
            finite &= jnp.isfinite(leaf).all() if jnp.issubdtype(leaf.dtype, jnp.inexact) else True
        new = {"params": params, "model_state": model_state, "opt_state": opt_state}
        old = {name: state[name] for name in new}
        kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        skipped = jnp.where(finite, 0, 1)
        bad_streak = jnp.where(finite, 0, state["bad_streak"] + 1)
        # The rate of the update just made, so that it is the one the schedule gave this count.
        rate = schedule(state["step"] - state["skipped"])
        metrics = metrics | {"loss": loss, "grad_norm": norm, "learning_rate": rate}
        metrics |= {"skipped": skipped, "bad_streak": bad_streak}
        state = kept | {"step": state["step"] + 1, "skipped": state["skipped"] + skipped, "bad_streak": bad_streak}
        return state, metrics

    return jax.jit(
        train_step,
        in_shardings=(replicated(mesh), by_row(mesh), replicated(mesh)),
        out_shardings=replicated(mesh),
        donate_argnums=0,
    )


def make_valid_step(objective: Objective, merge: Callable, mesh: Mesh):
    """Jitted (params, model_state, batch, key) -> metrics summed over the valid rows, and their number `rows`."""

    def valid_step(params, model_state, batch, key):
        loss, metrics = objective(merge(params, model_state), batch, key, False)
        rows = batch["valid"].sum()
        return jax.tree.map(lambda m: m * rows, metrics | {"loss": loss}) | {"rows": rows}

    return jax.jit(
        valid_step,
        in_shardings=(replicated(mesh), replicated(mesh), by_row(mesh), replicated(mesh)),
        out_shardings=replicated(mesh),
    )
