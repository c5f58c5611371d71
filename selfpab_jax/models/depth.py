"""Blocks one after another: as written, recomputed in the backward pass, or as one scan over the layers."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

COMPUTING = ("attention", "remat", "scan")  # fields of the models' configs that say how they compute, not what


def apply_blocks(blocks: Sequence[nnx.Module], call: Callable, x, *, remat: bool, scan: bool) -> list:
    """The input and the output of every block, L + 1 arrays.

    Args:
      blocks: L modules of one shape; their parameters stay where they are.
      call: (block, x, number of the block) -> output, of the shape and dtype of `x`; the number may be traced.
      remat: keep the inputs of the blocks only and compute the rest again in the backward pass.
      scan: one `jax.lax.scan`, so that the program does not grow with L; it holds a stacked copy of the parameters.
    """
    if not (remat or scan):
        layers = [x]
        for i, block in enumerate(blocks):
            layers.append(call(block, layers[-1], i))
        return layers

    graphdef = nnx.graphdef(blocks[0])
    params = [nnx.to_pure_dict(nnx.state(block)) for block in blocks]

    def apply(x, layer):
        number, params = layer
        out = call(nnx.merge(graphdef, params), x, number)
        return out, out

    if remat:
        # Within a scan nothing can be merged with the forward pass, so that the barrier against it is not needed.
        apply = jax.checkpoint(apply, prevent_cse=not scan)
    if scan:
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        return [x, *jax.lax.scan(apply, x, (jnp.arange(len(params)), stacked))[1]]
    layers = [x]
    for layer in enumerate(params):
        layers.append(apply(layers[-1], layer)[1])
    return layers
