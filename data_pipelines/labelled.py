"""Whole labelled recordings: of a prepared folder, of a TFDS version folder, or of a public data set by its name."""

import re
import sys
from pathlib import Path

import numpy as np

from data_pipelines.contract import Labelled
from data_pipelines.manifest import MANIFEST, read_manifest, read_npz

TFDS_INFO = "dataset_info.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


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


def load_set(name: str, data_dir: str | Path) -> list[Labelled]:
    """All labelled recordings of a public data set, from `data_dir/<name>`, in order of their names.

    What lies there is used: a prepared folder, else the newest TFDS version below it, else the published files, from
    which TFDS builds a version beside them. Where nothing lies the published files are downloaded and built.

    Raises:
      ValueError: an unknown name, or a file that does not fit the data set's layout.
      FileNotFoundError: files that are not those published.
      OSError: the download failed.
    """
    from data_pipelines.builders import BUILDERS, build, labelled_from_tfds  # imports tensorflow_datasets

    if name not in BUILDERS:
        raise ValueError(f"data set is '{name}', expected one of {', '.join(BUILDERS)}")
    folder = Path(data_dir) / name
    if (folder / MANIFEST).is_file():
        layout = read_manifest(folder)["layout"]
        if layout in BUILDERS and layout != name and {layout, name} != {"harth", "har70plus"}:  # those two share files
            raise ValueError(f"{folder} was prepared from {layout}, expected {name}: prepare it again, or rename it")
        return load_labelled(folder)
    versions = [path.parent for path in folder.glob(f"*/{TFDS_INFO}") if _VERSION.fullmatch(path.parent.name)]
    if versions:
        return labelled_from_tfds(max(versions, key=lambda path: [int(part) for part in path.name.split(".")]))
    # What a file manager or a killed build leaves behind are no published files.
    there = [path for path in folder.glob("*") if not path.name.startswith((".", "incomplete."))]
    published = folder if there else None
    print(f"building {name} from {published or 'its public download'}", file=sys.stderr)
    return labelled_from_tfds(build(name, published, data_dir))


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
