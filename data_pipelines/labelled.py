"""Whole labelled recordings of a prepared folder, or of a TFDS version folder."""

from pathlib import Path

import numpy as np

from data_pipelines.contract import Labelled
from data_pipelines.manifest import MANIFEST, read_manifest, read_npz

TFDS_INFO = "dataset_info.json"


def load_labelled(folder: str | Path) -> list[Labelled]:
    """All labelled recordings of a folder in order of their names, checksums verified.

    Args:
      folder: a prepared folder (manifest.json) or a TFDS version folder (dataset_info.json).

    Raises:
      FileNotFoundError: neither of them, or a missing file.
      ValueError: a damaged file, or recordings without labels.
    """
    folder = Path(folder)
    if (folder / TFDS_INFO).is_file():
        from data_pipelines.builders import labelled_from_tfds  # imports tensorflow_datasets

        return labelled_from_tfds(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(
            f"{folder} holds neither {MANIFEST} (a prepared folder) nor {TFDS_INFO} (a TFDS version folder)"
        )
    manifest = read_manifest(folder)
    activities = {int(code): name for code, name in manifest["activities"].items()}
    entries = [entry for entry in manifest["recordings"] if entry["labelled"]]
    if not entries:
        raise ValueError(f"{folder}: layout {manifest['layout']} has no labels, choose a labelled data set")
    return [_load(folder, manifest, entry, activities) for entry in entries]


def _load(folder: Path, manifest: dict, entry: dict, activities: dict[int, str]) -> Labelled:
    arrays = read_npz(folder / entry["labelled"], entry["labelled_crc32"])
    edges = np.append(arrays["segment_start"], len(arrays["label"])).tolist()
    return Labelled(
        subject=entry["subject"],
        name=entry["name"],
        counts=arrays["counts"],
        scale_g=float(arrays["scale_g"]),
        label=arrays["label"],
        time=arrays["time"],
        segments=tuple(slice(begin, end) for begin, end in zip(edges[:-1], edges[1:], strict=True)),
        activities=activities,
        channels=tuple(manifest["channels"]),
        rate_hz=manifest["sample_rate_hz"],
    )
