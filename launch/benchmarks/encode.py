"""Features of an hour of recording: this project's encoder beside the PyTorch module and the ONNX file made of it."""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch

from data_pipelines.contract import fake_batch
from data_pipelines.manifest import read_normalization
from data_pipelines.pipeline import eval_batches
from launch.benchmarks.step_selfpab import statistics_of
from launch.benchmarks.timing import Row, Seconds, compare, in_turns, settled
from launch.config_file import load_config
from launch.methods import build
from selfpab_jax.interop import exports
from selfpab_jax.interop.names import positions
from selfpab_jax.interop.weight_files import import_extra
from selfpab_jax.models.functional import split
from selfpab_jax.objectives.method import acceleration_g
from selfpab_jax.signals.stft import SAMPLE_RATE_HZ, WINDOW_SAMPLES

TOLERANCE = 1e-4  # relative to the largest value, of a whole model in float32


def measure(batch: int, repeats: int, config_name: str, folder: str | None) -> list[Row]:
    """Rows of the comparison, after a check that all three give the same features.

    Args:
      folder: a prepared folder whose first windows are encoded; None for made-up ones.

    Raises:
      ValueError: the features differ, or a config of another method.
    """
    onnxruntime = import_extra("onnxruntime")
    config = json.loads(load_config(config_name).to_json())
    if config["objective"] != "selfpab":
        raise ValueError(
            f"--config={config_name} is of the method {config['objective']}, expected selfpab: only its encoder has an "
            "exported form to compare with"
        )
    windows = _first_windows(folder, batch) if folder else fake_batch(batch)
    normalization = read_normalization(folder) if folder else statistics_of(windows)
    method = build(config, normalization)
    merge, params, extra = split(method.model)
    host = np.asarray(acceleration_g(windows))  # [B, C, S]
    encode = jax.jit(lambda p, a: method.encode(merge(p, extra), a)[-1])
    chosen = {name: normalization[name] for name in (f"{config['magnitude']}_mean", f"{config['magnitude']}_std")}
    described = {"channels": list(method.channels), "magnitude": config["magnitude"], "model": config["model"]}
    what = exports.Exported(
        params, described | {"classifier": None}, chosen, positions(config["model"]["d_model"]), None
    )
    module = exports.torch_module(what)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as place:
        facts = exports.write_onnx(what, "last", Path(place) / "x.onnx")
        session = onnxruntime.InferenceSession(Path(place) / "x.onnx", options)
    print(f"ONNX: opset {facts['opset']}, {facts['bytes'] / 1e6:.1f} MB", file=sys.stderr)
    samples = np.ascontiguousarray(host.transpose(0, 2, 1))  # [B, S, C]
    on_device, tensor = jax.device_put(host), torch.from_numpy(samples)
    candidates = {
        "ours": lambda: np.asarray(encode(params, on_device)),
        "PyTorch module": lambda: _without_gradient(module, tensor),
        "ONNX": lambda: session.run(None, {"acceleration": samples})[0],
    }
    expected = candidates["ours"]()
    for name in list(candidates)[1:]:
        difference = float(np.abs(candidates[name]() - expected).max() / np.abs(expected).max())
        print(f"largest difference of the last layer, {name}: {difference:.1e} of the largest value", file=sys.stderr)
        if not difference < TOLERANCE:
            raise ValueError(f"the features of {name} differ by {difference:.1e} of the largest value")
    times = in_turns({name: partial(settled, run) for name, run in candidates.items()}, repeats, "features")
    hours = batch * WINDOW_SAMPLES / SAMPLE_RATE_HZ / 3600
    per_hour = {name: [Seconds(*(value / hours for value in one)) for one in found] for name, found in times.items()}
    rows = []
    for name in list(candidates)[1:]:
        rows += compare(f"features of an hour vs {name}", per_hour["ours"], per_hour[name])
    return rows


def _without_gradient(module, tensor) -> np.ndarray:
    with torch.no_grad():
        return module(tensor).numpy()


def _first_windows(folder: str, batch: int) -> dict[str, np.ndarray]:
    """The first windows of a prepared folder."""
    with eval_batches(folder, batch=batch, indices=np.arange(batch)) as batches:
        return next(iter(batches))
