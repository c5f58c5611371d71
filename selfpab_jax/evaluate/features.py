"""What a frozen encoder says about windows, computed once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm


def chosen_layers(choice: str, count: int) -> tuple[int, ...]:
    """Indices of layer outputs for "all", "last" or a list like "0,2,4"; 0 is the embedding.

    Raises:
      ValueError: another word or a layer that does not exist.
    """
    if choice in ("all", "last"):
        return tuple(range(count)) if choice == "all" else (count - 1,)
    try:
        layers = tuple(int(word) for word in choice.split(","))
    except ValueError:
        layers = ()
    if not layers or not all(0 <= layer < count for layer in layers):
        raise ValueError(f"layers is '{choice}', expected all, last or numbers from 0 (embedding) to {count - 1}")
    return layers


def with_context(x, context: int):
    """Each frame joined with `context` neighbours on both sides, [B, T, D] -> [B, T, (2 context + 1) D].

    Beyond the ends stand zeros, the mean of a normalised feature.
    """
    if context == 0:
        return x
    padded = jnp.pad(x, ((0, 0), (context, context), (0, 0)))
    return jnp.concatenate([padded[:, i : i + x.shape[1]] for i in range(2 * context + 1)], axis=-1)


def encode_windows(
    encode: Callable,
    counts: np.ndarray,
    scale: np.ndarray,
    valid: np.ndarray,
    *,
    batch: int = 8,
    title: str = "features",
) -> np.ndarray:
    """Layer outputs of all windows, float32 [W, T, n, D].

    Args:
      encode: (acceleration [B, C, S] in g, valid [B, T]) -> n arrays [B, T, D].
      counts, scale, valid: see `ProbeWindows`.
    """

    @jax.jit
    def run(counts, scale, valid):
        layers = encode(counts.astype(jnp.float32) * scale[:, None, None], valid)
        return jnp.stack([layer.astype(jnp.float32) for layer in layers], axis=2)  # [B, T, n, D]

    out = None
    for begin in tqdm(range(0, len(counts), batch), desc=title, unit="batch", delay=3, leave=False):
        # The last batch steps back instead of getting a shape of its own, which would compile once more.
        begin = max(0, min(begin, len(counts) - batch))
        rows = slice(begin, begin + batch)
        layers = np.asarray(run(counts[rows], scale[rows], valid[rows]))
        if out is None:
            out = np.empty((len(counts), *layers.shape[1:]), np.float32)
        out[rows] = layers
    return out
