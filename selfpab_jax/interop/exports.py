"""Trained parameters written for other programs: PyTorch files, a folder that explains itself, ONNX.

Everything is written beside its place under a temporary name and renamed when it is complete.
"""

import errno
import json
import logging
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfpab_jax.interop.names import EMBEDDING, POSITIONS, to_torch
from selfpab_jax.interop.weight_files import import_extra

MODULE = Path(__file__).with_name("torch_encoder.py")
LIGHTNING_VERSION = "1.6.4"  # the release that the published code pins; newer ones migrate its checkpoints
PARTIAL = ".selfpab-partial"  # a name that nobody else gives: what bears it is removed
ONNX_OPSET = 18
ONNX_MIN_SAMPLES = 75  # two frames: PyTorch traces a dimension of one as a constant
ONNX_TOLERANCE = 1e-4  # of a whole model in float32, relative to the largest value


class Exported(NamedTuple):
    """What is exported.

    Attributes:
      params: of the encoder.
      config: what the folder's config.json will hold: `channels`, `magnitude`, `model`, `classifier` (None or a
        mapping) and whatever tells where it comes from.
      normalization: "<magnitude>_mean" and "<magnitude>_std", float32 [F] of exactly these channels.
      positions: float32 [1, 10000, D], for the formats that hold them.
      head: parameters of the classifier, or None.
    """

    params: Mapping
    config: Mapping
    normalization: Mapping[str, np.ndarray]
    positions: np.ndarray
    head: Mapping | None


def tensors(what: Exported) -> dict[str, np.ndarray]:
    """Arrays under the names of `torch_encoder`'s modules: an `Encoder`'s, or with a head a `Classifier`'s."""
    encoder = to_torch(what.params)
    if what.head is None:
        return encoder
    found = {f"encoder.{name}": array for name, array in encoder.items()}
    found["layer_weight"] = np.asarray(what.head["layer_weight"])
    for name in ("hidden", "out"):
        if name in what.head:
            found[f"{name}.weight"] = np.ascontiguousarray(np.asarray(what.head[name]["kernel"]).T)
            found[f"{name}.bias"] = np.asarray(what.head[name]["bias"])
    return found


def state_dict(what: Exported) -> dict[str, Any]:
    """The published class's state_dict: parameters and the buffer of positions, as torch tensors."""
    torch = import_extra("torch")
    arrays = to_torch(what.params)
    embedding = [row.torch for row in EMBEDDING]  # which the class registers before its buffer
    ordered = {name: arrays[name] for name in embedding} | {POSITIONS: what.positions} | arrays
    # Copies, since PyTorch would share and then write to JAX's memory.
    return {name: torch.tensor(array) for name, array in ordered.items()}


def write_state_dict(what: Exported, path: Path) -> None:
    """A .pt file that the published class loads with strict=True."""
    write_whole(path, lambda draft: _torch_save(state_dict(what), draft))


def write_lightning(what: Exported, hyper_parameters: Mapping[str, Any], step: int, path: Path) -> None:
    """A checkpoint that the published code opens as its `upstream_model_path`.

    Args:
      hyper_parameters: the flat arguments that the published class is made from.
    """
    content = {
        "epoch": int(hyper_parameters.get("epochs", 0)),
        "global_step": step,
        "pytorch-lightning_version": LIGHTNING_VERSION,
        "state_dict": state_dict(what),
        "loops": {"fit_loop": {"epoch_loop.state_dict": {}}},  # what Lightning 2 looks for when it migrates the file
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"args": dict(hyper_parameters)},
    }
    write_whole(path, lambda draft: _torch_save(content, draft))


def _torch_save(content: Mapping, draft: Path) -> None:
    torch = import_extra("torch")
    try:
        with draft.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # its writer finds that bytes are missing, and does not ask why
        raise OSError(errno.EIO, "could not be written whole, is the disk full?") from error


def write_folder(what: Exported, card: str, path: Path) -> None:
    """model.safetensors, config.json, normalization.npz, README.md and the module that opens them."""
    safetensors = import_extra("safetensors")

    def write(folder: Path) -> None:
        folder.mkdir()
        weights = safetensors.numpy.save(tensors(what), {"format": "pt"})
        (folder / "model.safetensors").write_bytes(weights)
        config = {**what.config, "weights_crc32": zlib.crc32(weights)}  # the format has no checksum of its own
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        np.savez(folder / "normalization.npz", allow_pickle=False, **what.normalization)
        (folder / "README.md").write_text(card)
        shutil.copyfile(MODULE, folder / MODULE.name)

    write_whole(path, write)


