"""The encoder and its loss in PyTorch's own modules, with the parameters of ours."""

import numpy as np
import torch
from torch import nn

from selfpab_jax.models.encoder import positional_encoding


class Network(nn.Module):
    """The encoder in PyTorch's own modules."""

    def __init__(self, model: dict, frames: int):
        super().__init__()
        d = model["d_model"]
        layer = nn.TransformerEncoderLayer(d, model["heads"], model["ff"], model["dropout"], batch_first=True)
        self.embed, self.head = nn.Linear(model["in_features"], d), nn.Linear(d, model["out_features"])
        self.encoder = nn.TransformerEncoder(layer, model["layers"])
        self.position = torch.from_numpy(positional_encoding(frames, d))

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.position))


def state_dict(params: dict) -> dict[str, torch.Tensor]:
    """Copies of our parameters under PyTorch's names, matrices transposed."""

    def linear(name: str, ours: dict) -> dict:
        return {f"{name}weight": ours["kernel"].T, f"{name}bias": ours["bias"]}

    found = linear("embed.", params["embed"]) | linear("head.", params["head"])
    for number, block in params["blocks"].items():
        at = f"encoder.layers.{number}."
        found |= linear(f"{at}self_attn.in_proj_", block["attn"]["qkv"])
        found |= linear(f"{at}self_attn.out_proj.", block["attn"]["out"])
        for name in ("linear1", "linear2"):
            found |= linear(f"{at}{name}.", block[name])
        for name in ("norm1", "norm2"):
            found |= {f"{at}{name}.weight": block[name]["scale"], f"{at}{name}.bias": block[name]["bias"]}
    return {name: torch.tensor(np.asarray(value)) for name, value in found.items()}


def masked_l1(prediction, target, cells):
    """As in selfpab_jax.losses."""
    error = torch.where(cells, (prediction - target).abs(), 0).sum((1, 2))
    return (error / cells.sum((1, 2)).clamp(min=1)).mean()
