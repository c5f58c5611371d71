"""Masked autoencoder on raw single-sensor signals, with the spectral losses LMM and LMV (arXiv 2502.17477).

LMM/LMV-style losses, re-derived from the paper's abstract and the author's later public code; window, hop, log floor,
L2 and the mean over time frames are our assumptions.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from selfpab_jax.losses import Spectrum, lmm, lmv, log_mean_magnitude, masked_mse
from selfpab_jax.models.mae import MaeConfig, masked_autoencoder, seen
from selfpab_jax.objectives.method import Method, acceleration_g, row_keys, row_numbers
from selfpab_jax.signals.patches import patchify, random_kept, unpatchify
from selfpab_jax.signals.tokens import Tokens

LOSSES = ("lmm", "lmv", "mse")


def build(config: Mapping, normalization: Mapping[str, np.ndarray]) -> Method:
    """The masked autoencoder.

    Args:
      config: `model`, `loss` (weights of lmm, lmv and mse), `spectrum`, `mask_ratio`, `sensor`, `rate_hz` and `seed`.
      normalization: unused; the model sees raw g.

    Raises:
      ValueError: a setting that makes no sense, in one sentence.
    """
    cfg, spectrum, ratio = MaeConfig(**config["model"]), Spectrum(**config["spectrum"]), config["mask_ratio"]
    weights = {name: float(config["loss"][name]) for name in LOSSES}
    _check(cfg, spectrum, ratio, weights)
    terms = LOSSES if spectrum.frames(cfg.patch) > 1 else ("lmm", "mse")
    channels = tuple(f"{config['sensor']}_{axis}" for axis in "xyz")

    def losses(prediction, target, masked, valid):
        """Every loss, also those of weight 0: what the other ones make of a run is worth knowing."""
        found = {
            "lmm": lmm(prediction, target, masked, spectrum, valid),
            "mse": masked_mse(prediction, target, masked, valid),
        }
        if "lmv" in terms:
            found["lmv"] = lmv(prediction, target, masked, spectrum, valid)
        return found

    def draw_kept(rng, rows, patches):
        return jax.vmap(lambda key: random_kept(key, patches.shape[1], ratio))(row_keys(rng, rows))  # [B, K]

    def objective(model, batch, rng, train):
        target = patchify(acceleration_g(batch), cfg.patch)  # [B, N, C, P]
        kept = draw_kept(rng, row_numbers(batch), target)
        prediction = model(target, kept)["reconstruction"]
        found = losses(prediction, target, ~seen(kept, target.shape[1]), batch.get("valid"))
        return sum(weights[name] * value for name, value in found.items() if weights[name]), found

    def encode(model, acceleration, mask=None, key=None):
        return model(patchify(acceleration, cfg.patch), valid=mask)["layers"]

    def inputs(acceleration):
        patches = patchify(acceleration, cfg.patch)
        spectra = log_mean_magnitude(patches, spectrum)  # [B, N, C, F]
        return jnp.concatenate([spectra, patches.mean(axis=-1, keepdims=True)], axis=-1).reshape(*patches.shape[:2], -1)

    def preview(model, acceleration, rng):
        patches = patchify(acceleration, cfg.patch)
        kept = draw_kept(rng, jnp.arange(len(patches)), patches)
        prediction = model(patches, kept)["reconstruction"]
        return {
            "signal": unpatchify(patches),  # [B, C, S]
            "reconstruction": unpatchify(prediction),
            "masked": ~seen(kept, patches.shape[1]),  # [B, N]
            "log_magnitude": log_mean_magnitude(patches, spectrum),  # [B, N, C, F]
            "reconstructed_log_magnitude": log_mean_magnitude(prediction, spectrum),
        }

    tokens = Tokens(config["rate_hz"], cfg.patch, cfg.patch)
    model = masked_autoencoder(cfg, config["seed"])
    return Method(model, channels, channels, tokens, cfg.tensor_split, objective, encode, inputs, preview)


def _check(cfg: MaeConfig, spectrum: Spectrum, ratio: float, weights: Mapping[str, float]) -> None:
    """Raises ValueError for settings that each make sense but not together."""
    frames = spectrum.frames(cfg.patch)
    if cfg.channels != 3:
        raise ValueError(f"model.channels is {cfg.channels}, expected 3, the axes of one sensor")
    if not 0 < ratio < 1:
        raise ValueError(f"mask_ratio is {ratio}, expected a share between 0 and 1, both excluded, such as 0.6")
    if not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise ValueError(f"loss is {weights}, expected weights of 0 or more with at least one above 0")
    if weights["lmv"] and frames < 2:
        raise ValueError(
            f"loss.lmv is {weights['lmv']:g} with a single frame of spectrum.frame_length {spectrum.frame_length} in a "
            "patch, expected two frames or more for a variance: choose shorter frames"
        )
