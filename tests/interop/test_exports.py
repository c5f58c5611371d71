"""Exported files as the programs they are for open them, and what comes back when they are imported again."""

import dataclasses
import json

import numpy as np
import pytest

from selfpab_jax.interop import exports
from selfpab_jax.interop.hyper_parameters import checked, from_published, to_published
from selfpab_jax.interop.model_card import card
from selfpab_jax.interop.names import POSITIONS, from_torch, table
from selfpab_jax.interop.weight_files import read_weights
from selfpab_jax.models.encoder import EncoderConfig

MONO = {"in_features": 78, "out_features": 78}
PUBLISHED_SIZES = (EncoderConfig(), EncoderConfig(**MONO))


@pytest.fixture(scope="session", autouse=True)
def torch():
    pytest.importorskip("safetensors")
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def config():
    """A run's config, as far as hyper-parameters are made from it."""
    from launch.config_file import load_config

    return json.loads(load_config("configs/selfpab.py").to_json())


def arguments(config, cfg):
    return to_published(config | {"model": dataclasses.asdict(cfg)}, windows=1_080_000)


def same(a, b):
    """Whether two trees of arrays are equal bit for bit."""
    import jax

    equal = jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(jax.tree.leaves(equal))


def test_the_published_class_loads_a_state_dict_strictly(exported, small, published, config, torch, tmp_path, agree):
    what = exported(small)
    exports.write_state_dict(what, tmp_path / "x.pt")
    stored = torch.load(tmp_path / "x.pt", weights_only=True)
    network = published(arguments(config, small)).eval()
    assert list(stored) == list(network.state_dict()) and POSITIONS in stored
    network.load_state_dict(stored, strict=True)
    x = torch.randn(2, 50, 156)
    module = exports.torch_module(what)
    with torch.no_grad():
        for i, (theirs, ours) in enumerate(zip(network.layers(x), module.layers(x), strict=True)):
            agree(f"layer {i} of the published class", ours, theirs, 1e-4)
        agree("its reconstruction", module.reconstruct(x), network(x), 1e-4)
    # A copy: the published class may train on it without touching our parameters.
    name = "transformer_encoder.layers.0.norm1.weight"
    exports.state_dict(what)[name].zero_()
    assert exports.to_torch(what.params)[name].all()


def test_a_lightning_checkpoint_makes_the_published_class(exported, small, published, config, torch, tmp_path):
    exports.write_lightning(exported(small), arguments(config, small), 1234, tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "hyper_parameters"} <= content.keys()
    # Lightning 2.6 opens the file only with these, as load_from_checkpoint showed.
    assert content["loops"]["fit_loop"]["epoch_loop.state_dict"] == {} == content["callbacks"]
    assert (content["global_step"], content["epoch"], content["hparams_name"]) == (1234, 50, "kwargs")
    args = content["hyper_parameters"]["args"]
    # What the published class reads besides the sizes.
    assert {"dropout", "loss", "metrics", "optimizer", "weight_decay", "lr_scheduler", "epochs"} <= args.keys()
    assert (args["input_dim"], args["nhead"], float(args["lr"]), args["total_step_count"]) == (156, 6, 1e-4, 843_750)
    published(args).load_state_dict(content["state_dict"], strict=True)


