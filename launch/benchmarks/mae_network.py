"""The masked autoencoder and the loss LMM in PyTorch's own modules, under our parameter names."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LEAVES = {"kernel": "weight", "scale": "weight"}  # ours -> PyTorch's; kernels are transposed


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x, turn, allowed):
        b, n, _ = x.shape
        query, keys, value = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, N, D/H] each
        mixed = F.scaled_dot_product_attention(rotate(query, *turn), rotate(keys, *turn), value, attn_mask=allowed)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, ff: int):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.gate, self.up, self.down = nn.Linear(width, ff), nn.Linear(width, ff), nn.Linear(ff, width)

    def forward(self, x, turn, allowed):
        x = x + self.attn(self.norm1(x), turn, allowed)
        hidden = self.norm2(x)
        return x + self.down(F.silu(self.gate(hidden)) * self.up(hidden))


def turns(position, width: int, dtype):
    """(cosines, sines) of the rotary angles of a head of this width, [B or 1, 1, N, width / 2]."""
    rate = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = position.to(dtype)[:, None, :, None] * rate.to(dtype)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class MaskedAutoencoder(nn.Module):
    """`model` as in configs/mae.py; `load` gives it our parameters."""

    def __init__(self, model: Mapping):
        super().__init__()
        d, drop, values = model["d_model"], model["drop_tokens"], model["channels"] * model["patch"]
        self.drop, self.head_width, width = drop, d // model["heads"], model["decoder_width"] if drop else d
        self.embed, self.head = nn.Linear(values, d), nn.Linear(width, values)
        self.mask_token = nn.Parameter(torch.zeros(width))
        ff = int(model["ff_ratio"] * d)
        self.blocks = nn.ModuleList([Block(d, model["heads"], ff) for _ in range(model["layers"])])
        self.norm = nn.RMSNorm(d, eps=1e-6)
        if drop:
            heads, ff = width // self.head_width, int(model["ff_ratio"] * width)
            self.decoder_embed = nn.Linear(d, width)
            self.decoder = nn.ModuleList([Block(width, heads, ff) for _ in range(model["decoder_layers"])])
            self.decoder_norm = nn.RMSNorm(width, eps=1e-6)

    def load(self, params: Mapping) -> None:
        """Takes over our nested parameters; RuntimeError where a name or a shape differs."""
        self.load_state_dict({name: torch.tensor(value) for name, value in flat(params).items()})

    def forward(self, patches, kept=None, valid=None):
        """(layer outputs, reconstruction [B, N, C, P]) of patches [B, N, C, P]; arguments as in our model."""
        b, n = patches.shape[:2]
        x = self.embed(patches.flatten(2))  # [B, N, D]
        allowed = None if valid is None else valid[:, None, None]
        everywhere = position = torch.arange(n)[None]
        if kept is not None and self.drop:
            x, position = x.take_along_dim(kept[..., None], dim=1), kept  # [B, K, D]
        elif kept is not None:
            seen = torch.zeros(b, n, dtype=torch.bool).scatter(1, kept, True)
            x = torch.where(seen[..., None], x, self.mask_token)
        layers, turn = [x], turns(position, self.head_width, x.dtype)
        for block in self.blocks:
            layers.append(block(layers[-1], turn, allowed))
        x = layers[-1] = self.norm(layers[-1])
        if self.drop:
            x = self.decoder_embed(x)
            if kept is not None:
                empty = self.mask_token.expand(b, n, -1)
                x = empty.scatter(1, kept[..., None].expand(-1, -1, x.shape[-1]), x)
            turn = turns(everywhere, self.head_width, x.dtype)
            for block in self.decoder:
                x = block(x, turn, allowed)
            x = self.decoder_norm(x)
        return layers, self.head(x).view(patches.shape)


def flat(params: Mapping, prefix: str = "") -> dict[str, np.ndarray]:
    """Our nested parameters (or gradients) under PyTorch's names and in its layout."""
    found = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            array = np.asarray(value)
            found[prefix + LEAVES.get(name, name)] = array.T if name == "kernel" else array
    return found


def lmm(prediction, target, masked, length: int, hop: int, floor: float):
    """LMM of the masked patches, as many in each row, with a periodic Hann window, log10 and squared distances."""

    def logarithm(patches):
        frames = patches.unfold(-1, length, hop) * torch.hann_window(length, dtype=patches.dtype)  # [M, C, T, length]
        return torch.fft.rfft(frames).abs().mean(dim=-2).clamp(min=floor).log10()  # [M, C, F]

    return F.mse_loss(logarithm(prediction[masked]), logarithm(target[masked]))
