"""Hand-crafted features of many windows at once, beside a loop over windows and signals with SciPy."""

import statistics
import sys
from functools import partial

import numpy as np
from scipy.signal import butter, filtfilt
from scipy.stats import kurtosis, skew, variation

from data_pipelines.contract import fake_batch
from launch.benchmarks.timing import in_turns, settled
from selfpab_jax.baselines import hand_crafted

SAMPLES = 250  # 5 s
TOLERANCE = 1e-9  # relative to the largest value of a feature
LOW_PASS = butter(4, 1, fs=50)
QUARTERS = (0, SAMPLES // 4, SAMPLES // 2, 3 * SAMPLES // 4, SAMPLES - 1)
FREQUENCY = np.fft.rfftfreq(SAMPLES)


def one_window(axes: np.ndarray) -> list[float]:
    """The 161 features of a window [6, S], a signal after another."""
    signals = [*axes, np.linalg.norm(axes[:3], axis=0), np.linalg.norm(axes[3:], axis=0)]
    gravity = [filtfilt(*LOW_PASS, signal) for signal in signals]
    movement = [signal - slow for signal, slow in zip(signals, gravity, strict=True)]
    ordered = [np.sort(slow) for slow in gravity]
    found = [np.mean(slow) for slow in gravity] + [variation(slow) for slow in gravity]
    found += [np.std(slow) for slow in gravity] + [slow[at] for at in QUARTERS for slow in ordered]
    found += [skew(fast) for fast in movement] + [kurtosis(fast) for fast in movement]
    found += [np.sum(fast**2) for fast in movement]
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    found += [np.corrcoef(movement[i], movement[j])[0, 1] for i, j in [*pairs, (6, 7)]]
    found += [np.mean([gravity[i], gravity[j]]) for i in range(3) for j in range(3, 6)]
    amplitude = [np.abs(np.fft.rfft(fast)) for fast in movement]
    found += [np.mean(one) for one in amplitude] + [FREQUENCY[np.argmax(one)] for one in amplitude]
    found += [np.max(one) for one in amplitude] + [np.sum(one**2) for one in amplitude]
    found += [np.std(one) for one in amplitude]
    return found + [np.sum(FREQUENCY * one) / np.sum(one) for one in amplitude]


def measure(batch: int, repeats: int) -> dict:
    """Windows a second of both and seconds of a core, after a check that both give the same features.

    Raises:
      ValueError: they do not.
    """
    made_up = fake_batch(batch, samples=SAMPLES)
    windows = made_up["acceleration"] * made_up["scale"][:, None, None].astype(np.float64)  # [B, C, S]
    candidates = {
        "ours": lambda: hand_crafted.features(windows),
        "loop": lambda: np.array([one_window(window) for window in windows]),
    }
    expected = candidates["loop"]()
    difference = float((np.abs(candidates["ours"]() - expected) / np.abs(expected).max(0)).max())
    if not difference < TOLERANCE:
        raise ValueError(f"the features differ from SciPy's by {difference:.1e} of the largest value of a feature")
    print(f"largest difference of the features: {difference:.1e} of the largest value of each", file=sys.stderr)
    times = in_turns({name: partial(settled, run) for name, run in candidates.items()}, repeats, "hand-crafted")
    row = {"windows": batch, "difference": difference}
    for name, found in times.items():
        row[f"{name}_per_s"] = batch / statistics.median(seconds.wall for seconds in found)
        row[f"{name}_per_core_s"] = batch / statistics.median(seconds.cpu for seconds in found)
    row["ratio"] = row["ours_per_s"] / row["loop_per_s"]
    row["core_ratio"] = row["ours_per_core_s"] / row["loop_per_core_s"]
    return row