def write_onnx(what: Exported, features: str, path: Path) -> dict[str, Any]:
    """An ONNX file of the module, checked with onnxruntime; {"opset", "bytes", "difference"}.

    Batch and length are dynamic, from `ONNX_MIN_SAMPLES` on. The largest difference to PyTorch is relative to the
    largest value, over a batch as it was traced and two of other shapes.

    Raises:
      ValueError: onnxruntime's output differs by more than `ONNX_TOLERANCE`.
    """
    torch, onnxruntime = import_extra("torch"), import_extra("onnxruntime")
    module = torch_module(what, features)
    draw = np.random.default_rng(0)
    shapes = ((2, 3000), (3, 1517), (1, ONNX_MIN_SAMPLES))
    channels = what.config["channels"]
    inputs = [(draw.normal(0, 0.3, (*shape, len(channels))) + 0.5).astype(np.float32) for shape in shapes]
    facts = {}

    def write(draft: Path) -> None:
        program = _onnx_program(module, torch.from_numpy(inputs[0]))
        described = {key: value if isinstance(value, str) else json.dumps(value) for key, value in what.config.items()}
        program.model.metadata_props.update(described)
        program.save(draft)
        session = onnxruntime.InferenceSession(draft, providers=["CPUExecutionProvider"])
        difference = 0.0
        for acceleration in inputs:
            with torch.no_grad():
                expected = module(torch.from_numpy(acceleration)).numpy()
            found = session.run(None, {"acceleration": acceleration})[0]
            difference = max(difference, float(np.abs(found - expected).max() / np.abs(expected).max()))
        if not difference < ONNX_TOLERANCE:
            raise ValueError(f"{path}: onnxruntime differs from PyTorch by {difference:.1e}, so it was not written")
        facts.update(opset=ONNX_OPSET, bytes=draft.stat().st_size, difference=difference)

    write_whole(path, write)
    return facts


def torch_module(what: Exported, features: str = "last"):
    """The `torch_encoder` module with these parameters, in evaluation mode, made through an exported folder."""
    import_extra("torch")
    from selfpab_jax.interop import torch_encoder

    with tempfile.TemporaryDirectory() as folder:
        write_folder(what, "", Path(folder) / "exported")
        return torch_encoder.load(Path(folder) / "exported", features)


def _onnx_program(module, example):
    """The traced module; its spectrogram becomes a matrix product, which every ONNX runtime has and computes well."""
    import torch
    from onnx.numpy_helper import from_array
    from onnxscript import opset18 as op

    from selfpab_jax.interop.torch_encoder import HOP, MAX_FRAMES, N_BINS, N_FFT

    bins = np.arange(N_BINS)
    angle = 2 * np.pi * np.outer(np.arange(N_FFT), bins) / N_FFT
    basis = np.stack([np.cos(angle), -np.sin(angle)], axis=-1).reshape(N_FFT, 2 * N_BINS).astype(np.float32)

    # ONNX has a DFT, but onnxruntime's loses a digit at lengths that are no power of two, and others lack it.
    def real_dft(frames, dim, normalization: int, onesided: bool):
        product = op.MatMul(frames, op.Constant(value=from_array(basis)))  # [..., 26 * 2]
        shape = op.Concat(op.Shape(frames, start=0, end=-1), op.Constant(value_ints=[N_BINS, 2]), axis=0)
        return op.Reshape(product, shape)  # [..., 26, (re, im)]

    longest = (MAX_FRAMES - 1) * HOP + N_FFT
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=ONNX_MIN_SAMPLES, max=longest)
    logger, before = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    logger.setLevel(logging.ERROR)  # it tells that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's own use of its old names
            return torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=ONNX_OPSET,
                input_names=["acceleration"],
                output_names=["log_probabilities" if hasattr(module, "labels") else "features"],
                dynamic_shapes={"acceleration": {0: batch, 1: samples}},
                custom_translation_table={torch.ops.aten._fft_r2c.default: real_dft},
            )
    finally:
        logger.setLevel(before)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file or folder under a temporary name and renames it to `path`.

    Raises:
      OSError: it could not be written; `path` is named where the system does not say which file.
    """
    draft = path.with_name(f".{path.name}{PARTIAL}")
    path.parent.mkdir(parents=True, exist_ok=True)
    discard(draft)  # of a process that was killed
    try:
        write(draft)
        os.replace(draft, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        discard(draft)


def discard(path: Path) -> None:
    """Removes a file or a folder; nothing happens where there is none."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
