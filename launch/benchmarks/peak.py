"""What a training step of a model must multiply, counted from its sizes, and how fast a mesh multiplies at best."""

from collections.abc import Callable, Mapping

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from selfpab_jax.models.encoder import EncoderConfig
from selfpab_jax.models.mae import MaeConfig
from selfpab_jax.train.sharding import AXES

# Backend: (rows and columns of the matrices, products in a row). A few milliseconds of an accelerator.
SIZES = {"cpu": (2048, 1)}
ACCELERATOR = (8192, 4)


def training_flop(config: Mapping, tokens: int) -> float:
    """FLOP of the matrix products for one window of `tokens` tokens: forward, and twice as much backward.

    Counted are embedding, projections, attention scores and mix, feed-forward and head; not spectra, norms, softmax,
    dropout, optimizer, or what `model.remat` computes again.
    """
    forward = {"selfpab": _encoder, "mae": _autoencoder}[config["objective"]](config, tokens)
    return 2 * 3 * forward


def _encoder(config: Mapping, tokens: int) -> float:
    """Multiplications of a forward pass of the spectrogram encoder."""
    cfg = EncoderConfig(**config["model"])
    ends = tokens * cfg.d_model * (cfg.in_features + cfg.out_features)
    return ends + cfg.layers * _block(tokens, cfg.d_model, 2 * cfg.ff)


def _autoencoder(config: Mapping, tokens: int) -> float:
    """Multiplications of a forward pass of the masked autoencoder."""
    cfg, values = MaeConfig(**config["model"]), config["model"]["channels"] * config["model"]["patch"]
    if not cfg.drop_tokens:
        return 2 * tokens * values * cfg.d_model + cfg.layers * _block(tokens, cfg.d_model, 3 * cfg.ff)
    kept, width = tokens - round(config["mask_ratio"] * tokens), cfg.decoder_width
    ends = tokens * values * (cfg.d_model + width) + kept * cfg.d_model * width
    decoder = cfg.decoder_layers * _block(tokens, width, 3 * int(cfg.ff_ratio * width))
    return ends + cfg.layers * _block(kept, cfg.d_model, 3 * cfg.ff) + decoder


def _block(tokens: int, width: int, ff: int) -> float:
    """Queries, keys, values and output; feed-forward of `ff` columns in all; scores and mix."""
    return tokens * width * (4 * width + ff) + 2 * tokens**2 * width


def square_products(mesh: Mesh, dtype: str) -> tuple[Callable[[], object], float]:
    """(multiplies square matrices, as many on each device, and waits for them; the FLOP of a call)."""
    size, products = SIZES.get(jax.default_backend(), ACCELERATOR)
    spread = NamedSharding(mesh, PartitionSpec(AXES))
    key = jax.random.key(0)

    def draw():
        return jax.random.normal(key, (mesh.size, size, size), dtype) / size**0.5  # products stay of this scale

    def multiply(x):
        y = x
        for _ in range(products):
            y = x @ y
        return y

    matrices, multiply = jax.jit(draw, out_shardings=spread)(), jax.jit(multiply, out_shardings=spread)
    multiply(matrices).block_until_ready()
    return lambda: multiply(matrices).block_until_ready(), 2.0 * mesh.size * products * size**3
