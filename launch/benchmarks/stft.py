"""Spectrograms of a batch of windows: this project's jitted ones beside torch.stft."""

import sys
from functools import partial

import jax
import numpy as np
import torch

from data_pipelines.contract import fake_batch
from launch.benchmarks.timing import Row, compare, in_turns, settled
from selfpab_jax.objectives.method import acceleration_g
from selfpab_jax.signals.stft import HOP, N_FFT, magnitude_spectrogram

TOLERANCE = 1e-5  # relative to the largest magnitude


def torch_spectrogram(acceleration):
    """Magnitudes [..., T, C * F] of [..., C, S] by torch.stft in the published convention."""
    *lead, channels, samples = acceleration.shape
    flat = acceleration.reshape(-1, samples)  # [B * C, S]
    window = torch.hann_window(N_FFT)
    found = torch.stft(flat, N_FFT, HOP, window=window, center=False, return_complex=True).abs()  # [B * C, F, T]
    found = found.reshape(*lead, channels, *found.shape[1:]).movedim(-1, -3)  # [..., T, C, F]
    return found.flatten(-2).contiguous()  # [..., T, C * F]


def measure(batch: int, repeats: int) -> list[Row]:
    """Rows of the comparison, after a check that both give the same numbers.

    Raises:
      ValueError: they do not.
    """
    host = np.asarray(acceleration_g(fake_batch(batch)))  # [B, C, S]
    on_device, tensor = jax.device_put(host), torch.from_numpy(host)
    jitted = jax.jit(magnitude_spectrogram)
    candidates = {
        "ours": lambda: jitted(on_device).block_until_ready(),
        "torch.stft": lambda: torch_spectrogram(tensor),
        "torch.stft window by window": lambda: torch.stack([torch_spectrogram(window) for window in tensor]),
    }
    expected = np.asarray(candidates["ours"]())
    difference = np.abs(expected - candidates["torch.stft"]().numpy()).max() / expected.max()
    if not difference < TOLERANCE:
        raise ValueError(f"spectrograms differ from torch.stft by {difference:.1e} of the largest value")
    print(f"largest difference of the spectrograms: {difference:.1e} of the largest value", file=sys.stderr)
    times = in_turns({name: partial(settled, run) for name, run in candidates.items()}, repeats, "spectrograms")
    shape = "x".join(map(str, host.shape))
    rows = []
    for name in list(candidates)[1:]:
        rows += compare(f"STFT {shape} vs {name}", times["ours"], times[name], windows=batch)
    return rows
