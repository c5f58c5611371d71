"""The SelfPAB transformer encoder over spectrogram frames.

Post-norm blocks, ReLU, interleaved sinusoidal positions, no final norm: the network of the article, 61,107,848
parameters at full size. Parameter paths read like the PyTorch ones, so that an export is a table.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from selfpab_jax.models.attention import KINDS, attend
from selfpab_jax.models.depth import apply_blocks

LAYER_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder; the defaults are the published ones (Table 1).

    Attributes:
      attention, remat, scan: how it computes, not what; the parameters are the same. attention: "plain" or "fused"
        (`attention.attend`); remat: blocks computed again in the backward pass; scan: one scan over the layers.
    """

    in_features: int = 156
    out_features: int = 156
    d_model: int = 1500
    heads: int = 6
    ff: int = 2048
    layers: int = 4
    dropout: float = 0.1
    dtype: str = "float32"  # of activations; parameters, softmax and statistics stay float32
    attention: str = "plain"
    remat: bool = False
    scan: bool = False

    def __post_init__(self):
        if self.layers < 1 or self.heads < 1 or self.ff < 1:
            raise ValueError(
                f"model.layers, heads and ff are {self.layers}, {self.heads}, {self.ff}, expected 1 or more"
            )
        if self.d_model < 1 or self.d_model % self.heads or self.d_model % 2:
            raise ValueError(
                f"model.d_model is {self.d_model}, expected an even multiple of model.heads ({self.heads})"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"model.dtype is '{self.dtype}', expected float32 or bfloat16")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout is {self.dropout}, expected a rate from 0 to below 1")
        if self.attention not in KINDS:
            raise ValueError(f"model.attention is '{self.attention}', expected plain or fused")
        if self.attention == "fused" and self.dropout > 0:
            raise ValueError(
                f"model.attention is 'fused', which cannot drop attention weights, and model.dropout {self.dropout}: "
                "set model.dropout to 0 or model.attention to plain"
            )

    @property
    def tensor_split(self) -> dict[str, tuple[int, int]]:
        """Which parameters tensor parallelism splits: heads and feed-forward features (`train.sharding.by_shape`)."""
        return {
            "attn/qkv/kernel": (1, self.heads),
            "attn/qkv/bias": (0, self.heads),
            "attn/out/kernel": (0, self.heads),
            "linear1/kernel": (1, self.ff),
            "linear1/bias": (0, self.ff),
            "linear2/kernel": (0, self.ff),
        }


def positional_encoding(frames: int, d_model: int) -> np.ndarray:
    """Sinusoids [T, D] with sine at even and cosine at odd features (interleaved), float32."""
    rate = np.exp(-math.log(10_000.0) * np.arange(0, d_model, 2) / d_model)
    angle = np.arange(frames)[:, None] * rate  # [T, D / 2]
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(frames, d_model).astype(np.float32)  # [T, D]