@pytest.mark.parametrize("sizes", [{}, MONO], ids=["SelfPAB", "MonoSelfPAB"])
@pytest.mark.parametrize("form", ["pt", "ckpt", "safetensors"])
def test_what_comes_back_is_bit_equal(form, sizes, exported, small, config, tmp_path):
    cfg = dataclasses.replace(small, **sizes)
    round_trip(form, cfg, exported(cfg, sensors=("thigh",) if sizes else ("back", "thigh")), config, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cfg", PUBLISHED_SIZES, ids=["SelfPAB", "MonoSelfPAB"])
@pytest.mark.parametrize("form", ["pt", "ckpt", "safetensors"])
def test_what_comes_back_is_bit_equal_at_full_size(form, cfg, exported, config, tmp_path):
    sensors = ("back", "thigh") if cfg.in_features == 156 else ("thigh",)
    round_trip(form, cfg, exported(cfg, sensors=sensors), config, tmp_path)


def round_trip(form, cfg, what, config, folder):
    if form == "pt":
        exports.write_state_dict(what, folder / "x.pt")
    elif form == "ckpt":
        exports.write_lightning(what, arguments(config, cfg), 7, folder / "x.ckpt")
    else:
        exports.write_folder(what, "card", folder / "x")
    read = read_weights(folder / "x" / "model.safetensors" if form == "safetensors" else folder / f"x.{form}")
    stated = from_published(read.hyper_parameters, "F")
    assert stated.pop("dropout", cfg.dropout) == cfg.dropout and read.step == (7 if form == "ckpt" else 0)
    stated = {name: value for name, value in stated.items() if name not in ("sensors", "magnitude")}
    assert stated == ({} if form != "ckpt" else {n: v for n, v in dataclasses.asdict(cfg).items() if n in stated})
    found, params = from_torch(read.tensors, {"heads": cfg.heads} | stated, "F")
    assert dataclasses.replace(found, dropout=cfg.dropout) == cfg
    assert same(params, what.params)


def test_the_folder_explains_itself(exported, small, tmp_path, torch):
    what = exported(small)
    facts = {"parameters": 61_548, "license": "cc-by-4.0", "training": {"data": None, "hours": 13.3}, "scores": []}
    text = card(what.config | facts, "cc-by-4.0")
    exports.write_folder(what, text, tmp_path / "x")
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert names == {"model.safetensors", "config.json", "normalization.npz", "README.md", "torch_encoder.py"}
    assert text.startswith("---\nlicense: cc-by-4.0\n") and "{" not in text.split("## Model")[1]
    for part in ("61,548 parameters", "| data | not recorded |", "| hours | 13.3 |", "[batch, frames, 60]", "back_x, "):
        assert part in text
    import safetensors.torch

    stored = safetensors.torch.load_file(tmp_path / "x" / "model.safetensors")
    assert stored.keys() == {row.torch for row in table(2)}
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_failed_export_leaves_nothing(exported, small, tmp_path, monkeypatch, torch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    def fail_as_torch_does(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 96973248 vs 96973184")

    monkeypatch.setattr(exports.shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        exports.write_folder(exported(small), "card", tmp_path / "x")
    monkeypatch.setattr(torch, "save", fail_as_torch_does)
    with pytest.raises(OSError, match="could not be written whole, is the disk full.*x.pt"):
        exports.write_state_dict(exported(small), tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("features", "magnitude"), [("last", "linear"), ("weighted", "log"), ("all", "linear")])
def test_onnx_equals_the_module(features, magnitude, exported, small, acceleration, tmp_path, torch, agree):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    what = exported(small, magnitude)
    facts = exports.write_onnx(what, features, tmp_path / "x.onnx")
    assert facts["opset"] == 18 and facts["bytes"] == (tmp_path / "x.onnx").stat().st_size
    assert facts["difference"] < 1e-4 and list(tmp_path.iterdir()) == [tmp_path / "x.onnx"]
    graph = onnx.load(tmp_path / "x.onnx")
    assert {entry.key: entry.value for entry in graph.metadata_props}["magnitude"] == magnitude
    assert "DFT" not in {node.op_type for node in graph.graph.node}  # few runtimes have it
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    module = exports.torch_module(what, features)
    for x in (acceleration, acceleration[:1, :75], np.tile(acceleration[:, :701], (3, 1, 1))):
        with torch.no_grad():
            found = session.run(None, {"acceleration": x})[0]
            agree(f"onnx {features} {x.shape}", found, module(torch.tensor(x)), 1e-4)


def test_other_networks_are_refused():
    for arguments, sentence in (
        ({"positional_encoding": ["AbsolutePositionalEncoding", "Temporal"]}, "positional_encoding is"),
        ({"n_prediction_head_layers": 2}, "n_prediction_head_layers is 2, expected 1: another network"),
        ({"nhead": "6"}, "heads is '6' by its hyper-parameters, expected a number from 1 on"),
        ({"d_model": True}, "d_model is True"),
        ({"dropout": 1.5}, "dropout is 1.5 by its hyper-parameters, expected a rate"),
        ({"sensors": 5}, "sensors is 5 by its hyper-parameters, expected back, thigh or both"),
        ({"magnitude": ["log"]}, r"magnitude is \['log'\] by its hyper-parameters, expected linear or log"),
    ):
        with pytest.raises(ValueError, match=sentence):
            checked(from_published(arguments, "F"), "F")
