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

    def __call__(self, layers, valid=None) -> jax.Array:
        """Log-probabilities [..., K] (float32) of layer outputs [..., n, D]; each token on its own, `valid` or not."""
        x = jnp.einsum("...nd,n->...d", layers.astype(jnp.float32), self.layer_weight[...])
        if self.hidden is not None:
            x = jax.nn.relu(self.hidden(x))
        return jax.nn.log_softmax(self.out(x), axis=-1)


def probe_head(layers: int, features: int, hidden: int, classes: int, seed: int) -> ProbeHead:
    """A freshly initialised head; the same seed gives the same parameters."""
    return ProbeHead(layers, features, hidden, classes, rngs=nnx.Rngs(seed))


class LstmHead(nnx.Module):
    """A trainable weighted sum over layer outputs, then a bidirectional LSTM over the tokens and a linear classifier.

    Args:
      layers, features, classes: as for `ProbeHead`.
      hidden: width of each direction.
      depth: number of bidirectional layers; 2 in the later code of the LMM paper's first author.
    """

    def __init__(self, layers: int, features: int, hidden: int, classes: int, depth: int = 2, *, rngs: nnx.Rngs):
        self.layer_weight = nnx.Param(jnp.full(layers, 1 / layers))
        cell = lambda d_in: nnx.OptimizedLSTMCell(d_in, hidden, rngs=rngs)  # noqa: E731
        widths = [features] + [2 * hidden] * (depth - 1)
        self.forward, self.backward = (nnx.List([cell(width) for width in widths]) for _ in range(2))
        self.out = linear(2 * hidden, classes, rngs=rngs)

    def __call__(self, layers, valid=None) -> jax.Array:
        """Log-probabilities [B, N, K] (float32) of layer outputs [B, N, n, D].

        Args:
          valid: bool [B, N], False for padding, which leaves the state at its start.
        """
        x = jnp.einsum("...nd,n->...d", layers.astype(jnp.float32), self.layer_weight[...])
        valid = jnp.ones(x.shape[:-1], bool) if valid is None else valid
        for forward, backward in zip(self.forward, self.backward, strict=True):
            both = lstm_states(forward, x, valid), lstm_states(backward, x, valid, reverse=True)
            x = jnp.concatenate(both, axis=-1)
        return jax.nn.log_softmax(self.out(x), axis=-1)


def lstm_states(cell: nnx.OptimizedLSTMCell, x, valid, *, reverse: bool = False):
    """Hidden states [B, N, H] of a cell along the tokens of x [B, N, D]; it starts anew where `valid` is False."""

    def step(carry, token):
        values, real = token
        carry, _ = cell(carry, values)
        carry = jax.tree.map(lambda state: jnp.where(real[:, None], state, 0), carry)
        return carry, carry[1]

    zero = jnp.zeros((len(x), cell.hidden_features))
    tokens = (jnp.moveaxis(x, 1, 0), jnp.moveaxis(valid, 1, 0))
    _, states = jax.lax.scan(step, (zero, zero), tokens, reverse=reverse)
    return jnp.moveaxis(states, 0, 1)


def lstm_head(layers: int, features: int, hidden: int, classes: int, seed: int) -> LstmHead:
    """A freshly initialised LSTM classifier; the same seed gives the same parameters."""
    return LstmHead(layers, features, hidden, classes, rngs=nnx.Rngs(seed))
