"""The encoder and its loss in PyTorch's own modules, under the published names."""

import torch
from torch import nn

from selfpab_jax.models.encoder import positional_encoding


class Network(nn.Module):
    """The encoder in PyTorch's own modules; `selfpab_jax.interop.names.to_torch` gives its state_dict."""

    def __init__(self, model: dict, frames: int):
        super().__init__()
        d = model["d_model"]
        layer = nn.TransformerEncoderLayer(d, model["heads"], model["ff"], model["dropout"], batch_first=True)
        self.emb = nn.ModuleDict({"lin_proj_layer": nn.Linear(model["in_features"], d)})
        self.transformer_encoder = nn.TransformerEncoder(layer, model["layers"])
        self.prediction_head = nn.ModuleDict({"mlp": nn.ModuleDict({"out_layer": nn.Linear(d, model["out_features"])})})
        self.position = torch.from_numpy(positional_encoding(frames, d))

    def forward(self, x):
        hidden = self.transformer_encoder(self.emb["lin_proj_layer"](x) + self.position)
        return self.prediction_head["mlp"]["out_layer"](hidden)


def masked_l1(prediction, target, cells):
    """As in selfpab_jax.losses."""
    error = torch.where(cells, (prediction - target).abs(), 0).sum((1, 2))
    return (error / cells.sum((1, 2)).clamp(min=1)).mean()
