"""What the TFDS builders of the published csv layout share: features, description, examples.

One example is one person's whole recording. Tensors are stored as raw bytes: TFDS' default writes int16 as
varints, seven times slower to read and a fifth larger.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.readers import har_csv
from data_pipelines.windows import quantise
from selfpab_jax.signals.stft import CHANNELS, SAMPLE_RATE_HZ

SCALE_G = 1 / 4096  # reaches +-8 g, the sensors' range
LICENCE = "CC BY 4.0"
MANUAL = "Put the published csv files, one per subject, into the manual folder; else they are downloaded."


def info(builder: tfds.core.DatasetBuilder, *, description: str, homepage: str, citation: str) -> tfds.core.DatasetInfo:
    """The builder's DatasetInfo; its metadata hold activities by code, rate in Hz, channels and licence."""
    raw = tfds.features.Encoding.BYTES
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(
            {
                "subject": tfds.features.Text(),
                "acceleration": tfds.features.Tensor(shape=(len(CHANNELS), None), dtype=np.int16, encoding=raw),
                "scale": tfds.features.Scalar(dtype=np.float32),
                "label": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding=raw),
                "time": tfds.features.Tensor(shape=(None,), dtype=np.int64, encoding=raw),
            }
        ),
        homepage=homepage,
        citation=citation,
        license=LICENCE,
        metadata=tfds.core.MetadataDict(
            activities={str(code): name for code, name in har_csv.ACTIVITIES[builder.name].items()},
            sample_rate_hz=SAMPLE_RATE_HZ,
            channels=list(CHANNELS),
            licence=LICENCE,
        ),
    )


def source_folder(dl_manager: tfds.download.DownloadManager, url: str) -> Path:
    """The folder given by hand if there is one, else the unpacked public download.

    The archive's checksum is not pinned, as the publisher may repack it: the reader checks every row instead.
    """
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError:  # TFDS' way to say that the manual folder does not exist
        return Path(dl_manager.download_and_extract(url))


def csv_files(folder: Path) -> list[Path]:
    """The csv files in and below a folder, by name.

    Raises:
      FileNotFoundError: no such folder, or no csv file in it.
    """
    files = sorted(folder.rglob("*.csv"), key=lambda path: path.name)
    if not files:
        raise FileNotFoundError(f"{folder}: no csv file found, expected one per subject as published")
    return files


def examples(folder: Path, layout: str) -> Iterator[tuple[str, dict]]:
    """(subject, features) of each recording; values beyond the sensors' +-8 g are clipped.

    Raises:
      ValueError: a file that does not fit the layout, naming file and row.
    """
    for path in csv_files(folder):
        recording = har_csv.read(path, layout)
        counts, _ = quantise(recording.acceleration, SCALE_G)
        yield (
            recording.name,
            {
                "subject": recording.subject,
                "acceleration": counts,
                "scale": np.float32(SCALE_G),
                "label": recording.label,
                "time": recording.time,
            },
        )
