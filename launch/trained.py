"""A finished or running pre-training, an import or a kept classifier, opened for reading."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.shards import Cut
from launch.methods import build
from launch.run_folder import load_run
from selfpab_jax.evaluate.compare import Encoder
from selfpab_jax.models.encoder import EncoderConfig, spectrogram_encoder
from selfpab_jax.models.functional import Tree, split
from selfpab_jax.models.heads import probe_head
from selfpab_jax.objectives.method import Method
from selfpab_jax.train.checkpoint import Checkpoints


class Trained(NamedTuple):
    """What a run folder holds; `merge(params, model_state)` is the trained model.

    Attributes:
      config, normalization: what `method` was built from.
      recording: how a recording is to be read for this run: `settings` of its data's manifest (`scale_g`, `max_gap_s`,
        `window_samples`, ...); the defaults for an import.
      step: of the checkpoint that was read.
    """

    config: Mapping
    normalization: Mapping[str, np.ndarray]
    recording: Mapping
    method: Method
    merge: Callable
    params: Tree
    model_state: Tree
    step: int


def load_trained(folder: Path, which: str) -> Trained:
    """The "best" (by validation), "latest" or a numbered ("500") checkpoint of a run folder that is sound.

    Raises:
      FileNotFoundError: no run folder, or no such checkpoint in it.
      ValueError: another word for `which`, or only damaged checkpoints.
    """
    config, normalization = load_run(folder)
    method = build(config, normalization)
    merge, params, model_state = split(method.model)
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        target = {"params": params, "model_state": model_state}
        params, model_state, meta = checkpoints.restore_params(target, which=which)
    recording = _recording_settings(folder)
    return Trained(config, normalization, recording, method, merge, params, model_state, meta["step"])


def probed_encoder(config: Mapping) -> tuple[Encoder, Trained]:
    """(the encoder that a probe's config names, in the form the comparison wants, the run it comes from)."""
    run = load_trained(Path(config["encoder"]), config["which"])

    def encode(params, acceleration, valid, key):
        return run.method.encode(run.merge(params, run.model_state), acceleration, valid, key)

    def random(seed):
        return split(build(run.config | {"seed": 1_000 + seed}, run.normalization).model).params

    inputs = lambda acceleration, valid: run.method.inputs(acceleration)  # noqa: E731
    return Encoder(encode, run.params, random, inputs, len(run.method.channels)), run


def load_parameters(folder: Path, which: str) -> tuple[dict, dict[str, np.ndarray], Tree, Tree | None, int]:
    """(config, normalisation statistics or {}, encoder's parameters, classifier's or None, step) of a run folder.

    Unlike `load_trained` this needs no statistics, and opens what `selfpab probe` keeps as `classifier/` too.

    Raises:
      FileNotFoundError, ValueError: as `load_trained`, and for a method whose network is not the SelfPAB encoder.
    """
    if not (folder / "checkpoints").exists() and (folder / "folds.jsonl").exists():
        kept = folder / "classifier"
        hint = f"name {kept}" if kept.exists() else "let it keep one: --resume --config.classifier=METHOD"
        raise FileNotFoundError(f"{folder} is the folder of a `selfpab probe`, a table without a model in it: {hint}")
    config, normalization = load_run(folder, need_statistics=False)
    if config.get("objective") != "selfpab":
        raise ValueError(f"{folder}: config.objective is '{config.get('objective')}', only 'selfpab' can be exported")
    cfg, head = EncoderConfig(**config["model"]), config.get("classifier")
    target = split(spectrogram_encoder(cfg, 0)).params
    if head:
        shape = (len(head["layers"]), cfg.d_model, head["hidden"], len(head["labels"]))
        target = {"encoder": target, "head": split(probe_head(*shape, 0)).params}
    with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
        params, _, meta = checkpoints.restore_params({"params": target, "model_state": {}}, which=which)
    encoder, classifier = (params["encoder"], params["head"]) if head else (params, None)
    return config, normalization, encoder, classifier, meta["step"]


def _recording_settings(folder: Path) -> dict:
    manifest = folder / "data_manifest.json"
    if manifest.exists():
        return json.loads(manifest.read_text())["settings"]
    return dataclasses.asdict(Cut()) | {"window_samples": Cut().window}
