"""What the TFDS builders of unlabelled cohorts share: features, the folder given by hand, examples.

Nothing of these is public: who has been granted access gives the folder. One example is one recording.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders.labelled_builder import MAX_GAP_S, SCALE_G, signal_features
from data_pipelines.contract import Recording
from data_pipelines.resample import resample
from data_pipelines.windows import quantise


def info(
    builder: tfds.core.DatasetBuilder,
    *,
    description: str,
    homepage: str,
    citation: str,
    access: str,
    channels: Sequence[str],
    rate_hz: int,
) -> tfds.core.DatasetInfo:
    """The builder's DatasetInfo; its metadata hold rate in Hz, channels and how access is granted."""
    name = tfds.features.Text()  # a subject may have several recordings
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(signal_features(channels) | {"name": name}),
        homepage=homepage,
        citation=citation,
        license=access,
        metadata=tfds.core.MetadataDict(sample_rate_hz=rate_hz, channels=list(channels), licence=access),
    )


def given_recordings(dl_manager: tfds.download.DownloadManager, layout: str, access: str) -> Iterator[Recording]:
    """The recordings of the folder given by hand, read one after the other.

    Raises:
      FileNotFoundError: no folder is given, or nothing in it fits the layout.
    """
    try:
        folder = Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS' way to say that the manual folder does not exist
        expected = sources.LAYOUTS[layout].expected
        raise FileNotFoundError(
            f"these data cannot be downloaded ({access}): give the folder that holds them, with {expected}"
        ) from None
    return sources.recordings(layout, folder)


def examples(recordings: Iterable[Recording], rate_hz: int) -> Iterator[tuple[str, dict]]:
    """(name, features) of each recording, brought to `rate_hz` as `selfpab prepare` does; clipped beyond 8 g."""
    for recording in recordings:
        recording = resample(recording, rate_hz, MAX_GAP_S)
        counts, _ = quantise(recording.acceleration, SCALE_G)
        yield (
            recording.name,
            {
                "subject": recording.subject,
                "name": recording.name,
                "acceleration": counts,
                "scale": np.float32(SCALE_G),
                "time": recording.time,
            },
        )
