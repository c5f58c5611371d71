"""Weights of other programs: good files give their exact values, bad ones a sentence; nothing in a file is executed."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from selfpab_jax.interop.weight_files import read_weights

HYPER_PARAMETERS = {"d_model": 8, "nhead": 2, "dropout": 0.1, "loss": "maskedL1", "seq_operation": None}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {"a.weight": draw.standard_normal((7, 5), np.float32), "a.bias": draw.standard_normal(7, np.float32)}


@pytest.fixture
def checkpoint(torch, arrays) -> dict:
    """What Lightning saves."""
    return {
        "global_step": 1234,
        "state_dict": {name: torch.tensor(array) for name, array in arrays.items()},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(2.0), "exp_avg": torch.ones(7, 5)}}}],
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "best_model_path": "best.ckpt"}},
        "hyper_parameters": {"args": HYPER_PARAMETERS},
    }


@pytest.fixture
def refused(tmp_path):
    """(content, regular expression) -> the sentence that refuses it, which must match and name the file."""

    def check(content: bytes, sentence: str) -> str:
        file = tmp_path / "weights.bin"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=sentence) as found:
            read_weights(file)
        assert str(file) in str(found.value) and "\n" not in str(found.value)
        return str(found.value)

    return check


def saved(torch, content, zipped=True) -> bytes:
    torch.save(content, buffer := io.BytesIO(), _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def rewritten(archive: bytes, change=lambda name, data: data, compression=zipfile.ZIP_STORED) -> bytes:
    """The zip file with each entry's bytes changed, and checksums that are right for them."""
    new = zipfile.ZipFile(buffer := io.BytesIO(), "w", compression)
    with zipfile.ZipFile(io.BytesIO(archive)) as old, new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return buffer.getvalue()


