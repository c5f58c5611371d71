"""Mean and standard deviation of spectrogram frames: counted once each, in float64, merged in a fixed order.

The published deviations are those of window means (a slip of the reference code); these are over frames.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from selfpab_jax.signals.stft import HOP, N_FFT, N_FRAMES, SAMPLE_RATE_HZ, log_or_linear
from selfpab_jax.signals.stft import magnitude_spectrogram as spectrogram_of

RATE_HZ = SAMPLE_RATE_HZ  # the transform is one of 50 Hz signals: at other rates there are no statistics
MAGNITUDES = ("linear", "log")
BLOCK = N_FRAMES + 1  # frames computed at once: 15,000 fresh samples


@dataclasses.dataclass(frozen=True)
class Moments:
    """Frames counted, mean and summed squared deviation, float64 [2, F]: linear, then log(1 + x).

    F is 26 times the number of channels, and 1 where no frame has been counted.
    """

    frames: int
    mean: np.ndarray
    squares: np.ndarray

    def to_json(self) -> dict:
        """Plain lists; floats survive exactly."""
        return {"frames": self.frames, "mean": self.mean.tolist(), "squares": self.squares.tolist()}

    @classmethod
    def from_json(cls, plain: dict) -> "Moments":
        """The inverse of `to_json`."""
        return cls(plain["frames"], np.asarray(plain["mean"]), np.asarray(plain["squares"]))


def empty() -> Moments:
    """Moments of no frame."""
    return Moments(0, np.zeros((2, 1)), np.zeros((2, 1)))  # adds to any number of features


def merge(parts: Iterable[Moments]) -> Moments:
    """Moments of all frames together; the order of `parts` decides the last bits (Chan et al. 1979)."""
    total = empty()
    for part in parts:
        frames = total.frames + part.frames
        if part.frames:
            shift = part.mean - total.mean
            mean = total.mean + shift * (part.frames / frames)
            squares = total.squares + part.squares + shift**2 * (total.frames * part.frames / frames)
            total = Moments(frames, mean, squares)
    return total


def covered(starts: np.ndarray, window: int) -> list[slice]:
    """The sample ranges that windows of `window` samples from `starts` (sorted) cover, those that touch merged."""
    runs: list[slice] = []
    for start in starts.tolist():
        if runs and start <= runs[-1].stop:
            runs[-1] = slice(runs[-1].start, start + window)
        else:
            runs.append(slice(start, start + window))
    return runs


def of_stretch(counts: np.ndarray, scale: float) -> Moments:
    """Moments of the frames of one stretch.

    Args:
      counts: int16 [C, S], S >= 50.
      scale: g per count.
    """
    total = (counts.shape[1] - N_FFT) // HOP + 1
    return merge(_block(counts, scale, first, min(first + BLOCK, total)) for first in range(0, total, BLOCK))


def _block(counts: np.ndarray, scale: float, first: int, last: int) -> Moments:
    """Moments of frames `first` to `last` (exclusive)."""
    samples = counts[:, first * HOP : (last - 1) * HOP + N_FFT]
    linear = spectrogram_of(samples.astype(np.float32) * np.float32(scale))  # [T, F]
    frames = np.stack([log_or_linear(linear, kind) for kind in MAGNITUDES]).astype(np.float64)  # [2, T, F]
    mean = frames.mean(axis=1)
    return Moments(last - first, mean, ((frames - mean[:, None]) ** 2).sum(axis=1))


def statistics(moments: Moments) -> dict[str, np.ndarray]:
    """What normalization.npz holds: linear_mean, linear_std, log_mean, log_std float32 [F] and frames.

    The deviations are those of the population, and 0 where a feature never changes. Of no frame: only frames.
    """
    if moments.frames == 0:
        return {"frames": np.asarray(0, np.int64)}
    deviation = np.sqrt(moments.squares / moments.frames)
    named = {"frames": np.asarray(moments.frames, np.int64)}
    for index, kind in enumerate(MAGNITUDES):
        named[f"{kind}_mean"] = moments.mean[index].astype(np.float32)
        named[f"{kind}_std"] = deviation[index].astype(np.float32)
    return named
