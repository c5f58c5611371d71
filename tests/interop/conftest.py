"""The published network, written anew with torch.nn under the published names; encoders to export."""

import math

import numpy as np
import pytest

from selfpab_jax.interop.exports import Exported
from selfpab_jax.interop.names import positions
from selfpab_jax.models.encoder import EncoderConfig
from selfpab_jax.signals.stft import CHANNELS, sensor_channels


@pytest.fixture(scope="session")
def published():
    """The published class: made from a flat dict of arguments, its state_dict has the published names."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Positions(nn.Module):
        def __init__(self, d_model):
            super().__init__()
            # In float32, as published: our buffer differs from it by up to 5e-4 at position 10,000.
            angle = torch.arange(10_000)[:, None] * torch.exp(torch.arange(0, d_model, 2) * (-math.log(1e4) / d_model))
            pe = torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(1, 10_000, d_model)
            self.register_buffer("pe", pe)

    class Published(nn.Module):
        def __init__(self, args):
            super().__init__()
            d = args["d_model"]
            assert args["n_prediction_head_layers"] == 1 and args["positional_encoding"] == "AbsolutePositionalEncoding"
            self.emb = nn.ModuleDict({"lin_proj_layer": nn.Linear(args["input_dim"], d), "pos_encoder": Positions(d)})
            layer = nn.TransformerEncoderLayer(
                d_model=d,
                nhead=args["nhead"],
                dim_feedforward=args["dim_feedforward"],
                dropout=args["dropout"],
                activation="relu",
                batch_first=True,
            )
            layers = args["n_encoder_layers"]
            self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            self.prediction_head = nn.Module()
            self.prediction_head.mlp = nn.Sequential()
            self.prediction_head.mlp.add_module("out_layer", nn.Linear(d, args["output_dim"]))

        def layers(self, x):
            outputs = [self.emb["lin_proj_layer"](x) + self.emb["pos_encoder"].pe[:, : x.shape[1]]]
            for layer in self.transformer_encoder.layers:
                outputs.append(layer(outputs[-1]))
            return outputs

        def forward(self, x):
            return self.prediction_head.mlp(self.layers(x)[-1])

    return Published


@pytest.fixture(scope="session")
def exported(random_params):
    """(cfg, magnitude, sensors, seed) -> what an export of random parameters would hold."""

    def make(cfg: EncoderConfig, magnitude="linear", sensors=("back", "thigh"), seed=0) -> Exported:
        import dataclasses

        draw = np.random.default_rng(seed)
        config = {
            "channels": list(CHANNELS[sensor_channels(sensors)]),
            "sensors": list(sensors),
            "magnitude": magnitude,
            "model": dataclasses.asdict(cfg),
            "classifier": None,
        }
        statistics = {"mean": draw.uniform(0, 1, cfg.in_features), "std": draw.uniform(0.3, 2, cfg.in_features)}
        normalization = {f"{magnitude}_{name}": values.astype(np.float32) for name, values in statistics.items()}
        return Exported(random_params(cfg, seed)[1], config, normalization, positions(cfg.d_model), None)

    return make


@pytest.fixture(scope="session")
def small() -> EncoderConfig:
    return EncoderConfig(d_model=60, heads=6, ff=48, layers=2, dropout=0.1)


@pytest.fixture(scope="session")
def acceleration() -> np.ndarray:
    """Something like walking, [2, 2000, 6] in g: gravity, a few harmonics, noise."""
    draw = np.random.default_rng(0)
    time = np.arange(2000)[None, :, None] / 50
    swing = sum(np.sin(2 * np.pi * 1.7 * k * time + draw.uniform(0, 6, (2, 1, 6))) / k for k in (1, 2, 3))
    return (0.3 * swing + draw.normal(0, 0.05, (2, 2000, 6)) + (np.arange(6) % 3 == 0)).astype(np.float32)
