"""SelfPAB: reconstruct the altered parts of normalised STFT spectrograms (doi 10.1007/s10489-024-05322-3)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from selfpab_jax.losses import masked_l1, mean_over_valid
from selfpab_jax.models.encoder import EncoderConfig, spectrogram_encoder
from selfpab_jax.objectives.method import Method, acceleration_g, row_keys
from selfpab_jax.signals.masking import Masking, alter
from selfpab_jax.signals.stft import MAGNITUDES, log_or_linear, magnitude_spectrogram


def normalised_spectrogram(acceleration, mean, std, magnitude: str):
    """(x - mean) / std of the spectrograms of [..., C, S] in g; [..., T, C * F] float32."""
    return (log_or_linear(magnitude_spectrogram(acceleration), magnitude) - mean) / std


def statistics(normalization: Mapping[str, np.ndarray], magnitude: str) -> tuple[np.ndarray, np.ndarray]:
    """(mean, std) [C * F] of the chosen magnitudes; a std of exactly 0 (a dead bin) becomes 1e-10, as published."""
    if magnitude not in MAGNITUDES:
        raise ValueError(f"magnitude is '{magnitude}', expected {' or '.join(MAGNITUDES)}")
    mean, std = (normalization[f"{magnitude}_{name}"].astype(np.float32) for name in ("mean", "std"))
    return mean, np.where(std == 0, np.float32(1e-10), std)


def build(config: Mapping, normalization: Mapping[str, np.ndarray]) -> Method:
    """The SelfPAB method.

    Args:
      config: `model`, `masking`, `magnitude` ("linear" or "log") and `seed` are read.
      normalization: `linear_mean`, `linear_std`, `log_mean`, `log_std`, each [156].
    """
    masking, magnitude = Masking(**config["masking"]), config["magnitude"]
    mean, std = statistics(normalization, magnitude)
    cfg = EncoderConfig(**config["model"])
    if not len(mean) == cfg.in_features == cfg.out_features:
        raise ValueError(
            f"model.in_features and out_features are {cfg.in_features} and {cfg.out_features}, expected {len(mean)}: "
            "the spectrogram features that the data's statistics are of"
        )

    def inputs(acceleration):
        return normalised_spectrogram(acceleration, mean, std, magnitude)  # [B, T, F]

    def alter_batch(rng, spectrogram):
        return jax.vmap(lambda key, x: alter(key, x, masking))(row_keys(rng, len(spectrogram)), spectrogram)

    def objective(model, batch, rng, train):
        rng_alter, rng_dropout = jax.random.split(rng)
        target = inputs(acceleration_g(batch))
        altered, cells = alter_batch(rng_alter, target)
        prediction = model(altered, key=rng_dropout if train else None)["reconstruction"]
        loss = masked_l1(prediction, target, cells, batch.get("valid"))
        return loss, {"altered_share": mean_over_valid(cells.mean(axis=(1, 2)), batch.get("valid"))}

    def encode(model, acceleration, mask=None, key=None):
        return model(inputs(acceleration), mask, key)["layers"]

    def preview(model, acceleration, rng):
        original = inputs(acceleration)
        altered, cells = alter_batch(rng, original)
        reconstruction = model(altered)["reconstruction"]
        return {
            "original": original,
            "altered": jnp.where(cells, jnp.nan, altered),
            "reconstruction": reconstruction,
            "cells": cells,
        }

    model = spectrogram_encoder(cfg, config["seed"])
    return Method(model, objective, encode, inputs, preview)
