"""A masked autoencoder over patches of raw acceleration: pre-RMSNorm, SwiGLU, rotary positions, linear tokeniser.

Masked patches are mask tokens inside the encoder and a linear layer decodes (the reference, 9,940,620 parameters), or
they are left out of the encoder and a light transformer decodes (the classic masked autoencoder).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from selfpab_jax.models.attention import KINDS, attend
from selfpab_jax.models.depth import apply_blocks
from selfpab_jax.models.encoder import linear, queries_keys_values

ROTARY_BASE = 10_000.0
NORM_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class MaeConfig:
    """Sizes of the autoencoder; the defaults are those of the reference.

    Attributes:
      patch: samples P of a token; channels: sensor axes C.
      ff_ratio: width of the feed-forward part, in widths of the model, rounded down.
      drop_tokens: masked tokens are left out of the encoder and come back in the decoder.
      decoder_layers, decoder_width: of that decoder; without dropped tokens the decoder is one linear layer.
      attention, remat, scan: how both compute, as in `encoder.EncoderConfig`.
    """

    channels: int = 3
    patch: int = 300
    d_model: int = 256
    layers: int = 12
    heads: int = 8
    ff_ratio: float = 2.67
    drop_tokens: bool = False
    decoder_layers: int = 2
    decoder_width: int = 128
    dtype: str = "float32"  # of activations; parameters, softmax and norms stay float32
    attention: str = "plain"
    remat: bool = False
    scan: bool = False

    def __post_init__(self):
        for name in ("channels", "patch", "layers", "heads", "decoder_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} is {getattr(self, name)}, expected 1 or more")
        head = 2 * self.heads
        if self.d_model < 1 or self.d_model % head:
            raise ValueError(f"model.d_model is {self.d_model}, expected a multiple of twice model.heads ({head})")
        if self.decoder_width < 1 or self.decoder_width % (self.d_model // self.heads):
            raise ValueError(
                f"model.decoder_width is {self.decoder_width}, expected a multiple of the width of a head "
                f"({self.d_model // self.heads})"
            )
        if self.ff < 1:
            raise ValueError(f"model.ff_ratio is {self.ff_ratio}, expected a positive number")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"model.dtype is '{self.dtype}', expected float32 or bfloat16")
        if self.attention not in KINDS:
            raise ValueError(f"model.attention is '{self.attention}', expected plain or fused")

    @property
    def ff(self) -> int:
        """Width of the feed-forward part: 683 at the reference size."""
        return int(self.ff_ratio * self.d_model)

    @property
    def tensor_split(self) -> dict[str, tuple[int, int]]:
        """Which parameters of the encoder tensor parallelism splits, as `encoder.EncoderConfig.tensor_split`."""
        split = {"qkv/kernel": (1, self.heads), "qkv/bias": (0, self.heads), "out/kernel": (0, self.heads)}
        split = {f"attn/{name}": where for name, where in split.items()}
        split |= {"gate/kernel": (1, self.ff), "gate/bias": (0, self.ff), "up/kernel": (1, self.ff)}
        return split | {"up/bias": (0, self.ff), "down/kernel": (0, self.ff)}


def rotate(x, position):
    """Queries or keys [B, N, H, D/H] turned by their positions [..., N] (rotary position embedding).

    Feature i of the first half and of the second form a pair that turns by position * base^(-2i / (D/H)).

    Source: Su et al. 2021, arXiv 2104.09864.
    """
    half = x.shape[-1] // 2
    rate = ROTARY_BASE ** (-np.arange(half) / half)
    angle = position[..., None, None] * rate.astype(np.float32)  # [..., N, 1, D/H/2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


class Attention(nnx.Module):
    """Multi-head self-attention with rotary positions and one fused projection for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs, dtype: str, attention: str):
        self.qkv = linear(width, 3 * width, rngs=rngs, dtype=dtype)
        self.out = linear(width, width, rngs=rngs, dtype=dtype)
        self.heads, self.kind = heads, attention

    def __call__(self, x, position, valid=None):
        query, keys, value = queries_keys_values(self.qkv, x, self.heads)
        query, keys = rotate(query, position), rotate(keys, position)
        scale = (x.shape[-1] / self.heads) ** -0.5
        mixed = attend(query, keys, value, scale=scale, mask=valid, kind=self.kind)
        return self.out(mixed.reshape(x.shape))  # [B, N, D]


