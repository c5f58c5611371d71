"""Checkpoints for the tests of reading and of damage: states with all that real ones have, saved and compared."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selfpab_jax.train.checkpoint import Checkpoints


@pytest.fixture
def unraisable_exceptions_come_now():
    """When one leaf cannot be read, Orbax gives up on the others while they are still being read; what those raise
    afterwards reaches nobody and would be reported as an unraisable exception, which tests with this fixture ignore.
    """
    yield
    gc.collect()  # not in the middle of another module's test


@pytest.fixture(scope="session")
def saved_meta() -> dict:
    return {"config": {"lr": 1e-4, "layers": [1, 2], "name": "tiny"}}


@pytest.fixture(scope="session")
def make_state():
    """(seed, width) -> a state with nested dicts, bfloat16, scalars, optax tuples and empty states."""

    def make(seed: int, width: int = 16) -> dict:
        draw = np.random.default_rng(seed)

        def filled(leaf):
            values = draw.standard_normal(leaf.shape) if jnp.issubdtype(leaf.dtype, jnp.floating) else seed
            return jnp.asarray(np.broadcast_to(values, leaf.shape).astype(leaf.dtype))

        def of(shape, dtype=jnp.float32):
            return filled(jax.ShapeDtypeStruct(shape, dtype))

        params = {
            "encoder": {"layers": {"0": {"kernel": of((width, 2 * width))}}},
            "head": {"kernel": of((2 * width, 3), jnp.bfloat16), "bias": jnp.zeros(3)},
        }
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(1e-3, 0, 10)))
        return {
            "params": params,
            "opt_state": jax.tree.map(filled, jax.eval_shape(optimizer.init, params)),
            "model_state": {"norm": {"mean": of((width,))}},
            "step": of((), jnp.int32),
            "skipped": of((), jnp.int32),
            "bad_streak": jnp.array(0, jnp.int32),
        }

    return make


@pytest.fixture(scope="session")
def assert_same():
    """(found, expected): asserts that two trees agree in structure, shapes, types and every bit."""

    def check(found, expected) -> None:
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert one.shape == other.shape and one.dtype == other.dtype
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()

    return check


@pytest.fixture(scope="session")
def save_all(make_state, saved_meta):
    """(folder, steps) -> state by step, each saved."""

    def save(folder, steps, *, keep: int = 2, metrics=None, width: int = 16) -> dict[int, dict]:
        states = {step: make_state(step, width) for step in steps}
        with Checkpoints(folder, keep=keep) as checkpoints:
            for step, state in states.items():
                metric = metrics[step] if metrics else None
                assert checkpoints.save(step, state, saved_meta, metric=metric, wait=True)
        return states

    return save
