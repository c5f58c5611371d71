"""A pre-trained accelerometer encoder as a plain `torch.nn.Module`: acceleration in, features of every second out.

This file imports torch and NumPy only and nothing of the project it comes from: `selfpab export --format folder` puts
a copy beside the weights, and it may be copied into other programs (Apache License 2.0).

    from torch_encoder import load

    encoder = load("exported")                   # or load("exported", features="weighted") to learn a sum of layers
    features = encoder(acceleration)             # [B, S, 6] in g at 50 Hz -> [B, T, D], a frame each half second
    features = over_recording(encoder, signal)   # a recording of any length: [S, 6] -> [T, D]

The state_dict of an encoder has the names of the published SelfPAB code (doi 10.1007/s10489-024-05322-3).
"""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

N_FFT, HOP, SAMPLE_RATE_HZ = 50, 25, 50  # frames of 1 s, every half second
N_BINS = N_FFT // 2 + 1
MAX_FRAMES = 10_000  # 83 minutes; the published class holds as many positions
WINDOW_FRAMES = 599  # 5 minutes, as in pre-training
FEATURES = ("last", "weighted", "all")
MASKED_OUT = -1e30
SMALLEST_STD = 1e-10  # of a dead bin, as published


class Attention(nn.Module):
    """Multi-head self-attention, one projection for queries, keys and values."""

    def __init__(self, d_model: int, heads: int, dropout: float):
        super().__init__()
        if d_model % heads:
            raise ValueError(f"config.json: d_model is {d_model}, expected a multiple of heads ({heads})")
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d_model, d_model))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d_model))
        self.out_proj = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x, mask=None):
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # 3 of [B, H, T, D/H]
        rate = self.dropout if self.training else 0.0
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return self.out_proj(out.transpose(1, 2).flatten(2))  # [B, T, D]