class Block(nnx.Module):
    """Attention and SwiGLU feed-forward, each on a normalised copy that is added (pre-norm)."""

    def __init__(self, width: int, heads: int, ff: int, *, rngs: nnx.Rngs, dtype: str, attention: str):
        self.norm1, self.norm2 = (norm(width, rngs=rngs, dtype=dtype) for _ in range(2))
        self.attn = Attention(width, heads, rngs=rngs, dtype=dtype, attention=attention)
        self.gate = linear(width, ff, rngs=rngs, dtype=dtype)
        self.up = linear(width, ff, rngs=rngs, dtype=dtype)
        self.down = linear(ff, width, rngs=rngs, dtype=dtype)

    def __call__(self, x, position, valid=None):
        x = x + self.attn(self.norm1(x), position, valid)
        hidden = self.norm2(x)
        return x + self.down(jax.nn.silu(self.gate(hidden)) * self.up(hidden))


def norm(width: int, *, rngs: nnx.Rngs, dtype: str) -> nnx.RMSNorm:
    """RMSNorm with a scale; statistics in float32."""
    return nnx.RMSNorm(width, epsilon=NORM_EPSILON, dtype=dtype, rngs=rngs)


class MaskedAutoencoder(nnx.Module):
    """Patches in, every layer's output and the reconstructed patches out.

    Sizes and block as in the first author's later public code; the article's own are not known in full.
    """

    def __init__(self, cfg: MaeConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        values, width = cfg.channels * cfg.patch, cfg.decoder_width if cfg.drop_tokens else cfg.d_model
        self.embed = linear(values, cfg.d_model, rngs=rngs, dtype=cfg.dtype)
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (width,)))
        of_norm = {"rngs": rngs, "dtype": cfg.dtype}
        block = of_norm | {"attention": cfg.attention}
        self.blocks = nnx.List([Block(cfg.d_model, cfg.heads, cfg.ff, **block) for _ in range(cfg.layers)])
        self.norm = norm(cfg.d_model, **of_norm)
        if cfg.drop_tokens:
            heads, ff = width * cfg.heads // cfg.d_model, int(cfg.ff_ratio * width)
            self.decoder_embed = linear(cfg.d_model, width, rngs=rngs, dtype=cfg.dtype)
            self.decoder = nnx.List([Block(width, heads, ff, **block) for _ in range(cfg.decoder_layers)])
            self.decoder_norm = norm(width, **of_norm)
        self.head = linear(width, values, rngs=rngs, dtype=cfg.dtype)

    def __call__(self, patches, kept=None, valid=None) -> dict:
        """Layer outputs and reconstruction of patches.

        Args:
          patches: [B, N, C, P] in g.
          kept: int [B, K], ascending: the only patches the model may look at; None for all.
          valid: bool [B, N], False for padding, which attention then leaves out; not together with `kept`.

        Returns:
          {"layers": L + 1 arrays [B, N, D], the embedding first and the last normalised (of the K kept tokens only,
          where the others are dropped); "reconstruction": float32 [B, N, C, P]}.
        """
        b, n, c, p = patches.shape
        x = self.embed(patches.reshape(b, n, c * p).astype(self.cfg.dtype))  # [B, N, D]
        position = jnp.arange(n, dtype=jnp.float32)
        everywhere = position
        if kept is not None and self.cfg.drop_tokens:
            x = jnp.take_along_axis(x, kept[..., None], axis=1)  # [B, K, D]
            position = kept.astype(jnp.float32)
        elif kept is not None:
            x = jnp.where(seen(kept, n)[..., None], x, self.mask_token[...].astype(x.dtype))
        layers = self._apply(self.blocks, x, position, valid)
        x = layers[-1] = self.norm(layers[-1])
        if self.cfg.drop_tokens:
            x = self._decode(x, kept, everywhere, valid)
        return {"layers": tuple(layers), "reconstruction": self.head(x).reshape(b, n, c, p).astype(jnp.float32)}

    def _decode(self, x, kept, position, valid):
        """Decoder states [B, N, decoder width] of the encoder's, mask tokens where it saw nothing."""
        x = self.decoder_embed(x)
        if kept is not None:
            rows, n = jnp.arange(len(x))[:, None], len(position)
            empty = jnp.broadcast_to(self.mask_token[...].astype(x.dtype), (len(x), n, x.shape[-1]))
            x = empty.at[rows, kept].set(x)
        return self.decoder_norm(self._apply(self.decoder, x, position, valid)[-1])

    def _apply(self, blocks, x, position, valid):
        call = lambda block, x, _: block(x, position, valid)  # noqa: E731
        return apply_blocks(blocks, call, x, remat=self.cfg.remat, scan=self.cfg.scan)


def seen(kept, n: int):
    """bool [B, N]: True for the tokens named by `kept` [B, K]."""
    return jnp.zeros((len(kept), n), bool).at[jnp.arange(len(kept))[:, None], kept].set(True)


def masked_autoencoder(cfg: MaeConfig, seed: int) -> MaskedAutoencoder:
    """A freshly initialised autoencoder; the same seed gives the same parameters."""
    return MaskedAutoencoder(cfg, rngs=nnx.Rngs(seed))
