"""SelfPAB: reconstruct the altered parts of normalised STFT spectrograms (doi 10.1007/s10489-024-05322-3)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from selfpab_jax.losses import masked_l1, mean_over_valid
from selfpab_jax.models.encoder import EncoderConfig, spectrogram_encoder
from selfpab_jax.objectives.method import Method, acceleration_g, part_key, row_keys, row_numbers
from selfpab_jax.signals.masking import Masking, alter
from selfpab_jax.signals.stft import (
    CHANNELS,
    FRAMES,
    MAGNITUDES,
    N_BINS,
    log_or_linear,
    magnitude_spectrogram,
    sensor_channels,
)


def normalised_spectrogram(acceleration, mean, std, magnitude: str):
    """(x - mean) / std of the spectrograms of [..., C, S] in g; [..., T, C * F] float32."""
    return (log_or_linear(magnitude_spectrogram(acceleration), magnitude) - mean) / std


def statistics(normalization: Mapping[str, np.ndarray], magnitude: str, channels: slice) -> dict[str, np.ndarray]:
    """{"mean", "std"}, float32 [C * F], of the chosen magnitudes and channels.

    A std of exactly 0 (a dead bin) becomes 1e-10, as published. Statistics of one sensor alone are taken as they are.

    Raises:
      ValueError: an unknown magnitude, or statistics of neither all channels nor the chosen ones.
    """
    if magnitude not in MAGNITUDES:
        raise ValueError(f"magnitude is '{magnitude}', expected {' or '.join(MAGNITUDES)}")
    every, chosen = len(CHANNELS) * N_BINS, slice(channels.start * N_BINS, channels.stop * N_BINS)
    features, found = chosen.stop - chosen.start, {}
    for name in ("mean", "std"):
        values = normalization.get(f"{magnitude}_{name}", np.empty(0)).astype(np.float32)
        if len(values) not in (every, features):
            raise ValueError(
                f"normalization.npz: {magnitude}_{name} has {len(values)} values, expected {features} for the channels "
                f"{', '.join(CHANNELS[channels])}" + (f", or {every} for all" if features < every else "")
            )
        found[name] = values[chosen] if len(values) == every else values
    return {**found, "std": np.where(found["std"] == 0, np.float32(1e-10), found["std"])}


def build(config: Mapping, normalization: Mapping[str, np.ndarray]) -> Method:
    """The SelfPAB method.

    Args:
      config: `model`, `masking`, `magnitude` ("linear" or "log"), `sensors` and `seed` are read.
      normalization: `linear_mean`, `linear_std`, `log_mean`, `log_std`, each [156]; the two of the magnitude suffice.
    """
    masking, magnitude = Masking(**config["masking"]), config["magnitude"]
    channels = sensor_channels(config["sensors"])
    mean, std = statistics(normalization, magnitude, channels).values()
    cfg = EncoderConfig(**config["model"])
    if not len(mean) == cfg.in_features == cfg.out_features:
        raise ValueError(
            f"model.in_features and out_features are {cfg.in_features} and {cfg.out_features}, expected {len(mean)}: "
            "26 for each channel of the sensors"
        )

    def inputs(acceleration):
        return normalised_spectrogram(acceleration[..., channels, :], mean, std, magnitude)  # [B, T, F]

    def alter_rows(rng, rows, spectrogram):
        return jax.vmap(lambda key, x: alter(key, x, masking))(row_keys(rng, rows), spectrogram)

    def objective(model, batch, rng, train):
        rng_alter, rng_dropout = jax.random.split(rng)
        target, rows = inputs(acceleration_g(batch)), row_numbers(batch)
        altered, cells = alter_rows(rng_alter, rows, target)
        prediction = model(altered, key=part_key(rng_dropout, rows) if train else None)["reconstruction"]
        loss = masked_l1(prediction, target, cells, batch.get("valid"))
        return loss, {"altered_share": mean_over_valid(cells.mean(axis=(1, 2)), batch.get("valid"))}

    def encode(model, acceleration, mask=None, key=None):
        return model(inputs(acceleration), mask, key)["layers"]

    def preview(model, acceleration, rng):
        original = inputs(acceleration)
        altered, cells = alter_rows(rng, jnp.arange(len(original)), original)
        reconstruction = model(altered)["reconstruction"]
        return {
            "original": original,
            "altered": jnp.where(cells, jnp.nan, altered),
            "reconstruction": reconstruction,
            "cells": cells,
        }

    model = spectrogram_encoder(cfg, config["seed"])
    return Method(model, CHANNELS, CHANNELS[channels], FRAMES, cfg.tensor_split, objective, encode, inputs, preview)
