"""What the TFDS builders of labelled data sets share: features, description, examples.

One example is one person's whole recording, at 50 Hz as a rule. Tensors are stored as raw bytes: TFDS' default writes
int16 as varints, seven times slower to read and a fifth larger.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.contract import Recording
from data_pipelines.resample import fourier_resample
from data_pipelines.windows import quantise
from selfpab_jax.signals.stft import SAMPLE_RATE_HZ

SCALE_G = 1 / 4096  # reaches +-8 g, the range of most sensors
WIDE_SCALE_G = 1 / 2048  # reaches +-16 g
MAX_GAP_S = 0.5  # resampling does not lead over longer gaps: they stay gaps
MANUAL = "Put the published files, unpacked, into the manual folder; else they are downloaded."


def signal_features(channels: Sequence[str]) -> dict[str, tfds.features.FeatureConnector]:
    """What every recording holds: subject, acceleration int16 [C, S] with its scale, time int64 [S] in microseconds."""
    raw = tfds.features.Encoding.BYTES
    return {
        "subject": tfds.features.Text(),
        "acceleration": tfds.features.Tensor(shape=(len(channels), None), dtype=np.int16, encoding=raw),
        "scale": tfds.features.Scalar(dtype=np.float32),
        "time": tfds.features.Tensor(shape=(None,), dtype=np.int64, encoding=raw),
    }


def info(
    builder: tfds.core.DatasetBuilder,
    *,
    description: str,
    homepage: str,
    citation: str,
    licence: str,
    activities: Mapping[int, str],
    channels: Sequence[str],
    rate_hz: int = SAMPLE_RATE_HZ,
) -> tfds.core.DatasetInfo:
    """The builder's DatasetInfo; its metadata hold activities by code, rate in Hz, channels and licence."""
    label = tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding=tfds.features.Encoding.BYTES)
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(signal_features(channels) | {"label": label}),
        homepage=homepage,
        citation=citation,
        license=licence,
        metadata=tfds.core.MetadataDict(
            activities={str(code): name for code, name in activities.items()},
            sample_rate_hz=rate_hz,
            channels=list(channels),
            licence=licence,
        ),
    )


def examples(
    recordings: Iterable[Recording], scale_g: float = SCALE_G, rate_hz: int = SAMPLE_RATE_HZ
) -> Iterator[tuple[str, dict]]:
    """(subject, features) of each recording, brought to `rate_hz`; values beyond 32768 * scale_g are clipped.

    Args:
      recordings: labelled, one a person: several sessions of a person are one recording with gaps between them.
      scale_g: g per count; `WIDE_SCALE_G` for sensors that reach beyond +-8 g.
    """
    for recording in recordings:
        recording = fourier_resample(recording, rate_hz, MAX_GAP_S)
        counts, _ = quantise(recording.acceleration, scale_g)
        yield (
            recording.subject,
            {
                "subject": recording.subject,
                "acceleration": counts,
                "scale": np.float32(scale_g),
                "label": recording.label,
                "time": recording.time,
            },
        )
