"""The encoder of the tables: a run folder checked against a data set, or an untrained one in its place."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from data_pipelines import moments
from data_pipelines.contract import Labelled, channels_of
from launch.config_file import load_config
from launch.methods import build
from launch.run_folder import load_run
from selfpab_jax.evaluate.compare import Encoder
from selfpab_jax.models.functional import split
from selfpab_jax.signals.stft import N_BINS


def check(folder: Path, dataset: str, sensors: Sequence[str], subjects: Sequence[str]) -> list[str]:
    """The subjects that the run was pre-trained on as well, with a warning.

    Raises:
      ValueError: an encoder of another method, or of sensors that the data set lacks.
      FileNotFoundError: no run folder.
    """
    config = load_run(folder)[0]
    reads = tuple(config.get("sensors", ()))
    if config.get("objective") != "selfpab" or not set(reads) <= set(sensors):
        raise ValueError(
            f"--encoder {folder}: objective {config.get('objective')}, sensors {', '.join(reads)}; {dataset} needs an "
            f"encoder of objective selfpab that reads {' or '.join(sensors)}, as `selfpab pretrain --config.sensors` "
            "makes them"
        )
    file = folder / "data_manifest.json"
    known = {one["subject"] for one in json.loads(file.read_text())["recordings"]} if file.exists() else set()
    seen = sorted(known & set(subjects))
    if seen:
        warnings.warn(
            f"--encoder {folder} was pre-trained on recordings of {', '.join(seen)}, who are tested on {dataset} too: "
            "unless these are others of the same name, its scores are not those of unknown people",
            stacklevel=2,
        )
    return seen


def untrained(network: str, recordings: Sequence[Labelled], sensors: Sequence[str]) -> Encoder:
    """An encoder of a config's shape, with the statistics of these recordings' spectrograms.

    Raises:
      ValueError: a config of another objective.
    """
    config = json.loads(load_config(network).to_json())
    if config.get("objective") != "selfpab":
        raise ValueError(f"--config.network: {network} is no config of objective selfpab")
    features = N_BINS * len(channels_of(sensors))
    config["sensors"] = sensors
    config["model"] |= {"in_features": features, "out_features": features}
    parts = [moments.of_stretch(r.counts[:, s], r.scale_g) for r in recordings for s in r.segments]
    statistics = moments.statistics(moments.merge(parts))
    method = build(config, statistics)
    merge = split(method.model).merge

    def encode(params, acceleration, valid, key):
        return method.encode(merge(params, {}), acceleration, valid, key)

    def random(seed):
        return split(build(config | {"seed": 1_000 + seed}, statistics).model).params

    return Encoder(encode, None, random, lambda acceleration, valid: method.inputs(acceleration), len(method.channels))
