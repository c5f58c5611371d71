"""Patches of raw signals, their magnitude spectra, and which of them a masked autoencoder gets to see."""

import jax
import jax.numpy as jnp
import numpy as np

from selfpab_jax.signals.tokens import Tokens

WINDOWS = ("hann", "rectangular")


def patchify(acceleration, size: int):
    """Patches [..., N, C, P] of [..., C, S]: `size` samples P each, end to end; samples left over belong to none."""
    *lead, channels, samples = acceleration.shape
    count = samples // size
    cut = acceleration[..., : count * size].reshape(*lead, channels, count, size)  # [..., C, N, P]
    return jnp.moveaxis(cut, -3, -2)  # [..., N, C, P]


def unpatchify(patches):
    """The signal [..., C, S] of patches [..., N, C, P]; the inverse of `patchify`."""
    *lead, count, channels, size = patches.shape
    return jnp.moveaxis(patches, -2, -3).reshape(*lead, channels, count * size)  # [..., C, S]


def frame_magnitudes(signal, length: int, hop: int, window: str = "hann"):
    """Magnitudes |X| of the windowed one-sided DFT of frames, [..., P] in g -> [..., T, F] float32 in g.

    Frames of `length` samples start every `hop` samples and stay inside the patch: none reaches over its border, and
    nothing is padded. Not scaled: a constant of 1 g gives the sum of the window in bin 0.

    Args:
      signal: patches, any float; computed in float32.
      window: "hann" (periodic) or "rectangular".
    """
    starts = np.arange(Tokens(0, length, hop).count(signal.shape[-1])) * hop
    framed = signal.astype(jnp.float32)[..., starts[:, None] + np.arange(length)]  # [..., T, length]
    phase = 2 * np.pi * np.arange(length) / length
    weight = (0.5 - 0.5 * np.cos(phase) if window == "hann" else np.ones(length)).astype(np.float32)
    # abs() of a complex number has a gradient at 0, the root of the sum of squares has none.
    return jnp.abs(jnp.fft.rfft(framed * weight))  # [..., T, F]


def random_kept(key, tokens: int, mask_ratio: float):
    """Numbers of the tokens that stay visible, int32 [K], ascending; the other round(mask_ratio * N) are masked.

    Every subset of this size is equally likely. Draw one key a sample and `jax.vmap` over the batch.

    Raises:
      ValueError: none would be masked, or all of them.
    """
    masked = round(mask_ratio * tokens)
    if not 1 <= masked < tokens:
        raise ValueError(
            f"mask_ratio is {mask_ratio}, which masks {masked} of the {tokens} patches of a window, expected at least "
            "one masked and one visible: prepare longer windows, or choose another ratio"
        )
    return jnp.sort(jax.random.permutation(key, tokens)[masked:])
