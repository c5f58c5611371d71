"""What crosses the border between the data room and everything else.

Pre-training batches (dicts of NumPy arrays)
    acceleration  int16   [B, C, S]  planar counts; g = counts * scale. Channels, rate and window length are those of
                                     the prepared folder: six channels, 15,000 samples at 50 Hz unless chosen otherwise
    scale         float32 [B]        g per count
Evaluation batches carry one key more
    valid         bool    [B]        False for the rows that pad the last batch
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from selfpab_jax.signals.stft import CHANNELS, SAMPLE_RATE_HZ, WINDOW_SAMPLES

UNLABELLED = -1
PLACES = ("back", "thigh", "wrist")  # where sensors are worn


def channels_of(sensors: Sequence[str]) -> tuple[str, ...]:
    """Names of the channels of these sensors: ("wrist_x", "wrist_y", "wrist_z") of ("wrist",)."""
    return tuple(f"{sensor}_{axis}" for sensor in sensors for axis in "xyz")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One person's recording as a reader yields it: in g, with its time gaps left in.

    Attributes:
      subject: who wore the sensors; splits are made by it.
      name: unique within the data set; becomes the shard's file name.
      acceleration: float32 [S, C], g, columns in the order of `channels`.
      time: int64 [S], microseconds since 1970, strictly increasing.
      label: int16 [S], the data set's own codes, -1 where unlabelled; None if the layout has no labels.
      activities: names of the codes.
      channels: names of the columns, three a sensor, such as wrist_x, wrist_y, wrist_z.
      rate_hz: nominal samples a second between gaps.
    """

    subject: str
    name: str
    acceleration: np.ndarray
    time: np.ndarray
    label: np.ndarray | None = None
    activities: Mapping[int, str] = dataclasses.field(default_factory=dict)
    channels: tuple[str, ...] = CHANNELS
    rate_hz: float = SAMPLE_RATE_HZ


@dataclasses.dataclass(frozen=True)
class Labelled:
    """One person's whole labelled recording, quantised, with the slices between long gaps.

    Attributes:
      counts: int16 [C, S]; g = counts * scale_g.
      label: int16 [S], the data set's own codes, -1 where unlabelled.
      time: int64 [S], microseconds since 1970.
      segments: sample ranges without a gap longer than the data set's `max_gap`.
      activities: names of the codes.
      channels: names of the rows of `counts`.
      rate_hz: samples a second.
    """

    subject: str
    name: str
    counts: np.ndarray
    scale_g: float
    label: np.ndarray
    time: np.ndarray
    segments: tuple[slice, ...]
    activities: Mapping[int, str]
    channels: tuple[str, ...] = CHANNELS
    rate_hz: int = SAMPLE_RATE_HZ


def fake_batch(
    batch_size: int, seed: int = 0, *, valid: bool = False, channels: int = len(CHANNELS), samples: int = WINDOW_SAMPLES
) -> dict[str, np.ndarray]:
    """A batch of the right keys, shapes and types, filled with 1 g plus noise; for tests and benchmarks."""
    rng = np.random.default_rng(seed)
    counts = rng.normal(0, 200, (batch_size, channels, samples)) + 4096 * (np.arange(channels) % 3 == 0)[:, None]
    batch = {
        "acceleration": counts.astype(np.int16),
        "scale": np.full(batch_size, 1 / 4096, np.float32),
    }
    return batch | ({"valid": np.ones(batch_size, bool)} if valid else {})
