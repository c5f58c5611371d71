"""Scaled dot-product attention of both encoders: written out, or by a fused kernel that never holds its weights."""

import jax
import jax.numpy as jnp

KINDS = ("plain", "fused")
MASKED_OUT = -1e30  # finite, so that a window of padding only gives uniform attention instead of NaN


def attend(query, keys, value, *, scale: float, mask=None, drop=None, kind: str = "plain"):
    """Values [B, N, H, D/H], mixed by the softmax over the scaled products of queries and keys.

    Args:
      query, keys, value: [B, N, H, D/H] of one dtype; the softmax is of float32 in any case.
      scale: factor of the products.
      mask: bool [B, N], False for padding, which attention then leaves out.
      drop: weights [B, H, N, N] -> weights: their dropout. "fused" has no weights to drop and leaves it out.
      kind: "plain"; or "fused": cuDNN where it has a kernel (`implementation`), XLA's own attention elsewhere.
    """
    if kind == "fused":
        return _fused(query, keys, value, scale, mask)
    score = jnp.einsum("bqhd,bkhd->bhqk", query * scale, keys).astype(jnp.float32)
    if mask is not None:
        score = jnp.where(mask[:, None, None, :], score, MASKED_OUT)
    if drop is not None:
        weight = drop(jax.nn.softmax(score, axis=-1).astype(value.dtype))
        return jnp.einsum("bhqk,bkhd->bqhd", weight, value)  # [B, N, H, D/H]
    # A softmax that divides after the product with the values: a quarter of the autoencoder's step less on a CPU,
    # nothing where weights are dropped.
    weight = jnp.exp(score - jax.lax.stop_gradient(score.max(axis=-1, keepdims=True)))
    total = weight.sum(axis=-1).swapaxes(1, 2)[..., None]  # [B, N, H, 1]
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weight.astype(value.dtype), value) / total
    return mixed.astype(value.dtype)  # [B, N, H, D/H]


def _fused(query, keys, value, scale, mask):
    b, n, _, width = query.shape
    # cuDNN's rules: an even count of tokens, heads of a multiple of 8 features, a whole mask.
    more, wider = n % 2, -width % 8
    query, keys, value = (jnp.pad(x, [(0, 0), (0, more), (0, 0), (0, wider)]) for x in (query, keys, value))
    hidden = {}  # what keeps the additional token out of sight; lengths need no array of N x N
    if mask is not None:
        mask = jnp.pad(mask, [(0, 0), (0, more)])[:, None, None, :]
        hidden["mask"] = jnp.broadcast_to(mask, (b, 1, n + more, n + more))
    elif more:
        hidden["key_value_seq_lengths"] = jnp.full(b, n, jnp.int32)
    by = implementation(query.dtype, width + wider)
    mixed = jax.nn.dot_product_attention(query, keys, value, scale=scale, implementation=by, **hidden)
    return mixed[:, :n, :, :width]  # [B, N, H, D/H]


def implementation(dtype, width: int) -> str:
    """The name "cudnn" where it has kernels, forward and backward, for heads of `width` features, else "xla".

    Half precision on NVIDIA GPUs: up to 256 features on compute capability 9 (Hopper), up to 128 on others from 8.

    Source: the support matrix of cuDNN 9.
    """
    if jax.default_backend() != "gpu" or dtype not in (jnp.bfloat16, jnp.float16):
        return "xla"
    generation = jax.local_devices()[0].compute_capability.split(".")[0]  # "9" of "9.0"; AMD's are words
    widest = {"9": 256}.get(generation, 128 if generation.isdigit() and int(generation) >= 8 else 0)
    return "cudnn" if width <= widest else "xla"