def dropout(x, rate: float, key):
    """`x` with a share `rate` of its values zeroed and the rest scaled up; `x` itself without a key.

    Sixteen random bits a value suffice (the rate is met within 1e-5), so that one 32-bit draw serves two neighbours.
    """
    if key is None or rate == 0:
        return x
    width = x.shape[-1]
    pairs = jax.random.bits(key, (*x.shape[:-1], (width + 1) // 2), jnp.uint32)
    bits = jax.lax.bitcast_convert_type(pairs, jnp.uint16).reshape(*x.shape[:-1], -1)[..., :width]
    keep = bits >= round(rate * 2**16)
    return jnp.where(keep, x / (1 - rate), 0)


def uniform_fan_in(key, shape, dtype=jnp.float32):
    """U(-1/sqrt(fan in), 1/sqrt(fan in)), PyTorch's default for a linear layer; shape is (in, out)."""
    bound = 1 / math.sqrt(shape[0])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def linear(d_in: int, d_out: int, *, rngs: nnx.Rngs, dtype=None) -> nnx.Linear:
    """A linear layer initialised as in PyTorch, biases included."""
    bias = lambda key, shape, dtype=jnp.float32: uniform_fan_in(key, (d_in, *shape), dtype)[0]  # noqa: E731
    return nnx.Linear(d_in, d_out, kernel_init=uniform_fan_in, bias_init=bias, dtype=dtype, rngs=rngs)


def queries_keys_values(projection: nnx.Linear, x, heads: int):
    """Queries, keys and values, [B, N, H, D/H] each, of tokens [B, N, D] by one fused projection."""
    # A product for each third: taking the fused one apart afterwards costs a quarter of a step on a CPU.
    kernels = jnp.split(projection.kernel[...].astype(x.dtype), 3, axis=1)
    biases = jnp.split(projection.bias[...].astype(x.dtype), 3)
    parts = [x @ kernel + bias for kernel, bias in zip(kernels, biases, strict=True)]
    return [part.reshape(*x.shape[:2], heads, -1) for part in parts]  # [B, N, H, D/H] each


class SelfAttention(nnx.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, cfg: EncoderConfig, *, rngs: nnx.Rngs):
        d = cfg.d_model
        self.qkv = nnx.Linear(d, 3 * d, kernel_init=nnx.initializers.xavier_uniform(), dtype=cfg.dtype, rngs=rngs)
        self.out = nnx.Linear(d, d, kernel_init=uniform_fan_in, dtype=cfg.dtype, rngs=rngs)
        self.heads, self.rate, self.kind = cfg.heads, cfg.dropout, cfg.attention

    def __call__(self, x, mask=None, key=None):
        parts = queries_keys_values(self.qkv, x, self.heads)
        scale = (x.shape[-1] / self.heads) ** -0.5
        drop = lambda weight: dropout(weight, self.rate, key)  # noqa: E731
        mixed = attend(*parts, scale=scale, mask=mask, drop=drop, kind=self.kind)
        return self.out(mixed.reshape(x.shape))  # [B, T, D]


class Block(nnx.Module):
    """Attention and feed-forward, each followed by add and norm (post-norm)."""

    def __init__(self, cfg: EncoderConfig, *, rngs: nnx.Rngs):
        norm = lambda: nnx.LayerNorm(cfg.d_model, epsilon=LAYER_NORM_EPSILON, dtype=cfg.dtype, rngs=rngs)  # noqa: E731
        self.attn = SelfAttention(cfg, rngs=rngs)
        self.linear1 = linear(cfg.d_model, cfg.ff, rngs=rngs, dtype=cfg.dtype)
        self.linear2 = linear(cfg.ff, cfg.d_model, rngs=rngs, dtype=cfg.dtype)
        self.norm1, self.norm2 = norm(), norm()
        self.rate = cfg.dropout

    def __call__(self, x, mask=None, key=None):
        keys = [None] * 4 if key is None else jax.random.split(key, 4)
        x = self.norm1(x + dropout(self.attn(x, mask, keys[0]), self.rate, keys[1]))
        hidden = dropout(jax.nn.relu(self.linear1(x)), self.rate, keys[2])
        return self.norm2(x + dropout(self.linear2(hidden), self.rate, keys[3]))


class SpectrogramEncoder(nnx.Module):
    """Frames of a normalised spectrogram in, every layer's output and the reconstruction out.

    Source: SelfPAB (doi 10.1007/s10489-024-05322-3), section 3 and Table 1.
    """

    def __init__(self, cfg: EncoderConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        self.embed = linear(cfg.in_features, cfg.d_model, rngs=rngs, dtype=cfg.dtype)
        self.blocks = nnx.List([Block(cfg, rngs=rngs) for _ in range(cfg.layers)])
        self.head = linear(cfg.d_model, cfg.out_features, rngs=rngs, dtype=cfg.dtype)

    def __call__(self, x, mask=None, key=None) -> dict:
        """Layer outputs and reconstruction of spectrograms.

        Args:
          x: [B, T, F], normalised.
          mask: bool [B, T], False for padding, which attention then leaves out.
          key: PRNG key of the dropout; None switches dropout off.

        Returns:
          {"layers": L + 1 arrays [B, T, D], the embedding first; "reconstruction": float32 [B, T, F]}.
        """
        position = positional_encoding(x.shape[1], self.cfg.d_model)
        hidden = self.embed(x.astype(self.cfg.dtype)) + position.astype(self.cfg.dtype)

        def call(block, x, i):
            return block(x, mask, None if key is None else jax.random.fold_in(key, i))

        layers = apply_blocks(self.blocks, call, hidden, remat=self.cfg.remat, scan=self.cfg.scan)
        return {"layers": tuple(layers), "reconstruction": self.head(layers[-1]).astype(jnp.float32)}


def spectrogram_encoder(cfg: EncoderConfig, seed: int) -> SpectrogramEncoder:
    """A freshly initialised encoder; the same seed gives the same parameters."""
    return SpectrogramEncoder(cfg, rngs=nnx.Rngs(seed))