def npz(descr: str, shape: str, data: bytes = b"", compression=zipfile.ZIP_STORED) -> bytes:
    """An npz file of one array whose header claims this."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 13) % 64) + b"\n"
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", compression) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header + data)
    return buffer.getvalue()


def assert_tensors(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def test_hyper_parameters_and_step_of_a_lightning_checkpoint(torch, checkpoint, tmp_path):
    file = tmp_path / "weights.ckpt"
    torch.save(checkpoint, file)
    assert read_weights(file)[1:] == (HYPER_PARAMETERS, 1234, "Lightning checkpoint")
    torch.save(checkpoint | {"hyper_parameters": HYPER_PARAMETERS}, file)  # without the level between
    assert read_weights(file).hyper_parameters == HYPER_PARAMETERS
    circular = []
    circular.append(circular)
    torch.save(checkpoint | {"hyper_parameters": HYPER_PARAMETERS | {"x": circular, "y": torch.ones(1)}}, file)
    assert read_weights(file).hyper_parameters == HYPER_PARAMETERS
    torch.save(checkpoint | {"hyper_parameters": None, "global_step": "many"}, file)
    assert read_weights(file)[1:] == ({}, 0, "Lightning checkpoint")


def test_bare_state_dict(torch, arrays, tmp_path):
    file = tmp_path / "weights.pt"
    tensors = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in arrays.items()}
    torch.save(tensors | {"transposed": torch.arange(6.0).reshape(2, 3).T}, file)
    assert_tensors(read_weights(file).tensors, arrays | {"transposed": np.array([[0, 3], [1, 4], [2, 5]])})
    assert read_weights(file)[1:] == ({}, 0, "state_dict")
    lazy = torch.complex(torch.ones(2), torch.ones(2)).conj().imag  # a minus that waits to be carried out
    torch.save({"lazy": lazy}, file)
    assert_tensors(read_weights(file).tensors, {"lazy": np.array([-1, -1])})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save, arrays, tmp_path):
    file = tmp_path / "weights.npz"
    save(file, **arrays, half=np.array([1.5, 65504], np.float16))
    assert_tensors(read_weights(file).tensors, arrays | {"half": np.array([1.5, 65504])})
    assert read_weights(file)[1:] == ({}, 0, "npz file")


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_narrow_floats_are_widened_exactly(narrow, torch, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    values = torch.tensor([1 / 3, -65000.0, 1e-7, 0.0, 2.5]).to(getattr(torch, narrow))
    expected = {"a": values.double().numpy()}
    torch.save({"a": values}, tmp_path / "a.pt")
    safetensors.save_file({"a": values}, tmp_path / "a.safetensors")
    for file in tmp_path.iterdir():
        assert_tensors(read_weights(file).tensors, expected)


@pytest.mark.parametrize("suffix", [".ckpt", ".npz", ".weights", ""])
def test_content_decides_and_not_the_suffix(suffix, torch, arrays, checkpoint, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    np.savez(tmp_path / "arrays.npz", **arrays)
    contents = [
        saved(torch, checkpoint),
        safetensors.save(arrays, {"format": "pt"}),
        (tmp_path / "arrays.npz").read_bytes(),
    ]
    for content, kind in zip(contents, ("Lightning checkpoint", "safetensors file", "npz file"), strict=True):
        file = tmp_path / f"weights{suffix}"
        file.write_bytes(content)
        found = read_weights(file)
        assert found[1:] == ((HYPER_PARAMETERS, 1234, kind) if content is contents[0] else ({}, 0, kind))
        assert_tensors(found.tensors, arrays)
    (tmp_path / "a.safetensors").write_bytes(contents[0])
    with pytest.raises(ValueError, match="a.safetensors is a file of torch.save, .* rename it to .pt"):
        read_weights(tmp_path / "a.safetensors")  # PyTorch itself goes by the suffix


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.999])
def test_truncated_checkpoint(part, torch, checkpoint, refused):
    content = saved(torch, checkpoint)
    refused(content[: int(len(content) * part)], "damaged or cut off")


def test_one_flipped_byte_in_a_tensor(torch, checkpoint, arrays, refused):
    content = bytearray(saved(torch, checkpoint))
    content[content.index(arrays["a.weight"].tobytes()) + 50] ^= 1
    refused(bytes(content), r"is damaged: \S+/data/\d+ does not match its checksum")


class SideEffect:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle", "npz"])
def test_nothing_in_a_file_is_executed(kind, refused, tmp_path):
    trace, content = tmp_path / "executed", {"state_dict": {"a": np.ones(2)}}
    assert pickle.loads(pickle.dumps(SideEffect(trace))) is None and trace.exists()  # it works
    trace.unlink()
    content["effect"] = SideEffect(trace)
    if kind == "pickle":
        refused(pickle.dumps(content), "is a bare pickle")
    elif kind == "npz":
        np.savez(buffer := io.BytesIO(), a=np.array([None, SideEffect(trace)]))
        refused(buffer.getvalue(), "a is of type object")
    else:
        torch = pytest.importorskip("torch")
        zipped = kind == "torch"
        expected = "needs more than plain tensors" if zipped else "is a bare pickle"
        sentence = refused(saved(torch, content, zipped), expected)
        for advice in ("weights_only", "allowed global", "file an issue"):  # PyTorch's own text tells how to execute it
            assert advice not in sentence
    assert not trace.exists()


def test_torch_files_made_by_hand(torch, arrays, refused):
    good = saved(torch, {"a": torch.zeros(113)[:77]})
    refused(rewritten(good, compression=zipfile.ZIP_DEFLATED), "is compressed, which torch.save never does")
    many = b"J" + (10**9).to_bytes(4, "little")  # in place of K, a number of one byte
    assert good.count(b"K\x4d") == good.count(b"K\x71") == 1
    bad = rewritten(good, lambda _, data: data.replace(b"K\x4d", many))  # the tensor's size
    refused(bad, "resize storage")
    refused(rewritten(bad, lambda _, data: data.replace(b"K\x71", many)), "resize storage")  # its storage's as well
    refused(saved(torch, {"a": torch.zeros(1).expand(10**9)}), "a claims 4,000,000,000 bytes and has 4")
    refused(
        saved(torch, dict.fromkeys("abcdefghi", torch.zeros(1000))), "its tensors claim more bytes than the file has"
    )


def test_state_dicts_of_something_else(torch, refused):
    for value, sentence in [
        ({}, "holds no tensors, expected a Lightning checkpoint"),
        ({"state_dict": {}}, "holds no tensors"),
        ([torch.ones(2)], "holds something of type list, expected"),
        (None, "holds nothing, expected"),
        ({"a": torch.ones(2), "b": 1.5}, "b is something of type float, expected a tensor"),
        ({"a": torch.ones(2, dtype=torch.int64)}, "a is a tensor of torch.int64, .*expected plain float32"),
        ({"a": torch.ones(2, dtype=torch.float64)}, "a is a tensor of torch.float64, .*expected plain float32"),
        ({"a": torch.ones(2).to_sparse()}, "a is a tensor of .*sparse_coo, expected plain float32"),
        ({"a": torch.ones(2, device="meta")}, "expected plain float32"),
    ]:
        refused(saved(torch, value), sentence)


def test_damaged_npz(arrays, refused):
    np.savez_compressed(buffer := io.BytesIO(), **arrays)
    content = buffer.getvalue()
    refused(content[: len(content) // 2], "damaged or cut off")
    refused(content[:100] + bytes(20) + content[120:], "damaged or cut off")
    refused(npz("'<f4'", f"({10**12},)"), "a claims 4,000,000,000,000 bytes in an entry of")
    refused(npz("'<f4'", f"({10**12},)", bytes(100), zipfile.ZIP_DEFLATED), "a claims 4,000,000,000,000 bytes")
    refused(npz("'<f8'", "(2,)", bytes(16)), "a is of type float64, expected float32")
    refused(npz("'|O'", "(2,)", bytes(16)), "a is of type object, expected float32; objects would need unpickling")
    refused(npz("'<f4'", f"({10**30}, 0)"), "a is damaged or cut off .OverflowError")
    for descr, shape in [("'<f4'", "(-1, -2)"), ("()", "(2,)"), ("'<f4'", "(" * 200)]:
        refused(npz(descr, shape, bytes(8)), "a is damaged or cut off")
    assert "allow_pickle" not in refused(npz("'<f4'", "(" + "-" * 200_000 + "1,)"), "a is damaged or cut off")
    for compression, name in [(zipfile.ZIP_BZIP2, "OSError"), (zipfile.ZIP_LZMA, "LZMAError")]:
        content = npz("'<f4'", "(500,)", np.random.default_rng(0).bytes(2000), compression)
        refused(content[:60] + bytes(90) + content[150:], f"damaged or cut off .{name}")


def test_damaged_safetensors(arrays, refused):
    safetensors = pytest.importorskip("safetensors.numpy")
    content = safetensors.save(arrays)
    for bad in (content[:-10], content[:60], content.replace(b'"shape"', b'"shape:', 1), b"\xff" * 8 + content[8:]):
        refused(bad, "damaged or cut off")
    for dtype, size in (("I64", 8), ("F64", 8), ("F8_E4M3", 1)):
        header = json.dumps({"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}}).encode()
        refused(len(header).to_bytes(8, "little") + header + bytes(2 * size), f"a is of type {dtype}, expected F32")


def test_files_that_are_no_weights(refused, tmp_path):
    refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer.*git lfs pull")
    refused(b"", "begins with b'', expected .ckpt or .pt of PyTorch")
    refused(b"mean,std\n1,2\n", "begins with b'mean,std', expected")
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(buffer.getvalue(), "is a zip file with neither tensors nor arrays")
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match="found no file") as found:
            read_weights(path)
        assert str(path) in str(found.value)
