"""Reconstruction losses: predictions, targets and explicit masks in, a float32 scalar out."""

import dataclasses

import jax.numpy as jnp

from selfpab_jax.signals.patches import WINDOWS, frame_magnitudes
from selfpab_jax.signals.tokens import Tokens


def mean_over_valid(per_sample, valid=None):
    """Mean of [B] over the rows where `valid` [B] is True (all rows if None); 0 if there is none."""
    if valid is None:
        return per_sample.mean()
    weight = valid.astype(per_sample.dtype)
    return jnp.sum(per_sample * weight) / jnp.maximum(weight.sum(), 1)


def masked_l1(prediction, target, cells, valid=None):
    """Mean over samples of each sample's mean absolute error over its altered cells.

    A sample weighs the same however many of its cells are altered; a sample without any contributes 0.

    Args:
      prediction, target: [B, T, F].
      cells: bool [B, T, F], True where the loss looks.
      valid: bool [B], False for rows that pad a batch.

    Source: SelfPAB (doi 10.1007/s10489-024-05322-3), equation of the masked L1 loss; reduction as in its code.
    """
    error = jnp.abs(prediction.astype(jnp.float32) - target.astype(jnp.float32))
    count = cells.sum(axis=(-2, -1))
    per_sample = jnp.where(cells, error, 0).sum(axis=(-2, -1)) / jnp.maximum(count, 1)  # [B]
    return mean_over_valid(per_sample, valid)


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """How the spectral losses see a patch.

    The defaults are our reconstruction of LMM and LMV: the article's equations were not available. Frames, window, mean
    over frames, logarithm, floor and distance are assumptions.

    Attributes:
      frame_length, hop: frames inside a patch, in samples; 60 and 30 are 2 s and 1 s at 30 Hz. A frame as long as the
        patch is a single DFT, whose mean over frames is itself.
      window: "hann" or "rectangular". With Hann the first and last samples of a patch hardly count (the very first not
        at all), so a reconstruction may do anything there.
      average: "log_of_mean" or "mean_of_log" of the frames' magnitudes; for LMM.
      log_base: 10 or "e"; a scale only (5.3 times for L2), which matters beside other terms.
      floor: magnitudes in g below it count as it; for variances its square.
      distance: "l2" (squared) or "l1" of the logarithms.
      pool: so many neighbouring bins are averaged after the logarithm.
    """

    frame_length: int = 60
    hop: int = 30
    window: str = "hann"
    average: str = "log_of_mean"
    log_base: str = "10"
    floor: float = 1e-4
    distance: str = "l2"
    pool: int = 1

    def __post_init__(self):
        for name, known in (
            ("window", WINDOWS),
            ("average", ("log_of_mean", "mean_of_log")),
            ("log_base", ("10", "e")),
            ("distance", ("l2", "l1")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"spectrum.{name} is '{getattr(self, name)}', expected {' or '.join(known)}")
        if self.frame_length < 2:
            raise ValueError(f"spectrum.frame_length is {self.frame_length} samples, expected 2 or more")
        if not 1 <= self.hop <= self.frame_length:
            raise ValueError(f"spectrum.hop is {self.hop}, expected 1 to spectrum.frame_length ({self.frame_length})")
        if not 1 <= self.pool <= (bins := self.frame_length // 2 + 1):
            raise ValueError(f"spectrum.pool is {self.pool}, expected 1 to the number of bins ({bins})")
        if not self.floor > 0:
            raise ValueError(f"spectrum.floor is {self.floor}, expected a positive magnitude in g, such as 1e-4")

    def frames(self, patch: int) -> int:
        """Number of frames in a patch of so many samples.

        Raises:
          ValueError: not one.
        """
        count = Tokens(0, self.frame_length, self.hop).count(patch)
        if count < 1:
            raise ValueError(
                f"spectrum.frame_length is {self.frame_length} samples, expected at most a patch ({patch} samples)"
            )
        return count


def log_mean_magnitude(signal, spectrum: Spectrum):
    """Logarithm of the mean magnitude over the frames of each patch, [..., P] in g -> [..., F] float32."""
    magnitude = _magnitude(signal, spectrum)  # [..., T, F]
    if spectrum.average == "log_of_mean":
        return _pool(_log(magnitude.mean(axis=-2), spectrum, spectrum.floor), spectrum.pool)
    return _pool(_log(magnitude, spectrum, spectrum.floor).mean(axis=-2), spectrum.pool)


def log_magnitude_variance(signal, spectrum: Spectrum):
    """Logarithm of the magnitudes' variance (of the population) over the frames of a patch, [..., P] -> [..., F]."""
    variance = _magnitude(signal, spectrum).var(axis=-2)
    return _pool(_log(variance, spectrum, spectrum.floor**2), spectrum.pool)


def lmm(prediction, target, masked, spectrum: Spectrum, valid=None):
    """LMM: mean distance of the log mean magnitudes, over the masked patches, axes and bins of each sample.

    Args:
      prediction, target: [B, N, C, P] in g; computed in float32.
      masked: bool [B, N], True where the loss looks.
      valid: bool [B], False for rows that pad a batch.

    Source: re-derived from the abstract of arXiv 2502.17477 and its first author's later public code; see `Spectrum`.
    """
    return _spectral(log_mean_magnitude, prediction, target, masked, spectrum, valid)


def lmv(prediction, target, masked, spectrum: Spectrum, valid=None):
    """LMV: as `lmm`, of the log variances of the magnitudes; needs two frames in a patch."""
    return _spectral(log_magnitude_variance, prediction, target, masked, spectrum, valid)


def masked_mse(prediction, target, masked, valid=None):
    """Mean squared error in g^2 over the masked patches of each sample; arguments as in `lmm`."""
    return _masked_mean((prediction.astype(jnp.float32) - target.astype(jnp.float32)) ** 2, masked, valid)


def _spectral(logarithm, prediction, target, masked, spectrum: Spectrum, valid):
    difference = logarithm(prediction, spectrum) - logarithm(target, spectrum)  # [B, N, C, F]
    return _masked_mean(difference**2 if spectrum.distance == "l2" else jnp.abs(difference), masked, valid)


def _masked_mean(error, masked, valid):
    """Mean over samples of the mean over their masked tokens of error [B, N, ...]."""
    per_token = error.mean(axis=tuple(range(2, error.ndim)))  # [B, N]
    per_sample = jnp.where(masked, per_token, 0).sum(axis=1) / jnp.maximum(masked.sum(axis=1), 1)  # [B]
    return mean_over_valid(per_sample, valid)


def _magnitude(signal, spectrum: Spectrum):
    return frame_magnitudes(signal, spectrum.frame_length, spectrum.hop, spectrum.window)


def _log(x, spectrum: Spectrum, floor: float):
    raised = jnp.maximum(x, floor)
    return jnp.log10(raised) if spectrum.log_base == "10" else jnp.log(raised)


def _pool(x, width: int):
    """Means of `width` neighbours along the last axis; the last group may be smaller."""
    if width == 1:
        return x
    groups = -(-x.shape[-1] // width)
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, groups * width - x.shape[-1])])
    counts = jnp.minimum(width, x.shape[-1] - width * jnp.arange(groups))
    return padded.reshape(*x.shape[:-1], groups, width).sum(-1) / counts  # [..., G]