class Block(nn.Module):
    """Attention and feed-forward, each followed by add and norm (post-norm)."""

    def __init__(self, d_model: int, heads: int, ff: int, dropout: float):
        super().__init__()
        self.self_attn = Attention(d_model, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(d_model, ff), nn.Linear(ff, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask=None):
        x = self.norm1(x + self.dropout(self.self_attn(x, mask)))
        hidden = self.dropout(functional.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class Encoder(nn.Module):
    """Acceleration in g at 50 Hz -> features of every frame of 1 s.

    Made by `load`, which also brings the normalisation: that is no part of the state_dict, and stays NaN where an
    encoder is made by hand. For half precision use torch.autocast, which leaves the spectrogram in float32.

    Args:
      config: what `config.json` of an exported folder holds: `channels`, `magnitude` and `model`.
      features: "last" (the last layer), "weighted" (a sum of embedding and layers with trainable weights that start
        equal) or "all" (each of them).
    """

    def __init__(self, config: Mapping, features: str = "last"):
        super().__init__()
        if features not in FEATURES:
            raise ValueError(f"features is '{features}', expected {', '.join(FEATURES)}")
        model, self.channels, self.magnitude = config["model"], tuple(config["channels"]), config["magnitude"]
        d_model, self.features = model["d_model"], features
        self.emb = nn.ModuleDict({"lin_proj_layer": nn.Linear(model["in_features"], d_model)})
        blocks = [Block(d_model, model["heads"], model["ff"], model["dropout"]) for _ in range(model["layers"])]
        self.transformer_encoder = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
        out_layer = nn.Linear(d_model, model["out_features"])
        self.prediction_head = nn.ModuleDict({"mlp": nn.ModuleDict({"out_layer": out_layer})})
        if features == "weighted":
            self.layer_weight = nn.Parameter(torch.full((len(blocks) + 1,), 1 / (len(blocks) + 1)))
        # Not in the state_dict: they follow from the sizes, or come from normalization.npz.
        for name in ("mean", "std"):
            self.register_buffer(name, torch.full((model["in_features"],), math.nan), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("positions", torch.from_numpy(sinusoids(d_model)), persistent=False)

    def spectrogram(self, acceleration):
        """Normalised magnitudes [B, T, F] of [B, S, C]; features are 26 bins a channel, frequency ascending."""
        dtype = torch.promote_types(self.window.dtype, torch.float32)  # also in a module of half precision
        frames = acceleration.to(dtype).unfold(1, N_FFT, HOP) * self.window.to(dtype)  # [B, T, C, 50]
        magnitude = torch.fft.rfft(frames).abs().flatten(2)  # [B, T, C * 26]
        if self.magnitude == "log":
            magnitude = torch.log1p(magnitude)
        normalised = (magnitude - self.mean.to(dtype)) / self.std.to(dtype).clamp_min(SMALLEST_STD)
        return normalised.to(self.window.dtype)

    def layers(self, spectrogram, valid=None) -> list[torch.Tensor]:
        """Embedding and layer outputs, L + 1 of [B, T, D], of normalised spectrograms [B, T, F]."""
        mask = None
        if valid is not None:
            mask = torch.where(valid, 0.0, MASKED_OUT)[:, None, None, :]  # [B, 1, 1, T]
        x = self.emb["lin_proj_layer"](spectrogram)
        outputs = [x + self.positions[: x.shape[1]]]
        for block in self.transformer_encoder["layers"]:
            outputs.append(block(outputs[-1], mask))
        return outputs

    def forward(self, acceleration, valid=None):
        """Features of acceleration.

        Args:
          acceleration: float32 [B, S, C] in g at 50 Hz, channels in the order of `self.channels`; S >= 50.
          valid: bool [B, T], False for frames of padding, which attention then leaves out; T = (S - 50) // 25 + 1.

        Returns:
          [B, T, D] for "last" and "weighted", [B, T, L + 1, D] for "all", the embedding first.
        """
        if not torch.compiler.is_compiling():
            _check_acceleration(acceleration, self.channels)
        outputs = self.layers(self.spectrogram(acceleration), valid)
        if self.features == "last":
            return outputs[-1]
        stacked = torch.stack(outputs, dim=2)  # [B, T, L + 1, D]
        return stacked if self.features == "all" else torch.einsum("btnd,n->btd", stacked, self.layer_weight)

    def reconstruct(self, spectrogram):
        """What pre-training predicts: [B, T, F] from normalised, altered spectrograms [B, T, F]."""
        return self.prediction_head["mlp"]["out_layer"](self.layers(spectrogram)[-1])


class Classifier(nn.Module):
    """Acceleration in g at 50 Hz -> log-probabilities of activities, for every frame of 1 s.

    Attributes:
      labels, codes: names and the data set's numbers of the K classes, in the order of the output.
    """

    def __init__(self, config: Mapping):
        super().__init__()
        head, d_model = config["classifier"], config["model"]["d_model"]
        self.labels, self.codes = tuple(head["labels"]), tuple(head["codes"])
        self.encoder = Encoder(config, "all")
        self.chosen = list(head["layers"])
        self.layer_weight = nn.Parameter(torch.full((len(self.chosen),), 1 / len(self.chosen)))
        self.hidden = nn.Linear(d_model, head["hidden"]) if head["hidden"] else None
        self.out = nn.Linear(head["hidden"] or d_model, len(self.labels))

    def forward(self, acceleration, valid=None):
        """Log-probabilities [B, T, K]; arguments as of `Encoder.forward`."""
        layers = self.encoder(acceleration, valid)[:, :, self.chosen]  # [B, T, n, D]
        x = torch.einsum("btnd,n->btd", layers, self.layer_weight)
        if self.hidden is not None:
            x = functional.relu(self.hidden(x))
        return functional.log_softmax(self.out(x), dim=-1)


def load(folder: str | Path, features: str = "last") -> Encoder | Classifier:
    """The encoder or classifier of a folder written by `selfpab export --format folder`, in evaluation mode.

    Args:
      features: what an encoder gives, see there; a classifier gives log-probabilities whatever it says.

    Raises:
      FileNotFoundError: the folder lacks a file.
      ValueError: a file is damaged, or its tensors are not those of the config.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors", "normalization.npz"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: no {name} in it, expected what `selfpab export --format folder` wrote")
    try:
        config = json.loads((folder / "config.json").read_text())
        model = Classifier(config) if config.get("classifier") else Encoder(config, features)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
            raise
        raise ValueError(f"{folder / 'config.json'} is damaged or incomplete ({error})") from error
    content = (folder / "model.safetensors").read_bytes()
    if zlib.crc32(content) != config.get("weights_crc32"):
        raise ValueError(f"{folder}: model.safetensors does not match its checksum in config.json: copy both again")
    tensors = {name: torch.from_numpy(array) for name, array in read_safetensors(content).items()}
    encoder = model.encoder if isinstance(model, Classifier) else model
    # A weight for each layer is new: it is trained here, not in pre-training.
    new = {"layer_weight"} if model is encoder else set()
    expected = {name: tensor.shape for name, tensor in model.state_dict().items() if name not in new}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if wrong := sorted(name for name in expected | found if expected.get(name) != found.get(name)):
        raise ValueError(f"{folder}: model.safetensors does not fit config.json: {', '.join(wrong[:5])}")
    model.load_state_dict(tensors, strict=not new)
    with np.load(folder / "normalization.npz", allow_pickle=False) as file:
        mean, std = (file[f"{encoder.magnitude}_{name}"].astype(np.float32) for name in ("mean", "std"))
    if mean.shape != tuple(encoder.mean.shape) or std.shape != mean.shape:
        raise ValueError(f"{folder}: normalization.npz has {mean.size} values, expected {encoder.mean.numel()}")
    encoder.mean.copy_(torch.from_numpy(mean))
    encoder.std.copy_(torch.from_numpy(std))
    return model.eval()


@torch.no_grad()
def over_recording(model: Encoder | Classifier, acceleration, stride: int = 300, batch: int = 8) -> torch.Tensor:
    """Features [T, ...] of every frame of one recording without gaps, from windows of 5 minutes.

    Frames that several windows cover are averaged; of a classifier, as probabilities. Dropout is off meanwhile.

    Args:
      acceleration: [S, C] in g at 50 Hz, S >= 50, finite; an array or a tensor.
      stride: frames from one window's start to the next one's, 1 to 599.
      batch: windows at a time.
    """
    if not isinstance(acceleration, torch.Tensor):
        acceleration = torch.from_numpy(np.array(acceleration, np.float32))
    encoder, device = model.encoder if isinstance(model, Classifier) else model, next(model.parameters()).device
    signal, width = acceleration.to(device), len(encoder.channels)
    if signal.ndim != 2 or signal.shape[1] != width or len(signal) < N_FFT:
        raise ValueError(f"the recording has shape {tuple(signal.shape)}, expected [S, {width}] with S >= {N_FFT}")
    if not signal.isfinite().all():
        first = int((~signal.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"sample {first} of the recording is not finite and spoils its whole window: cut it there")
    if not 1 <= stride <= WINDOW_FRAMES or batch < 1:
        raise ValueError(f"stride is {stride} and batch {batch}, expected 1 to {WINDOW_FRAMES} and 1 or more")
    frames, training = (len(signal) - N_FFT) // HOP + 1, model.training
    model.eval()
    last = max(0, frames - WINDOW_FRAMES)
    starts = [*range(0, last, stride), last]
    length = min(frames, WINDOW_FRAMES)
    out, count = None, torch.zeros(frames, device=device)
    for first in range(0, len(starts), batch):
        chosen = starts[first : first + batch]
        windows = torch.stack([signal[s * HOP : (s + length - 1) * HOP + N_FFT] for s in chosen])
        found = model(windows)
        found = found.exp() if isinstance(model, Classifier) else found
        for start, window in zip(chosen, found, strict=True):
            out = torch.zeros(frames, *window.shape[1:], device=device) if out is None else out
            out[start : start + length] += window
            count[start : start + length] += 1
    model.train(training)
    return out / count.reshape(-1, *[1] * (out.ndim - 1))


def sinusoids(d_model: int) -> np.ndarray:
    """Positions float32 [10000, D], sine at even and cosine at odd features; angles in float64."""
    rate = np.exp(-math.log(10_000.0) * np.arange(0, d_model, 2) / d_model)
    angle = np.arange(MAX_FRAMES)[:, None] * rate  # [10000, D / 2]
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(MAX_FRAMES, d_model).astype(np.float32)


def read_safetensors(content: bytes) -> dict[str, np.ndarray]:
    """The float32 tensors of a .safetensors file by name."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        part = bytearray(content[start + begin : start + end])  # PyTorch wants memory that it may write to
        tensors[name] = np.frombuffer(part, np.float32).reshape(entry["shape"])
    return tensors


def _check_acceleration(acceleration, channels: tuple[str, ...]) -> None:
    if not isinstance(acceleration, torch.Tensor):
        raise ValueError(f"acceleration is a {type(acceleration).__name__}, expected a tensor: torch.from_numpy(...)")
    shape = tuple(acceleration.shape)
    if len(shape) != 3 or shape[2] != len(channels) or shape[1] < N_FFT or shape[0] < 1:
        raise ValueError(
            f"acceleration has shape {shape}, expected [B, S, {len(channels)}] with the channels "
            f"{', '.join(channels)} in g and S >= {N_FFT} samples at {SAMPLE_RATE_HZ} Hz"
        )
    if acceleration.shape[1] >= (MAX_FRAMES + 1) * HOP + HOP:
        raise ValueError(
            f"acceleration has {acceleration.shape[1]:,} samples, expected below {(MAX_FRAMES + 2) * HOP:,} "
            "(83 minutes) at a time: cut it into windows, or use over_recording"
        )
