"""What a frozen encoder says about windows, computed once."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from selfpab_jax.evaluate.stitch import window_starts
from selfpab_jax.evaluate.windows import window_samples
from selfpab_jax.signals.tokens import Tokens


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


def token_samples(acceleration, tokens: Tokens):
    """The samples of each token, channel by channel, [B, C, S] -> [B, T, C * size]."""
    count = tokens.count(acceleration.shape[-1])
    index = tokens.hop * np.arange(count)[:, None] + np.arange(tokens.size)  # [T, size]
    return jnp.moveaxis(acceleration[..., index], 1, 2).reshape(len(acceleration), count, -1)


def encoded_batches(
    encode: Callable,
    counts: np.ndarray,
    scale: np.ndarray,
    valid: np.ndarray,
    *,
    batch: int = 8,
    title: str = "features",
) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows, their layer outputs float32 [B, T, n, D]) until all windows are through, each row once.

    Args:
      encode: (acceleration [B, C, S] in g, valid [B, T]) -> n arrays [B, T, D].
      counts, scale, valid: see `ProbeWindows`.
    """

    @jax.jit
    def run(counts, scale, valid):
        layers = encode(counts.astype(jnp.float32) * scale[:, None, None], valid)
        return jnp.stack([layer.astype(jnp.float32) for layer in layers], axis=2)  # [B, T, n, D]

    for first in tqdm(range(0, len(counts), batch), desc=title, unit="batch", delay=3, leave=False):
        # The last batch steps back instead of getting a shape of its own, which would compile once more.
        begin = max(0, min(first, len(counts) - batch))
        rows = slice(begin, begin + batch)
        layers = np.asarray(run(counts[rows], scale[rows], valid[rows]))
        yield slice(first, begin + len(layers)), layers[first - begin :]


def encode_windows(encode: Callable, counts: np.ndarray, scale: np.ndarray, valid: np.ndarray, **how) -> np.ndarray:
    """Layer outputs of all windows, float32 [W, T, n, D]; arguments as in `encoded_batches`."""
    out = None
    for rows, layers in encoded_batches(encode, counts, scale, valid, **how):
        if out is None:
            out = np.empty((len(counts), *layers.shape[1:]), np.float32)
        out[rows] = layers
    return out


def recording_features(
    encode: Callable,
    counts: np.ndarray,
    scale: float,
    segments: Sequence[slice],
    tokens: Tokens,
    *,
    length: int,
    stride: int,
    batch: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """(features float32 [T, n, D], first sample int64 [T]) of every token of one recording.

    Each segment is encoded on its own; the mask hides what pads its last window. Where windows overlap their
    features are averaged. A segment shorter than a token has none.

    Args:
      encode: as in `encoded_batches`.
      counts: int16 [C, S]; g = counts * scale.
      segments: ranges of samples without a long gap.
      length, stride: length of a window and steps between windows, in tokens.

    Raises:
      ValueError: no segment as long as a token, or a stride that leaves tokens out.
    """
    samples, valid, place, first, total = [], [], [], [], 0
    for segment in segments:
        count = tokens.count(segment.stop - segment.start)
        starts = window_starts(count, length, stride)
        samples.append(window_samples(counts[:, segment], starts, length, tokens))
        valid.append(starts[:, None] + np.arange(length) < count)  # [W, T]
        place.append(total + starts)
        first.append(segment.start + tokens.hop * np.arange(count))
        total += count
    if total == 0:
        seconds = tokens.size / tokens.rate_hz
        raise ValueError(
            f"the recording has no stretch of {seconds:g} s without a long gap in its {counts.shape[1]} samples"
        )
    samples, valid, place = np.concatenate(samples), np.concatenate(valid), np.concatenate(place)
    sums, covered = None, np.zeros((total, 1, 1), np.float32)
    scales = np.full(len(samples), scale, np.float32)
    for rows, layers in encoded_batches(encode, samples, scales, valid, batch=batch):
        if sums is None:
            sums = np.zeros((total, *layers.shape[2:]), np.float32)
        for window, at, real in zip(layers, place[rows], valid[rows].sum(axis=1), strict=True):
            sums[at : at + real] += window[:real]  # padding is at the end
            covered[at : at + real] += 1
    sums /= covered
    return sums, np.concatenate(first)
