"""The run folder: opened for a run, read by other jobs."""

import fcntl
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from data_pipelines.manifest import PARTIAL, json_bytes, write_atomically

IMPORTED = "imported.json"  # where a run's weights come from, if they were not trained here
LATER_FIELDS = {"data.hours_by": "window"}  # what runs did whose config has no such field yet
POSITIONS = "positions.npy"  # an imported buffer that is not bit for bit what we compute


def load_run(folder: Path, *, need_statistics: bool = True) -> tuple[dict, dict[str, np.ndarray]]:
    """(config, normalisation statistics) of a run folder.

    Args:
      need_statistics: whether {} will not do for weights that were imported without statistics.

    Raises:
      FileNotFoundError: the folder is no run of `selfpab pretrain` or `selfpab import`, or has no statistics.
    """
    imported = (folder / IMPORTED).exists() and not (folder / "normalization.npz").exists()
    if imported and need_statistics:
        raise FileNotFoundError(
            f"{folder} was imported without normalisation statistics: import the weights again with --norm=DIR, the "
            "folder of the mean.csv and std.csv that belong to them"
        )
    for name in ("config.json", "checkpoints") if imported else ("config.json", "normalization.npz", "checkpoints"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder}: no {name} in it, expected a run folder of `selfpab pretrain`")
    try:
        if imported:
            return json.loads((folder / "config.json").read_text()), {}
        with np.load(folder / "normalization.npz", allow_pickle=False) as file:
            return json.loads((folder / "config.json").read_text()), dict(file)
    except (ValueError, zipfile.BadZipFile) as error:  # neither of the two says which file
        raise ValueError(
            f"{folder}: config.json or normalization.npz is damaged ({type(error).__name__}): bring it back from a copy"
        ) from error


def flatten(config: Mapping, prefix: str = "") -> dict[str, object]:
    """{"data.batch_size": 64, ...} of a nested config."""
    flat = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def open_run_folder(folder: Path, config: Mapping, *, resume: bool, may_differ: tuple[str, ...] = ()) -> None:
    """Creates a run folder with `config.json`, or checks that an existing one belongs to the same config.

    Args:
      may_differ: fields that describe where things lie, not what the run computes.

    Raises:
      FileExistsError: the folder holds a run and `resume` is False.
      ValueError: it holds a run of another config; the sentence names the fields.
    """
    file = folder / "config.json"
    if not file.exists():
        # What a process killed while writing the config left behind does not count.
        if folder.exists() and any(not found.name.endswith(PARTIAL) for found in folder.iterdir()):
            raise FileExistsError(f"--workdir: {folder} holds other files, expected an empty or a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json_bytes(config))
        return
    if not resume:
        raise FileExistsError(
            f"--workdir: {folder} holds a run already; add --resume to go on with it, or name another"
        )
    texts = (file.read_text(), json.dumps(config))
    old, new = (LATER_FIELDS | flatten(json.loads(text)) for text in texts)
    if old.get("data_hash") != new.get("data_hash"):
        raise ValueError(
            f"--resume: the run in {folder} was made with other data than {new.get('data.dir')} holds now; name the "
            "folder it was started with, or another --workdir"
        )
    names = [n for n in sorted(old.keys() | new.keys()) if old.get(n) != new.get(n) and n not in may_differ]
    if names:
        differences = "; ".join(f"{n} is {old.get(n)!r} there and {new.get(n)!r} here" for n in names)
        raise ValueError(f"--resume: the run in {folder} has another config: {differences}")


def hold(folder: Path, flag: str = "--workdir") -> IO:
    """An open file that keeps other runs out of a run folder until it is closed or its process ends.

    Raises:
      ValueError: a run is under way in it.
    """
    file = (folder / ".lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError(f"{flag}: a run is under way in {folder}: wait for its end, or name another") from None
    except OSError:
        pass  # a file system without locks
    return file


def digest(tree) -> str:
    """SHA-256 over all leaves of a tree of arrays; equal for bit-equal trees."""
    import jax

    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        total.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return total.hexdigest()
