"""DeepConvLSTM (Ordóñez and Roggen 2016): convolutions over time on each sensor channel alone, then LSTMs."""

import jax
import jax.numpy as jnp
from flax import nnx

from selfpab_jax.models.encoder import linear
from selfpab_jax.models.heads import lstm_states

DEPTH, KERNEL, LSTMS = 4, 5, 2  # as published


class DeepConvLstm(nnx.Module):
    """Four convolutions over time, their kernels the same for all sensor channels; two LSTMs; a linear classifier.

    It is called like the heads of `models.heads`, on tokens that hold C sensor channels side by side:

    - `per_token` False: tokens are the time steps, F features of each channel (the bins of a spectrogram frame). The
      sequence is padded so that each token has its decision.
    - `per_token` True: a token is a signal of its own, F samples of each channel, and the last state decides, as
      published; convolutions shorten the signal.

    The dropout of the publication in front of the dense layers is left out.

    Args:
      channels: number C of sensor channels.
      features: width C * F of a token.
      classes: number K of classes.
      filters, hidden: feature maps and LSTM cells; 64 and 128 as published.

    Source: Ordóñez and Roggen, doi 10.3390/s16010115, sections 3.1 and 4.2.
    """

    def __init__(
        self,
        channels: int,
        features: int,
        classes: int,
        *,
        filters: int,
        hidden: int,
        per_token: bool,
        rngs: nnx.Rngs,
    ):
        self.channels, self.per_token = channels, per_token
        widths = [1 if per_token else features // channels, *([filters] * DEPTH)]
        self.convolutions = nnx.List([Convolution(a, b, rngs=rngs) for a, b in zip(widths, widths[1:], strict=False)])
        inputs = [channels * filters] + [hidden] * (LSTMS - 1)
        self.lstms = nnx.List([nnx.OptimizedLSTMCell(width, hidden, rngs=rngs) for width in inputs])
        self.out = linear(hidden, classes, rngs=rngs)

    def __call__(self, layers, valid=None) -> jax.Array:
        """Log-probabilities [B, N, K] (float32) of tokens [B, N, 1, C * F].

        Args:
          valid: bool [B, N], False for padding, which counts as zeros.
        """
        x = layers[..., 0, :].astype(jnp.float32)  # [B, N, C * F]
        batch, tokens = x.shape[:2]
        valid = jnp.ones((batch, tokens), bool) if valid is None else valid
        if self.per_token:
            x = x.reshape(batch * tokens, self.channels, -1).swapaxes(1, 2)[..., None]  # [B N, T, C, 1]
        else:
            x = x.reshape(batch, tokens, self.channels, -1)  # [B, N, C, F]
        for convolution in self.convolutions:
            if not self.per_token:  # padding stays zero from layer to layer, so that its length does not matter
                x = jnp.where(valid[..., None, None], x, 0)
            x = jax.nn.relu(convolution(x, padded=not self.per_token))
        x = x.reshape(*x.shape[:2], -1)  # [B, T, C * filters]
        real = jnp.ones(x.shape[:2], bool) if self.per_token else valid
        for cell in self.lstms:
            x = lstm_states(cell, x, real)  # [B, T, H]
        if self.per_token:
            x = x[:, -1].reshape(batch, tokens, -1)  # [B, N, H]
        return jax.nn.log_softmax(self.out(x), axis=-1)


class Convolution(nnx.Module):
    """A convolution over time, [B, T, C, F] -> [B, T', C, F'], the same for each channel C."""

    def __init__(self, features: int, filters: int, *, rngs: nnx.Rngs):
        draw = jax.nn.initializers.orthogonal()  # as published
        self.kernel = nnx.Param(draw(rngs.params(), (KERNEL, features, filters)))
        self.bias = nnx.Param(jnp.zeros(filters))

    def __call__(self, x, padded: bool) -> jax.Array:
        """T' is T with zeros beyond both ends, T - 4 without."""
        if padded:
            x = jnp.pad(x, ((0, 0), (KERNEL // 2, KERNEL // 2), (0, 0), (0, 0)))
        length = x.shape[1] - KERNEL + 1
        # One matrix product; XLA's own convolution has slow gradients on a CPU.
        steps = jnp.concatenate([x[:, i : i + length] for i in range(KERNEL)], axis=-1)  # [B, T', C, 5 F]
        return steps @ self.kernel[...].reshape(steps.shape[-1], -1) + self.bias[...]


def deep_conv_lstm(
    channels: int, features: int, classes: int, seed: int, *, filters: int, hidden: int, per_token: bool
) -> DeepConvLstm:
    """A freshly initialised DeepConvLSTM; the same seed gives the same parameters."""
    sizes = {"filters": filters, "hidden": hidden, "per_token": per_token}
    return DeepConvLstm(channels, features, classes, **sizes, rngs=nnx.Rngs(seed))
