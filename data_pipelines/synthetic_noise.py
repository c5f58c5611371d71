"""What the synthetic cohort is stirred with: slow noise, bumps, soft edges and skewed sensors."""

import numpy as np

from selfpab_jax.signals.stft import SAMPLE_RATE_HZ


def skew(rng: np.random.Generator) -> np.ndarray:
    """Rotation by 2 to 15 degrees about a random axis, [3, 3] (Rodrigues)."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(np.clip(abs(rng.normal(0, 7)), 2, 15))
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def wander(rng: np.random.Generator, n: int, seconds: float) -> np.ndarray:
    """float32 [S] noise with a knot of unit variance every `seconds`, correlated from knot to knot."""
    knots = rng.standard_normal(int(n / (seconds * SAMPLE_RATE_HZ)) + 3)
    knots = (knots[1:] + 0.5 * knots[:-1]) / np.sqrt(1.25)
    at = np.arange(n) / (seconds * SAMPLE_RATE_HZ)
    return np.interp(at, np.arange(len(knots)), knots).astype(np.float32)


def spread(x: np.ndarray, seconds: float) -> np.ndarray:
    """float32 [S] with every impulse of `x` drawn out to a bump of its height, `seconds` long."""
    bump = np.hanning(int(seconds * SAMPLE_RATE_HZ) | 1)
    return np.convolve(x, bump, "full")[len(bump) // 2 :][: len(x)].astype(np.float32)


def smooth(x: np.ndarray, seconds: float) -> np.ndarray:
    """[S] moved through a Hann-shaped window `seconds` long, ends held."""
    taps = int(seconds * SAMPLE_RATE_HZ) | 1
    kernel = np.hanning(taps + 2)[1:-1]
    return np.convolve(np.pad(x, taps // 2, mode="edge"), kernel / kernel.sum(), "valid")
