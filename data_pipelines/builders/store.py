"""The labelled public sets as TFDS stores them: build a version folder, read one back. No TensorFlow."""

import json
from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders.har70plus import Har70plus
from data_pipelines.builders.harth import Harth
from data_pipelines.builders.opportunity import Opportunity
from data_pipelines.builders.pamap2 import Pamap2
from data_pipelines.builders.realworld import Realworld
from data_pipelines.builders.usc_had import UscHad
from data_pipelines.contract import Labelled
from data_pipelines.windows import segments

# The keys are names of `sources.LAYOUTS` as well: what a builder stores is what that layout reads.
BUILDERS = {
    "harth": Harth,
    "har70plus": Har70plus,
    "pamap2": Pamap2,
    "usc_had": UscHad,
    "opportunity": Opportunity,
    "realworld": Realworld,
}


def build(name: str, source_dir: str | Path | None, data_dir: str | Path) -> Path:
    """The version folder `data_dir/<name>/<version>`, written as ArrayRecord.

    Args:
      name: one of BUILDERS.
      source_dir: folder with the published files; None downloads them.
      data_dir: where TFDS keeps its data sets.

    Raises:
      ValueError: unknown name, or a file that does not fit the layout.
      FileNotFoundError: no such `source_dir`, or nothing in it that fits the layout.
      FileExistsError: this version is already built there.
      OSError: the download failed.
    """
    if name not in BUILDERS:
        raise ValueError(f"data set is '{name}', expected one of {', '.join(BUILDERS)}")
    download = tfds.download.DownloadConfig()
    if source_dir is not None:
        sources.find(name, source_dir)
        download.manual_dir = Path(source_dir)
    # Never "parquet": TFDS drops rows when it writes that.
    builder = BUILDERS[name](data_dir=str(data_dir), file_format="array_record")
    folder = Path(builder.data_path)
    if folder.exists():
        raise FileExistsError(f"{folder} already exists: use it, or delete it to build {name} again")
    builder.download_and_prepare(download_config=download)
    return folder


def labelled_from_tfds(version_folder: str | Path, max_gap_s: float = 5.0) -> list[Labelled]:
    """All recordings of a TFDS version folder, in order of their names.

    Args:
      version_folder: the folder with dataset_info.json, such as `.../harth/1.2.0`.
      max_gap_s: longest time gap in seconds that a segment spans.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a TFDS data set that these builders did not write.
    """
    folder = Path(version_folder)
    if not (folder / "dataset_info.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no dataset_info.json found, expected a TFDS version folder like harth/1.2.0"
        )
    metadata = _metadata(folder)
    # `tfds.data_source` does not find local sets; the builder of the folder does.
    source = tfds.builder_from_directory(str(folder)).as_data_source(split="train")
    recordings = [
        Labelled(
            subject=example["subject"].decode(),
            name=example["subject"].decode(),
            counts=example["acceleration"],
            scale_g=float(example["scale"]),
            label=example["label"],
            time=example["time"],
            segments=tuple(segments(example["time"], max_gap_s)),
            activities={int(code): activity for code, activity in metadata["activities"].items()},
            channels=tuple(metadata["channels"]),
            rate_hz=int(metadata["sample_rate_hz"]),
        )
        for example in map(source.__getitem__, range(len(source)))
    ]
    # TFDS stores them by the hash of their name.
    return sorted(recordings, key=lambda recording: recording.name)


def _metadata(folder: Path) -> dict:
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text()) if path.is_file() else {}
    if "activities" not in metadata:
        raise ValueError(
            f"{folder}: not written by this project's builders, expected labelled recordings with activities"
        )
    return metadata
