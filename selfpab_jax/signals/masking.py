"""Time alteration and frequency masking of spectrograms, drawn per sample.

Two readings of the method exist and are one setting:

              "original" (the authors' code)                  "paper" (the article's text)
  80/10/10    one draw per spectrogram: zero, copy or leave    one draw per span
  swap        frames are copied from elsewhere                 two spans change places
  unchanged   not in the loss                                  selected frames stay in the loss
  frequency   one band with probability 0.9                    always
  last frame  and last bin are out of reach                    reachable

Where the article is silent (which of the unchanged cells count), the "paper" reading is ours and follows BERT.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from selfpab_jax.signals.stft import N_BINS

READINGS = ("paper", "original")
ZERO, SWAP = 0.8, 0.9  # below the first: zero; between: swap; above: leave unchanged
ORIGINAL_FREQUENCY_PROBABILITY = 0.9


@dataclasses.dataclass(frozen=True)
class Masking:
    """How much is altered: `time_ratio` of the frames in spans of `time_width`, `frequency_ratio` of the bins."""

    reading: str = "paper"
    time_ratio: float = 0.15
    time_width: int = 3
    frequency_ratio: float = 0.2
    frequency_width: int = 3

    def __post_init__(self):
        if self.reading not in READINGS:
            raise ValueError(f"masking.reading is '{self.reading}', expected one of {', '.join(READINGS)}")
        for name in ("time_ratio", "frequency_ratio"):
            if not 0 <= (ratio := getattr(self, name)) < 1:
                raise ValueError(f"masking.{name} is {ratio}, expected a share from 0 to below 1")
        for name in ("time_width", "frequency_width"):
            if not isinstance(width := getattr(self, name), int) or width < 1:
                raise ValueError(f"masking.{name} is {width}, expected a whole number from 1")

    def spans(self, frames: int) -> int:
        """Number of time spans; 29 for 599 frames at the published settings."""
        return int(self.time_ratio * frames / self.time_width)

    def bands(self, bins: int = N_BINS) -> int:
        """Number of frequency bands; 1 for 26 bins at the published settings."""
        return int(self.frequency_ratio * bins / self.frequency_width)


class Altered(NamedTuple):
    """An altered spectrogram [T, C * F] and the cells [T, C * F] (bool) that enter the loss."""

    spectrogram: jax.Array
    cells: jax.Array


def _starts(key, count: int, stop: int):
    """`count` different starts from range(stop)."""
    return jax.random.choice(key, stop, (count,), replace=False)


def _covered(starts, width: int, length: int):
    """Which span covers which position, [K, T] bool."""
    offset = jnp.arange(length) - starts[:, None]  # [K, T]
    return (offset >= 0) & (offset < width)


def _time_alteration(key, frames: int, cfg: Masking):
    """(source frame [T], zeroed [T], selected [T]) of one spectrogram."""
    k, width = cfg.spans(frames), cfg.time_width
    original = cfg.reading == "original"
    stop = frames - width + (0 if original else 1)
    identity = jnp.arange(frames)
    if k == 0:
        nowhere = jnp.zeros(frames, bool)
        return identity, nowhere, nowhere
    key_kind, key_from, key_to = jax.random.split(key, 3)
    kind = jax.random.uniform(key_kind, () if original else (k,))
    start, partner = _starts(key_to, k, stop), _starts(key_from, k, stop)
    inside = _covered(start, width, frames)  # [K, T]
    zero, swap = (kind < ZERO)[..., None], ((kind >= ZERO) & (kind < SWAP))[..., None]
    moved = inside & swap

    # Of overlapping spans the later wins. Written as a gather, because a scatter with repeated
    # indices has no defined order on an accelerator.
    def moved_to(moved, shift, source):
        last = jnp.max(jnp.where(moved, jnp.arange(k)[:, None], -1), axis=0)  # [T]
        return jnp.where(last >= 0, identity + shift[last], source)

    source = identity
    selected = inside.any(0)
    if original:
        source = moved_to(moved, partner - start, source)
        altered = jnp.any(inside & (zero | swap), axis=0)
        return source, jnp.any(inside & zero, axis=0), altered
    back = _covered(partner, width, frames) & swap
    source = moved_to(back, start - partner, source)
    source = moved_to(moved, partner - start, source)
    return source, jnp.any(inside & zero, axis=0), selected | back.any(0)


def _frequency_mask(key, cfg: Masking):
    """Masked bins [F] of one spectrogram."""
    bands = cfg.bands()
    if bands == 0:
        return jnp.zeros(N_BINS, bool)
    key_apply, key_start = jax.random.split(key)
    original = cfg.reading == "original"
    start = _starts(key_start, bands, N_BINS - cfg.frequency_width + (0 if original else 1))
    masked = _covered(start, cfg.frequency_width, N_BINS).any(0)
    if original:
        masked &= jax.random.uniform(key_apply) < ORIGINAL_FREQUENCY_PROBABILITY
    return masked


def alter(key, spectrogram, cfg: Masking) -> Altered:
    """One normalised spectrogram [T, C * F], altered in time and masked in frequency.

    The same frames and bins are used for every channel; zero is the mean of a normalised feature. Draw one key per
    sample and `jax.vmap` over the batch.

    Source: SelfPAB (doi 10.1007/s10489-024-05322-3), section 3, and its code for reading "original".
    """
    frames, features = spectrogram.shape
    key_time, key_frequency = jax.random.split(key)
    source, zeroed, selected = _time_alteration(key_time, frames, cfg)
    band = jnp.tile(_frequency_mask(key_frequency, cfg), features // N_BINS)  # [C * F]
    altered = jnp.where(zeroed[:, None] | band, 0, spectrogram[source])
    return Altered(altered, selected[:, None] | band)
