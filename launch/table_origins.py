"""Where a row of the tables' results store comes from: settings, data and encoder, and a digest of these."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from data_pipelines.manifest import json_bytes, write_atomically
from launch.config_file import load_config
from launch.table_methods import reads_encoder
from launch.table_sets import TableSet
from selfpab_jax.baselines import classifiers

ORIGINS = "origins.json"
# What tells one training of an encoder from another; not all of them are there in every run folder.
OF_A_RUN = ("config.json", "normalization.npz", "metrics.jsonl", "imported.json")
OF_NETWORKS = ("window_tokens", "stride_tokens", "validation", "scripted", "epochs", "decay_per_200")


def origin(settings: Mapping, data: TableSet, method: str) -> dict[str, object]:
    """Everything that decides a row of a method on a data set, besides labels, seed and fold."""
    told: dict[str, object] = {"data": data.hash, "folds": [fold.test for fold in data.folds]}
    if method in classifiers.NAMES:
        told["classifier"] = {**settings["classifiers"]["all"], **settings["classifiers"].get(data.name, {})}
    else:
        told |= {name: settings[name] for name in OF_NETWORKS}
        told["probe"] = {**settings["probe"], **settings["own"].get(method, {})}
        if reads_encoder(method):
            told["encoder"] = _encoder_digest(settings, data)
    return told


def digest(origin: Mapping) -> str:
    """What the rows of the store say of their origin; the file ORIGINS beside it has it in full."""
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def write_origins(out: Path, origins: Iterable[Mapping]) -> None:
    """Adds these to the file ORIGINS: digest -> settings, data and encoder; ValueError where it is damaged."""
    file = out / ORIGINS
    try:
        known = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}): bring it back from a copy, or remove it") from error
    write_atomically(file, json_bytes(known | {digest(one): one for one in origins}))


def _encoder_digest(settings: Mapping, data: TableSet) -> str:
    if not data.encoder_folder:
        return load_config(settings["network"]).to_json()
    files = [Path(data.encoder_folder) / name for name in OF_A_RUN]
    content = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files if file.is_file())
    return f"{settings['which']} {hashlib.sha256(content).hexdigest()}"
