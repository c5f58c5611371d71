"""Attention: both kinds against float64 written out, padding, what the fused kernel is handed, and its settings."""

import functools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.models import attention
from selfpab_jax.models.attention import attend, implementation
from selfpab_jax.models.encoder import EncoderConfig, dropout
from selfpab_jax.models.mae import MaeConfig

B, N, H, WIDTH = 3, 11, 2, 250
SCALE = WIDTH**-0.5
MASKS = {"none": None, "padded": np.arange(N) < np.array([[N], [6], [1]])}


@pytest.fixture(scope="module")
def parts() -> np.ndarray:
    """Queries, keys and values [3, B, N, H, D/H]; queries strong enough for uneven weights."""
    parts = np.random.default_rng(0).standard_normal((3, B, N, H, WIDTH), np.float32)
    parts[0] *= 3
    return parts


@functools.cache
def compiled(kind, dtype):
    """(parts, mask) -> (gradient of a weighted sum of the mixed values, these) of parts rounded to `dtype`."""
    direction = np.random.default_rng(1).standard_normal((B, N, H, WIDTH), np.float32)

    def total(parts, mask):
        mixed = attend(*parts.astype(dtype), scale=SCALE, mask=mask, kind=kind)
        assert mixed.dtype == dtype and mixed.shape == (B, N, H, WIDTH)
        mixed = mixed.astype(jnp.float32)
        return (mixed * direction).sum(), mixed

    return jax.jit(jax.grad(total, has_aux=True))


def mixed_and_gradient(parts, mask, kind, dtype="float32"):
    gradient, mixed = compiled(kind, dtype)(parts, mask)
    return np.asarray(mixed), np.asarray(gradient)


def written_out(parts, mask):
    """The same in float64, token by token."""
    query, keys, value = parts.astype(np.float64)
    mixed = np.zeros(query.shape)
    for b, n, h in np.ndindex(query.shape[:3]):
        looked_at = range(N) if mask is None else np.flatnonzero(mask[b])
        weights = [math.exp(SCALE * query[b, n, h] @ keys[b, k, h]) for k in looked_at]
        mixed[b, n, h] = sum(w * value[b, k, h] for w, k in zip(weights, looked_at, strict=True)) / sum(weights)
    return mixed


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", attention.KINDS)
def test_values_by_hand(kind, mask, parts, agree):
    mixed, _ = mixed_and_gradient(parts, MASKS[mask], kind)
    agree(f"{kind} attention, mask {mask}", mixed, written_out(parts, MASKS[mask]), 1e-5)


@pytest.mark.parametrize("mask", MASKS)
def test_fused_equals_plain(mask, parts, agree):
    mixed, gradient = mixed_and_gradient(parts, MASKS[mask], "plain")
    exact = mixed_and_gradient(parts, MASKS[mask], "fused")
    agree("fused attention", exact[0], mixed, 1e-5)
    for name, ours, expected in zip(("queries", "keys", "values"), exact[1], gradient, strict=True):
        agree(f"fused attention, gradient of {name}", ours, expected, 1e-5)
    for kind in attention.KINDS:  # 8 bits of mantissa: 2^-8 a rounding, of parts, scores, weights and results
        rounded = mixed_and_gradient(parts, MASKS[mask], kind, "bfloat16")
        agree(f"{kind} attention, bfloat16", rounded[0], mixed, 0.03)
        agree(f"{kind} attention, bfloat16, gradient", rounded[1], gradient, 0.03)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", attention.KINDS)
def test_padding_only_stays_finite(kind, dtype, parts):
    mask = np.array([[True] * N, [False] * N, [True] * 5 + [False] * 6])
    mixed, gradient = mixed_and_gradient(parts, mask, kind, dtype)
    assert np.isfinite(mixed).all() and np.isfinite(gradient).all()


def test_dropout_of_weights_comes_after_the_softmax(parts, agree):
    """Kept weights keep their value, scaled up; the others count as zero."""
    key, kept = jax.random.key(0), 0.7
    query, keys, value = parts
    weights = np.exp(SCALE * np.einsum("bqhd,bkhd->bhqk", query, keys))
    dropped = np.asarray(dropout(weights / weights.sum(axis=-1, keepdims=True), 1 - kept, key))
    assert 0 < (dropped == 0).mean() < 0.5
    ours = attend(*parts, scale=SCALE, drop=lambda weights: dropout(weights, 1 - kept, key))
    agree("attention under dropout", ours, np.einsum("bhqk,bkhd->bqhd", dropped, value), 1e-5)


# ---- the fused kernel -----------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """(compute capability) -> makes jax believe in such a GPU."""

    def pretend(capability):
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(compute_capability=capability)])

    return pretend


@pytest.mark.parametrize("mask", MASKS)
def test_what_the_kernel_is_handed(mask, parts, gpu, monkeypatch):
    """cuDNN's rules: an even count of tokens, heads of a multiple of 8 features, a whole mask [B, 1, N, N]."""
    calls = []

    def noted(query, keys, value, *, scale, implementation, mask=None, key_value_seq_lengths=None):
        calls.append((query.shape, implementation, scale, mask, key_value_seq_lengths))
        return value

    gpu("9.0")
    monkeypatch.setattr(jax.nn, "dot_product_attention", noted)
    attend(*parts.astype(jnp.bfloat16), scale=SCALE, mask=MASKS[mask], kind="fused")
    [(shape, by, scale, whole, lengths)] = calls
    assert (shape, by, scale) == ((B, 12, H, 256), "cudnn", SCALE)
    if mask == "none":
        assert whole is None and lengths.tolist() == [11] * B
    else:
        assert whole.shape == (B, 1, 12, 12) and lengths is None


@pytest.mark.parametrize(
    ("capability", "dtype", "width", "expected"),
    [
        ("9.0", "bfloat16", 256, "cudnn"),
        ("9.0", "float16", 256, "cudnn"),
        ("9.0", "bfloat16", 264, "xla"),
        ("9.0", "float32", 64, "xla"),
        ("8.0", "bfloat16", 128, "cudnn"),
        ("8.0", "bfloat16", 256, "xla"),
        ("10.0", "bfloat16", 256, "xla"),
        ("7.0", "float16", 64, "xla"),
        ("gfx942", "bfloat16", 64, "xla"),
    ],
)
def test_where_cudnn_has_a_kernel(capability, dtype, width, expected, gpu):
    assert implementation(jnp.dtype(dtype), width) == "xla"  # this machine's
    gpu(capability)
    assert implementation(jnp.dtype(dtype), width) == expected


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [EncoderConfig, MaeConfig])
def test_an_unknown_kind(config):
    with pytest.raises(ValueError) as error:
        config(attention="flash")
    assert str(error.value) == "model.attention is 'flash', expected plain or fused"


def test_fused_attention_cannot_drop_weights():
    with pytest.raises(ValueError) as error:
        EncoderConfig(attention="fused")
    assert str(error.value) == (
        "model.attention is 'fused', which cannot drop attention weights, and model.dropout 0.1: "
        "set model.dropout to 0 or model.attention to plain"
    )
    assert EncoderConfig(attention="fused", dropout=0.0).attention == "fused"
