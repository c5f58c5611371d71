"""The classifier on top of an encoder."""

import jax
import jax.numpy as jnp
from flax import nnx

from selfpab_jax.models.encoder import linear


class ProbeHead(nnx.Module):
    """A trainable weighted sum over layer outputs, then one hidden layer (or none), per token.

    The weights of the sum are plain scalars that start at 1 / n, as published; unlike in the original code their
    gradient flows, and gradients pass through them to every layer of the encoder.

    Args:
      layers: number n of layer outputs.
      features: their width D.
      hidden: width of the hidden layer (1028 in the article); 0 gives a linear classifier.
      classes: number K of classes.

    Source: SelfPAB (doi 10.1007/s10489-024-05322-3), section 3.3 and Table 2.
    """

    def __init__(self, layers: int, features: int, hidden: int, classes: int, *, rngs: nnx.Rngs):
        self.layer_weight = nnx.Param(jnp.full(layers, 1 / layers))
        self.hidden = linear(features, hidden, rngs=rngs) if hidden else None
        self.out = linear(hidden or features, classes, rngs=rngs)

    def __call__(self, layers) -> jax.Array:
        """Log-probabilities [..., K] (float32) of layer outputs [..., n, D]."""
        x = jnp.einsum("...nd,n->...d", layers.astype(jnp.float32), self.layer_weight[...])
        if self.hidden is not None:
            x = jax.nn.relu(self.hidden(x))
        return jax.nn.log_softmax(self.out(x), axis=-1)


def probe_head(layers: int, features: int, hidden: int, classes: int, seed: int) -> ProbeHead:
    """A freshly initialised head; the same seed gives the same parameters."""
    return ProbeHead(layers, features, hidden, classes, rngs=nnx.Rngs(seed))
