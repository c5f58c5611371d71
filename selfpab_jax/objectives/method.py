"""What a pre-training method hands to the training loop and to the probe."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from selfpab_jax.models.functional import Module
from selfpab_jax.signals.tokens import Tokens


class Method(NamedTuple):
    """A pre-training method, built from its config.

    Attributes:
      model: freshly initialised.
      recorded: names of the channels that acceleration has, in order; data of other channels do not fit.
      channels: those of them that the model looks at.
      tokens: rate of the acceleration, and how its samples become the tokens of `encode` and `inputs`.
      tensor_split: which parameters tensor parallelism splits, as `train.sharding.by_shape` reads it.
      objective: (model, batch, rng, train) -> (loss, metrics): scalars, means over the valid rows of the batch.
      encode: (model, acceleration [B, C, S] in g, mask [B, N] or None, key or None) -> layer outputs, L + 1 arrays
        [B, N, D]; what probing and feature extraction read. A key switches dropout on.
      inputs: acceleration [B, C, S] -> spectral features of each token [B, N, F], without encoder; the control.
      preview: (model, acceleration [B, C, S], rng) -> arrays [B, ...] of what was hidden and how it was reconstructed,
        for the method's picture.
    """

    model: Module
    recorded: tuple[str, ...]
    channels: tuple[str, ...]
    tokens: Tokens
    tensor_split: Mapping[str, tuple[int, int]]
    objective: Callable
    encode: Callable[..., tuple[jax.Array, ...]]
    inputs: Callable[[jax.Array], jax.Array]
    preview: Callable[..., dict[str, jax.Array]]


def acceleration_g(batch: dict) -> jax.Array:
    """Acceleration [B, C, S] in g, float32, from a batch of int16 counts and their scale."""
    return batch["acceleration"].astype("float32") * batch["scale"][:, None, None]


def row_numbers(batch: dict) -> jax.Array:
    """Numbers [B] of the rows in the global batch, of which `batch` may be a part."""
    return batch.get("row", jax.numpy.arange(len(batch["acceleration"])))


def row_keys(rng: jax.Array, rows: jax.Array) -> jax.Array:
    """One key for each of the row numbers `rows` [B]; independent of devices and of the parts of a batch."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(rng, rows)


def part_key(rng: jax.Array, rows: jax.Array) -> jax.Array:
    """One key for what is drawn for all rows at once, such as dropout; each part of a batch has another."""
    return jax.random.fold_in(rng, rows[0])
