"""What an export says of a run: its parameters, where they come from, and how good they were found to be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from launch.run_folder import IMPORTED, POSITIONS
from launch.trained import load_parameters
from selfpab_jax import __version__
from selfpab_jax.interop.exports import Exported
from selfpab_jax.interop.hyper_parameters import to_published
from selfpab_jax.interop.names import positions
from selfpab_jax.models.depth import COMPUTING
from selfpab_jax.models.functional import parameter_count
from selfpab_jax.objectives.selfpab import statistics
from selfpab_jax.signals.stft import CHANNELS, HOP, N_FFT, SAMPLE_RATE_HZ, sensor_channels
from selfpab_jax.train.metrics import read_metrics


def load_exported(folder: Path, which: str, license: str) -> tuple[Exported, int]:
    """(what is exported of a run folder, the step of its checkpoint).

    Raises:
      FileNotFoundError, ValueError: as `load_parameters`.
    """
    config, normalization, params, head, step = load_parameters(folder, which)
    chosen = sensor_channels(config["sensors"])
    if normalization:
        found = statistics(normalization, config["magnitude"], chosen)
        normalization = {f"{config['magnitude']}_{name}": values for name, values in found.items()}
    classifier = config.get("classifier")
    described = {
        "made_by": f"selfpab_jax {__version__}",
        "objective": config["objective"],
        "license": license,
        "sensors": list(config["sensors"]),
        "channels": list(CHANNELS[chosen]),
        "unit": "g",
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "frame_samples": N_FFT,
        "hop_samples": HOP,
        "magnitude": config["magnitude"],
        "model": {name: value for name, value in config["model"].items() if name not in COMPUTING},
        "parameters": parameter_count(params) + (parameter_count(head) if head else 0),
        "classifier": classifier,
        "training": training(folder, config, step),
        "scores": classifier["scores"] if classifier else reconstruction(folder, step),
    }
    stored = folder / POSITIONS
    buffer = np.load(stored, allow_pickle=False) if stored.exists() else positions(config["model"]["d_model"])
    return Exported(params, described, normalization, buffer, head), step


def training(folder: Path, config: Mapping, step: int) -> dict[str, Any]:
    """Label and value of what is known of the training; None where it is not."""
    data, source = _json(folder / "data_manifest.json"), _json(folder / IMPORTED)
    kept = config.get("classifier") or {}
    rows: dict[str, Any] = {
        "data": f"{Path(config['data']['dir']).name} (layout {data['layout']}, sha256 {data['hash'][:12]})"
        if data
        else None,
        "licence of the data": None,
        "hours, subjects, windows of 5 minutes": f"{data['hours']:.1f}, {data['subjects']}, {data['windows']}"
        if data
        else None,
    }
    if data and config["data"].get("hours"):
        rows["of these used"] = f"{config['data']['hours']:g} h, by {config['data'].get('hours_by', 'window')}"
    if source:
        rows["imported from"] = f"{source['file']} ({source['kind']}, sha256 {source['sha256'][:12]})"
        rows["statistics from"] = source["statistics"] and Path(source["statistics"]).name
    else:
        rows["steps, batch, seed"] = f"{config['train']['steps']}, {config['data']['batch_size']}, {config['seed']}"
    rows["pre-training step of these weights"] = kept.get("encoder_step", step)
    if kept:
        rows["classifier trained on"] = f"{kept['data']}, {kept['subjects']} subjects, {kept['hours']:.1f} h, labelled"
        along = ", the encoder trained along" if kept["tuned"] else ""
        rows["classifier's method"] = f"{kept['method']}, {step} steps{along}"
    return rows


def reconstruction(folder: Path, step: int) -> list[str]:
    """What the last validation up to this step said, as lines of Markdown."""
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if "valid/loss" in row and row["step"] <= step]
    if not rows:
        return []
    last = rows[-1]
    return [
        f"Masked L1 of the reconstruction on held-out windows: {last['valid/loss']:.4f} (step {last['step']}). This "
        "says nothing yet about activities: probe the encoder on labelled recordings."
    ]


def hyper_parameters(folder: Path) -> dict[str, Any]:
    """The arguments that the published class is made from; an import's own ones where it had any."""
    config = _json(folder / "config.json")
    data, source = _json(folder / "data_manifest.json"), _json(folder / IMPORTED)
    return to_published(config, data["windows"] if data else None) | source.get("hyper_parameters", {})


def _json(file: Path) -> dict:
    """The content of a JSON file, {} where there is none."""
    return json.loads(file.read_text()) if file.exists() else {}
