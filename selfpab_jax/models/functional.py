"""NNX at the edge: a model is split once into plain nested dicts; the jitted step merges them and applies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

Tree = dict[str, Any]
Module = nnx.Module  # so that other rooms can name the type without importing flax


class Split(NamedTuple):
    """A model taken apart.

    Attributes:
      merge: (params, model_state) -> model, usable inside `jax.jit`.
      params: what the optimizer changes.
      model_state: what the forward pass changes (batch statistics); empty for most models.
    """

    merge: Callable[[Tree, Tree], nnx.Module]
    params: Tree
    model_state: Tree


def split(model: nnx.Module) -> Split:
    """The model's `Split`; arrays are shared with the model, not copied."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def merge(params: Tree, model_state: Tree) -> nnx.Module:
        return nnx.merge(graphdef, params, model_state)

    return Split(merge, nnx.to_pure_dict(params), nnx.to_pure_dict(rest))


def model_state(model: nnx.Module) -> Tree:
    """The model's state other than parameters, after a forward pass."""
    _, _, rest = nnx.split(model, nnx.Param, ...)
    return nnx.to_pure_dict(rest)


def parameter_count(params: Tree) -> int:
    """Number of trainable values."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
