"""Weights of other programs read from a file, without running anything that is in it.

A PyTorch file is opened with `weights_only=True`, and before that its table of contents is checked: nothing
compressed, nothing beyond the end of the file, every record true to its checksum. So no more memory is asked for
than the file has bytes. Compressed npz files are checked by their headers.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMATS = ".ckpt or .pt of PyTorch, .safetensors or .npz"
MAX_BYTES = 8 << 30  # of all arrays of an npz file; 130 times the published model's parameters
MAX_PICKLE_BYTES = 64 << 20  # names and hyper-parameters; the published checkpoint has less than 1 MB
MAX_HEADER_BYTES = 10_000  # of one array in an npz file
LFS = b"version https://git-lfs.github.com/spec"


class Weights(NamedTuple):
    """What a file of weights holds.

    Attributes:
      tensors: by name; float32, or float16 and bfloat16 widened to it, which is exact.
      hyper_parameters: a Lightning checkpoint's, flat, as far as they are plain values; empty for other files.
      step: a Lightning checkpoint's training step, else 0.
      kind: "Lightning checkpoint", "state_dict", "safetensors file" or "npz file".
    """

    tensors: dict[str, np.ndarray]
    hyper_parameters: dict[str, Any]
    step: int
    kind: str


def read_weights(file: Path) -> Weights:
    """The tensors of a Lightning checkpoint or of a bare state_dict (.pt, .safetensors, .npz), told by its content.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another kind of file, a damaged one, one that would have to be unpickled, or a missing package.
    """
    if not file.is_file():
        raise FileNotFoundError(f"--weights: found no file {file}")
    with file.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(LFS):
        raise ValueError(
            f"{file} is a Git LFS pointer, not the weights: run `git lfs pull` in its repository, or download the file"
        )
    if head.startswith(b"PK"):
        return _read_zip(file)
    if len(head) > 8 and head[8:9] == b"{":
        return Weights(_read_safetensors(file), {}, 0, "safetensors file")
    if head[:1] == b"\x80":
        raise ValueError(
            f"{file} is a bare pickle, which could run anything when it is read, so it was not: save the tensors with "
            "PyTorch 1.6 or newer, or as .safetensors or .npz"
        )
    raise ValueError(f"{file} begins with {head[:8]!r}, expected {FORMATS}")


def _read_zip(file: Path) -> Weights:
    with readable(file):
        archive = zipfile.ZipFile(file)
    with archive:
        names = archive.namelist()
        if any(name.split("/")[-1] == "data.pkl" for name in names):
            _check_torch_archive(file, archive)
        elif any(name.endswith(".npy") for name in names):
            return Weights(_read_npz(file, archive), {}, 0, "npz file")
        else:
            raise ValueError(f"{file} is a zip file with neither tensors nor arrays in it, expected {FORMATS}")
    return _read_torch(file)


@contextmanager
def readable(what: Path | str) -> Iterator[None]:
    """Makes one sentence of what the parsers of zipfile, numpy and safetensors raise: nearly anything."""
    try:
        yield
    except Exception as error:
        # The first sentence: numpy's second one advises to allow unpickling.
        reason = " ".join(f"{type(error).__name__}: {error}".split()).partition(". ")[0][:200]
        raise ValueError(f"{what} is damaged or cut off ({reason}): copy or download it again") from error


def _check_torch_archive(file: Path, archive: zipfile.ZipFile) -> None:
    """Raises ValueError unless the file can be read without asking for more memory than it has bytes."""
    total = 0
    for entry in archive.infolist():
        total += entry.file_size
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(
                f"{file}: {entry.filename} is compressed, which torch.save never does: TorchScript or made by hand"
            )
        if entry.filename.endswith("data.pkl") and entry.file_size > MAX_PICKLE_BYTES:
            raise ValueError(
                f"{file}: its description has {entry.file_size:,} bytes, expected at most {MAX_PICKLE_BYTES:,}"
            )
    if total > file.stat().st_size:
        raise ValueError(f"{file}: its parts add up to {total:,} bytes, more than the file has: made by hand")
    with readable(file):
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"{file} is damaged: {damaged} does not match its checksum: copy or download it again")


def _read_torch(file: Path) -> Weights:
    if file.name.endswith(".safetensors"):  # which PyTorch would believe
        raise ValueError(f"{file} is a file of torch.save, not the .safetensors it is called: rename it to .pt")
    torch = import_extra("torch")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # its unpickler raises nearly anything
        reason = " ".join(str(error).split())
        # PyTorch's own text goes on to advise what would execute the file.
        for end in ("Please file an issue", "was not an allowed global"):
            reason = reason.partition(end)[0]
        reason = reason.rpartition("WeightsUnpickler error: ")[2].strip(" .")
        raise ValueError(
            f"{file} needs more than plain tensors to be read ({reason[:200] or type(error).__name__}), which could "
            "run anything, so it was not read: where you trust it, load it yourself and save its state_dict() alone"
        ) from error
    is_mapping = isinstance(content, Mapping)
    is_checkpoint = is_mapping and isinstance(content.get("state_dict"), Mapping)
    found = content["state_dict"] if is_checkpoint else content
    if not is_mapping or not found:
        found = "no tensors" if is_mapping else _kind(content)
        raise ValueError(f"{file} holds {found}, expected a Lightning checkpoint or a state_dict of tensors")
    tensors, total = {}, 0
    for name, tensor in found.items():
        total += _check_tensor(file, str(name), tensor)
        if total > file.stat().st_size:
            raise ValueError(f"{file}: its tensors claim more bytes than the file has: it was made by hand")
        narrow = tensor.dtype in (torch.float16, torch.bfloat16)
        tensors[str(name)] = (tensor.float() if narrow else tensor).detach().resolve_neg().numpy()
    if not is_checkpoint:
        return Weights(tensors, {}, 0, "state_dict")
    given = content.get("hyper_parameters")
    given = given.get("args", given) if isinstance(given, Mapping) else {}
    step = content.get("global_step")
    step = step if type(step) is int and step >= 0 else 0
    given = given if isinstance(given, Mapping) else {}
    plain = {str(name): value for name, value in given.items() if _is_plain(value)}
    return Weights(tensors, plain, step, "Lightning checkpoint")


def _is_plain(value: object) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(part is None or isinstance(part, (str, int, float)) for part in parts)


def _check_tensor(file: Path, name: str, tensor) -> int:
    """Bytes of a plain tensor of floats; ValueError for anything else."""
    torch = import_extra("torch")
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{file}: {name} is {_kind(tensor)}, expected a tensor")
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    plain = plain and not tensor.is_quantized and not tensor.is_nested
    if not plain or tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"{file}: {name} is a tensor of {tensor.dtype}, {tensor.layout}, expected plain float32")
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise ValueError(f"{file}: {name} claims {size:,} bytes and has {tensor.untyped_storage().nbytes():,}")
    return size


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    import jax  # noqa: F401  (numpy has no bfloat16 before)

    safetensors = import_extra("safetensors")
    with readable(file):
        content = safetensors.safe_open(file, framework="numpy")
    tensors = {}
    with content:
        for name in content.keys():  # noqa: SIM118
            dtype = content.get_slice(name).get_dtype()
            if dtype not in ("F32", "F16", "BF16"):
                raise ValueError(f"{file}: {name} is of type {dtype}, expected F32")
            with readable(f"{file}: {name}"):
                tensors[name] = content.get_tensor(name).astype(np.float32, copy=False)
    return tensors


def _read_npz(file: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    total, tensors = 0, {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        with readable(f"{file}: {name}"), archive.open(entry) as stream:
            shape, dtype = _npy_header(stream)
            header = stream.tell()
        if dtype.name not in ("float32", "float16"):
            raise ValueError(f"{file}: {name} is of type {dtype}, expected float32; objects would need unpickling")
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        total += size
        if header + size != entry.file_size or total > MAX_BYTES:
            raise ValueError(
                f"{file}: {name} claims {size:,} bytes in an entry of {entry.file_size:,}, expected equal numbers "
                f"and at most {MAX_BYTES:,} bytes in all: the file is damaged or made by hand"
            )
        with readable(f"{file}: {name}"), archive.open(entry) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=MAX_HEADER_BYTES)
            tensors[name] = array.astype(np.float32, copy=False)
    return tensors


def _npy_header(stream) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype) that the header of one array claims."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(stream, MAX_HEADER_BYTES)
    return shape, dtype


def _kind(value: object) -> str:
    return "nothing" if value is None else f"something of type {type(value).__name__}"


def import_extra(package: str):
    """A package of the extra `torch`; ValueError saying how to install it where it is absent."""
    try:
        if package == "torch":
            import torch as found
        elif package == "safetensors":
            import safetensors.numpy

            found = safetensors
        else:
            import onnxruntime as found
            import onnxscript  # noqa: F401  (what torch.onnx builds the graph with)
    except ModuleNotFoundError as error:
        raise ValueError(f"{package} is not installed: pip install -e '.[torch]'") from error
    return found


def read_exported_config(folder: Path) -> dict[str, Any]:
    """Sizes by our names, and "dropout", "sensors", "magnitude", of a folder written by `selfpab export`.

    Raises:
      FileNotFoundError: it has no config.json; ValueError: that is damaged, or the folder holds a classifier.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"--weights: {folder} has no config.json, expected a folder of `selfpab export`")
    try:
        config = json.loads(file.read_text())
        stated = {name: value for name, value in config["model"].items() if name != "dtype"}
        stated |= {name: config[name] for name in ("sensors", "magnitude")}
        classifier, crc32 = config["classifier"], config["weights_crc32"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged or incomplete ({error}): export it again") from error
    if classifier:
        raise ValueError(f"{folder} holds a classifier, expected an encoder: export the pre-training run instead")
    if zlib.crc32((folder / "model.safetensors").read_bytes()) != crc32:
        raise ValueError(f"{folder}: model.safetensors does not match its checksum in config.json: copy both again")
    return stated
