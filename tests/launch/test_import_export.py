"""`selfpab import` and `selfpab export` as a user calls them: there and back, in use, and what they refuse."""

import json
import shutil
import sys

import numpy as np
import pytest

from data_pipelines.manifest import read_normalization
from launch import export, features, import_weights, probe
from launch.config_file import load_config
from launch.exported import load_exported
from launch.methods import build
from launch.run_folder import POSITIONS as STORED
from selfpab_jax.interop.names import POSITIONS
from selfpab_jax.models.functional import split
from selfpab_jax.train.checkpoint import Checkpoints


@pytest.fixture(scope="module", autouse=True)
def torch():
    pytest.importorskip("safetensors")
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory, compile_cache):
    """The run folder of a tiny encoder, as a training that stopped at step 2 leaves it."""
    folder = tmp_path_factory.mktemp("run")
    config = json.loads(load_config("configs/selfpab.py:smoke").to_json())
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copyfile(prepared / "manifest.json", folder / "data_manifest.json")
    shutil.copyfile(prepared / "normalization.npz", folder / "normalization.npz")
    (folder / "metrics.jsonl").write_text('{"step": 2, "valid/loss": 0.5}\n')
    _, params, model_state = split(build(config, read_normalization(prepared)).model)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(2, {"params": params, "model_state": model_state}, {}, metric=0.5, wait=True)
    return folder


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    """The run in every format."""
    folder = tmp_path_factory.mktemp("exported")
    for form, suffix in export.SUFFIXES.items():
        assert export.main([f"--run={run}", f"--format={form}", f"--out={folder / form}{suffix}"]) == 0
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A csv file of 20 s."""
    path = tmp_path_factory.mktemp("recording") / "anyone.csv"
    values = np.round((np.random.default_rng(1).normal(0, 0.3, (1000, 6)) + (np.arange(6) % 3 == 0)) * 4096) / 4096
    times = np.datetime64("2021-03-24T14:42:03", "ms") + np.arange(1000) * np.timedelta64(20, "ms")
    times = [str(time).replace("T", " ") for time in times]
    rows = [f"{time},{','.join(map(repr, row))}" for time, row in zip(times, values.tolist(), strict=True)]
    path.write_text("\n".join(["timestamp,back_x,back_y,back_z,thigh_x,thigh_y,thigh_z", *rows]) + "\n")
    return path


def embeddings(run, recording, out):
    assert features.main([f"--run={run}", f"--input={recording}", f"--out={out}", "--layers=all"]) == 0
    with np.load(out) as file:
        return file["features"]


def test_there_and_back_and_in_use(run, files, recording, tmp_path, capsys):
    """Through a checkpoint, with the published form of the statistics; probing and features as on the run itself."""
    with np.load(run / "normalization.npz") as file:
        for name in ("mean", "std"):
            np.savetxt(tmp_path / f"{name}.csv", file[f"linear_{name}"], fmt="%.18e")
    back = tmp_path / "back"
    assert import_weights.main([f"--weights={files}/lightning.ckpt", f"--out={back}", f"--norm={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "9,612 parameters: 156 features (back and thigh), width 16, 2 heads, feed-forward 32, 2 layers" in printed
    there, here = load_exported(run, "best", "x")[0], load_exported(back, "best", "x")[0]
    assert [leaf.tobytes() for leaf in leaves(there.params)] == [leaf.tobytes() for leaf in leaves(here.params)]
    expected = embeddings(run, recording, tmp_path / "a.npz")
    np.testing.assert_array_equal(embeddings(back, recording, tmp_path / "b.npz"), expected)
    assert not (back / STORED).exists()  # our own positions need not be kept
    assert export.main([f"--run={back}", "--format=lightning", f"--out={tmp_path / 'again.ckpt'}"]) == 0
    import torch

    first, second = (torch.load(f, weights_only=True) for f in (files / "lightning.ckpt", tmp_path / "again.ckpt"))
    assert first["hyper_parameters"] == second["hyper_parameters"] and first["global_step"] == second["global_step"]
    assert all(torch.equal(first["state_dict"][name], second["state_dict"][name]) for name in first["state_dict"])

    # The exported folder imports with nothing said besides.
    assert import_weights.main([f"--weights={files}/folder", f"--out={tmp_path / 'folder'}"]) == 0
    np.testing.assert_array_equal(embeddings(tmp_path / "folder", recording, tmp_path / "c.npz"), expected)


def leaves(params):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


def test_another_buffer_of_positions_is_kept(files, tmp_path, torch, capsys):
    """A file made by the published class: sinusoids of float32. What is exported again has the same bits."""
    content = torch.load(files / "state_dict.pt", weights_only=True)
    content[POSITIONS] += 1e-5
    torch.save(content, tmp_path / "x.pt")
    run = tmp_path / "run"
    assert import_weights.main([f"--weights={tmp_path}/x.pt", f"--out={run}", "--heads=2"]) == 0
    assert "linear magnitudes (assumed)" in capsys.readouterr().out
    assert export.main([f"--run={run}", "--format=state_dict", f"--out={tmp_path}/y.pt"]) == 0
    again = torch.load(tmp_path / "y.pt", weights_only=True)
    assert list(again) == list(content) and all(torch.equal(again[name], content[name]) for name in content)


def test_one_sensor_alone(prepared, recording, tmp_path, files, torch, capsys):
    """A 78-feature encoder looks at the sensor it is imported for, with its part of the 156 statistics."""
    content = torch.load(files / "state_dict.pt", weights_only=True)
    content["emb.lin_proj_layer.weight"] = content["emb.lin_proj_layer.weight"][:, 78:]
    for name in ("weight", "bias"):
        content[f"prediction_head.mlp.out_layer.{name}"] = content[f"prediction_head.mlp.out_layer.{name}"][78:].clone()
    np.savez(tmp_path / "mono.npz", **{name: tensor.numpy() for name, tensor in content.items()})
    flags = [f"--weights={tmp_path}/mono.npz", f"--norm={prepared}", "--heads=2"]
    assert import_weights.main([*flags, "--sensors=thigh", f"--out={tmp_path / 'none'}"]) == 2
    assert "statistics of linear and log magnitudes, and the weights do not tell" in capsys.readouterr().err
    flags.append("--magnitude=linear")
    assert import_weights.main([*flags, f"--out={tmp_path / 'none'}"]) == 2
    assert "78 features, those of one sensor (MonoSelfPAB)" in capsys.readouterr().err
    found = {}
    for sensor in ("back", "thigh"):
        assert import_weights.main([*flags, f"--out={tmp_path / sensor}", f"--sensors={sensor}"]) == 0
        found[sensor] = embeddings(tmp_path / sensor, recording, tmp_path / f"{sensor}.npz")
        assert export.main([f"--run={tmp_path / sensor}", "--format=folder", f"--out={tmp_path / sensor}_folder"]) == 0
    assert np.abs(found["back"] - found["thigh"]).max() > 0.1
    from selfpab_jax.interop import torch_encoder

    module = torch_encoder.load(tmp_path / "thigh_folder", "all")
    values = np.loadtxt(recording, delimiter=",", skiprows=1, usecols=(4, 5, 6), dtype=np.float32)
    with torch.no_grad():
        theirs = module(torch.tensor(values)[None])[0]
    with np.load(tmp_path / "thigh_folder" / "normalization.npz") as file:
        np.testing.assert_array_equal(file["linear_mean"], read_normalization(prepared)["linear_mean"][78:])
    np.testing.assert_allclose(found["thigh"], theirs, atol=1e-4 * np.abs(found["thigh"]).max())


def test_a_probe_keeps_a_classifier_to_export(prepared, run, recording, tmp_path, capsys, torch):
    folder = tmp_path / "probe"
    flags = ["--config=configs/probe.py:smoke", f"--config.data.dir={prepared}", f"--config.encoder={run}"]
    flags += [f"--workdir={folder}", "--config.folds=2", "--config.methods=('pretrained',)"]
    assert probe.main([*flags, "--config.classifier=spectrogram_mlp"]) == 2
    assert "expected one of --config.methods that is on the pre-trained encoder: pretrained" in capsys.readouterr().err
    assert probe.main([*flags, "--config.classifier=pretrained"]) == 0
    (folder / "classifier").rename(tmp_path / "aside")
    assert export.main([f"--run={folder}", "--format=folder", f"--out={tmp_path}/x"]) == 2
    assert "let it keep one: --resume --config.classifier=METHOD" in capsys.readouterr().err
    (tmp_path / "aside").rename(folder / "classifier")
    before = (folder / "classifier" / "config.json").stat().st_mtime_ns
    assert probe.main([*flags, "--resume", "--config.classifier=pretrained"]) == 0  # found, not trained again
    assert f"trained on all subjects: {folder}/classifier" in capsys.readouterr().out
    assert (folder / "classifier" / "config.json").stat().st_mtime_ns == before
    assert export.main([f"--run={folder}", "--format=folder", f"--out={tmp_path}/x"]) == 2
    assert f"name {folder}/classifier" in capsys.readouterr().err
    kept = folder / "classifier"
    assert export.main([f"--run={kept}", "--format=folder", f"--out={tmp_path}/x"]) == 0
    assert export.main([f"--run={kept}", "--format=onnx", f"--out={tmp_path}/x.onnx"]) == 0
    assert export.main([f"--run={kept}", "--format=state_dict", f"--out={tmp_path}/x.pt"]) == 2
    assert "is for encoders" in capsys.readouterr().err
    from selfpab_jax.interop import torch_encoder

    module = torch_encoder.load(tmp_path / "x")
    values = np.loadtxt(recording, delimiter=",", skiprows=1, usecols=range(1, 7), dtype=np.float32)
    probability = torch_encoder.over_recording(module, values)
    assert probability.shape == (39, len(module.labels)) and "walking" in module.labels
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    # It is the trained head on the encoder that was trained along.
    what, _ = load_exported(kept, "best", "x")
    encoder = load_exported(run, "best", "x")[0]
    assert any((a != b).any() for a, b in zip(leaves(what.params), leaves(encoder.params), strict=True))
    text = (tmp_path / "x" / "README.md").read_text()
    assert "Activity classifier" in text and "Macro F1: " in text and "4 subjects" in text and "walking" in text


@pytest.mark.parametrize(
    ("job", "flags", "sentence"),
    [
        (import_weights, {"weights": "no.pt"}, "--weights: found no file no.pt"),
        (import_weights, {"norm": "nowhere"}, "--norm: found no folder nowhere"),
        (import_weights, {"norm": "configs"}, "found neither mean.csv nor normalization.npz in configs"),
        (import_weights, {"heads": "3"}, "--heads is 3, but"),
        (import_weights, {"sensors": "thigh"}, "--sensors names thigh, but"),
        (import_weights, {"magnitude": "log"}, "--magnitude is log, but"),
        (import_weights, {"out": "configs"}, "--out: configs exists already, expected a new folder"),
        (import_weights, {"sensor": "thigh"}, "unknown flag --sensor; did you mean --sensors?"),
        (export, {"format": "folder", "license": "x: y"}, "--license is 'x: y', expected a short name"),
        (export, {"license": "cc0"}, "--license has a meaning for --format folder and onnx only"),
        (export, {"run": "configs"}, "configs: no config.json in it, expected a run folder"),
        (export, {"format": "tensorflow"}, "invalid choice: 'tensorflow'"),
        (export, {"out": "x.pt"}, "--out is x.pt, expected a name that ends in .ckpt"),
        (export, {"features": "all"}, "--features has a meaning for --format onnx only"),
        (export, {"out": "here.ckpt"}, "here.ckpt exists already"),
    ],
)
def test_mistakes_are_one_sentence(job, flags, sentence, run, files, tmp_path, capsys):
    (tmp_path / "here.ckpt").touch()
    if flags.get("out") == "here.ckpt":
        flags = {"out": tmp_path / "here.ckpt"}
    given = {"weights": files / "lightning.ckpt"} if job is import_weights else {"run": run, "format": "lightning"}
    given = given | {"out": tmp_path / ("run" if job is import_weights else "x.ckpt")} | flags
    assert job.main([f"--{name}={value}" for name, value in given.items()]) == 2
    lines = capsys.readouterr().err.splitlines()
    name = "import" if job is import_weights else "export"
    assert sentence in lines[-1] and lines[-1].startswith(f"selfpab {name}: error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["here.ckpt"]


def test_without_statistics_it_can_be_exported_only(files, recording, tmp_path, capsys):
    run = tmp_path / "run"
    assert import_weights.main([f"--weights={files}/state_dict.pt", f"--out={run}", "--heads=2"]) == 0
    assert "can be exported but not probed" in capsys.readouterr().err
    assert features.main([f"--run={run}", f"--input={recording}", f"--out={tmp_path}/f.npz"]) == 2
    sentence = "was imported without normalisation statistics: import the weights again with --norm=DIR"
    assert sentence in capsys.readouterr().err
    assert export.main([f"--run={run}", "--format=folder", f"--out={tmp_path}/x"]) == 2
    assert "--format folder contains" in capsys.readouterr().err
    assert {path.name for path in run.iterdir()} == {"config.json", "imported.json", "checkpoints"}
    assert json.loads((run / "imported.json").read_text())["file"] == "state_dict.pt"


def test_statistics_of_another_width_are_refused(files, tmp_path, capsys):
    for name in ("mean", "std"):
        (tmp_path / f"{name}.csv").write_text("1.5\n" * 100)
    flags = [f"--weights={files}/lightning.ckpt", f"--out={tmp_path}/run", f"--norm={tmp_path}"]
    assert import_weights.main(flags) == 2
    assert "linear_mean has 100 values, expected 156 for the channels back_x" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_missing_extra_is_named(run, tmp_path, capsys, monkeypatch):
    for package, form in (("torch", "state_dict"), ("safetensors", "folder"), ("onnxruntime", "onnx")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            patch.setitem(sys.modules, f"{package}.numpy", None)
            out = f"{tmp_path}/x{export.SUFFIXES[form]}"
            assert export.main([f"--run={run}", f"--format={form}", f"--out={out}"]) == 2
        assert f"{package} is not installed: pip install -e '.[torch]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
