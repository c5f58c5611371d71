"""Data sets as TFDS stores them: build a version folder, read the recordings of a labelled one. No TensorFlow."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import ukb_accelerometer
from data_pipelines.builders.capture24 import Capture24
from data_pipelines.builders.har70plus import Har70plus
from data_pipelines.builders.harth import Harth
from data_pipelines.builders.hunt4 import Hunt4
from data_pipelines.builders.opportunity import Opportunity
from data_pipelines.builders.pamap2 import Pamap2
from data_pipelines.builders.realworld import Realworld
from data_pipelines.builders.usc_had import UscHad
from data_pipelines.contract import Labelled
from data_pipelines.readers.capture24 import activities_of, codes_of
from data_pipelines.windows import segments

# The keys are names of `sources.LAYOUTS` as well: what a builder stores is what that layout reads.
BUILDERS = {  # of labelled sets
    "harth": Harth,
    "har70plus": Har70plus,
    "pamap2": Pamap2,
    "usc_had": UscHad,
    "opportunity": Opportunity,
    "realworld": Realworld,
    "capture24": Capture24,
}
UNLABELLED = {"hunt4": Hunt4, "ukb_accelerometer": ukb_accelerometer.UkbAccelerometer}
LAYOUTS = {"ukb_accelerometer": ukb_accelerometer.LAYOUT}  # of those sets that are not called like their layout


def build(name: str, source_dir: str | Path | None, data_dir: str | Path) -> Path:
    """The version folder `data_dir/<name>/<version>`, written as ArrayRecord.

    Args:
      name: one of BUILDERS or UNLABELLED.
      source_dir: folder with the published files; None downloads them, where that is possible.
      data_dir: where TFDS keeps its data sets.

    Raises:
      ValueError: unknown name, a file that does not fit the layout, or a `data_dir` inside unlabelled recordings.
      FileNotFoundError: no such `source_dir`, nothing in it that fits the layout, or None where nothing is public.
      FileExistsError: this version is already built there.
      OSError: the download failed.
    """
    known = BUILDERS | UNLABELLED
    if name not in known:
        raise ValueError(f"data set is '{name}', expected one of {', '.join(known)}")
    # Never "parquet": TFDS drops rows when it writes that.
    builder = known[name](data_dir=str(data_dir), file_format="array_record")
    folder = Path(builder.data_path)
    download = tfds.download.DownloadConfig()
    if source_dir is not None:
        sources.find(LAYOUTS.get(name, name), source_dir)
        download.manual_dir = Path(source_dir)
        if name in UNLABELLED and folder.resolve().is_relative_to(Path(source_dir).resolve()):
            # Where every folder may be a subject, what is being written would be taken for one.
            raise ValueError(f"{folder} lies inside the recordings {source_dir}: choose another data_dir")
    if folder.exists():
        raise FileExistsError(f"{folder} already exists: use it, or delete it to build {name} again")
    builder.download_and_prepare(download_config=download)
    return folder


def labelled_from_tfds(
    version_folder: str | Path, max_gap_s: float = 5.0, label_set: str | None = None
) -> list[Labelled]:
    """All recordings of a TFDS version folder, of all its splits, in order of their names.

    Args, Raises: as `each_from_tfds`.
    """
    return sorted(each_from_tfds(version_folder, max_gap_s, label_set), key=lambda recording: recording.name)


def each_from_tfds(
    version_folder: str | Path, max_gap_s: float = 5.0, label_set: str | None = None
) -> Iterator[Labelled]:
    """The recordings of a TFDS version folder one after the other, where all of them take too much memory.

    They come split by split, in the order in which TFDS stores them: by the hash of their names.

    Args:
      version_folder: the folder with dataset_info.json, such as `.../harth/1.2.0`.
      max_gap_s: longest time gap in seconds that a segment spans.
      label_set: which labels, where the data set has several (Capture-24); None: those of its benchmark.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a TFDS data set that these builders did not write, one without labels, or an unknown label set.
    """
    folder = Path(version_folder)
    if not (folder / "dataset_info.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no dataset_info.json found, expected a TFDS version folder like harth/1.2.0"
        )
    metadata = _metadata(folder)
    code, activities = _label_set(folder, metadata, label_set)
    # `tfds.data_source` does not find local sets; the builder of the folder does.
    builder = tfds.builder_from_directory(str(folder))
    for split in builder.info.splits:
        source = builder.as_data_source(split=split)
        for example in map(source.__getitem__, range(len(source))):
            yield Labelled(
                subject=example["subject"].decode(),
                name=example["subject"].decode(),
                counts=example["acceleration"],
                scale_g=float(example["scale"]),
                label=example["label"] if code is None else code[example["label"]],
                time=example["time"],
                segments=tuple(segments(example["time"], max_gap_s)),
                activities=activities,
                channels=tuple(metadata["channels"]),
                rate_hz=int(metadata["sample_rate_hz"]),
            )


def _label_set(folder: Path, metadata: dict, chosen: str | None) -> tuple[np.ndarray | None, dict[int, str]]:
    """What turns stored codes into those of the chosen label set (None: nothing does), and their names."""
    stored = {int(code): activity for code, activity in metadata["activities"].items()}
    if "label_sets" not in metadata:
        if chosen is not None:
            raise ValueError(f"{folder}: label set is '{chosen}', this data set has a single one: leave it out")
        return None, stored
    sets = metadata["label_sets"]
    chosen = chosen or metadata["label_set"]
    if chosen not in sets:
        raise ValueError(f"{folder}: label set is '{chosen}', expected one of {', '.join(sets)}")
    return codes_of(sets[chosen], [stored[code] for code in range(len(stored))]), activities_of(sets[chosen])


def _metadata(folder: Path) -> dict:
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text()) if path.is_file() else {}
    if "sample_rate_hz" not in metadata or "channels" not in metadata:
        raise ValueError(
            f"{folder}: not written by this project's builders, expected labelled recordings with activities"
        )
    if "activities" not in metadata:
        raise ValueError(f"{folder}: these recordings have no labels, choose a labelled data set")
    return metadata
