"""The PyTorch module that is exported, against the encoder it comes from; and alone, without JAX."""

import dataclasses
import json
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.evaluate.features import recording_features
from selfpab_jax.interop import exports
from selfpab_jax.losses import masked_l1
from selfpab_jax.models.encoder import EncoderConfig, spectrogram_encoder
from selfpab_jax.models.functional import split
from selfpab_jax.models.heads import probe_head
from selfpab_jax.objectives.selfpab import normalised_spectrogram
from selfpab_jax.signals.stft import FRAMES, n_frames

LAYER, MODEL = 1e-5, 1e-4  # relative to the largest value


pytest.importorskip("safetensors")
pytest.importorskip("torch")
from selfpab_jax.interop import torch_encoder  # noqa: E402  (where there is no torch, the tests above skip the file)


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def jax_layers(random_params):
    """(what, acceleration [B, S, C], valid) -> our layer outputs [B, T, D], the embedding first."""

    def run(what, acceleration, valid=None):
        cfg = EncoderConfig(**what.config["model"])
        merge, _, model_state = random_params(cfg)
        mean, std = what.normalization.values()

        @jax.jit
        def layers(params, acceleration):
            x = normalised_spectrogram(acceleration.transpose(0, 2, 1), mean, std, what.config["magnitude"])
            return merge(params, model_state)(x, valid)["layers"]

        return layers(what.params, acceleration)

    return run


@pytest.mark.parametrize(
    ("magnitude", "sensors"), [("linear", ("back", "thigh")), ("log", ("back", "thigh")), ("linear", ("thigh",))]
)
def test_every_layer_equals_ours(magnitude, sensors, exported, small, acceleration, jax_layers, agree, torch):
    width = 78 * len(sensors)
    what = exported(dataclasses.replace(small, in_features=width, out_features=width), magnitude, sensors)
    acceleration = acceleration[..., -3 * len(sensors) :]
    expected = jax_layers(what, acceleration)
    module = exports.torch_module(what, "all")
    assert module.channels == tuple(what.config["channels"])
    with torch.no_grad():
        found = module(torch.tensor(acceleration))
        weighted = exports.torch_module(what, "weighted")(torch.tensor(acceleration))
        last = exports.torch_module(what)(torch.tensor(acceleration))
    assert found.shape == (2, n_frames(2000), 3, 60)
    agree("embedding", found[:, :, 0], expected[0], LAYER)
    for i in (1, 2):
        agree(f"layer {i}", found[:, :, i], expected[i], MODEL)
    np.testing.assert_array_equal(last, found[:, :, -1])
    agree("weighted sum", weighted, np.mean(np.stack(expected), axis=0), MODEL)


def test_padding_is_left_out_as_in_ours(exported, small, acceleration, jax_layers, agree, torch):
    what = exported(small)
    valid = np.arange(n_frames(2000)) < np.array([[79], [30]])
    expected = jax_layers(what, acceleration, valid)[-1]
    with torch.no_grad():
        found = exports.torch_module(what)(torch.tensor(acceleration), torch.tensor(valid))
    agree("last layer under padding", found, expected, MODEL)


def gradient_differences(what, frames, torch, agree):
    """Compares loss and gradient of a masked L1 step on random spectrograms; every parameter gets one."""
    cfg = EncoderConfig(**what.config["model"])
    draw = np.random.default_rng(3)
    x, target = draw.standard_normal((2, 1, frames, cfg.in_features), np.float32)
    cells = draw.random(x.shape) < 0.2
    merge, _, model_state = split(spectrogram_encoder(cfg, 0))

    def loss_of(params):
        return masked_l1(merge(params, model_state)(x)["reconstruction"], target, cells)

    loss, gradient = jax.jit(jax.value_and_grad(loss_of))(jax.tree.map(jnp.asarray, what.params))
    module = exports.torch_module(what)
    error = (module.reconstruct(torch.tensor(x)) - torch.tensor(target)).abs()
    theirs = (error * torch.tensor(cells)).sum() / int(cells.sum())
    theirs.backward()
    agree("loss of a step", loss, theirs.item(), MODEL)
    gradients = exports.tensors(what._replace(params=gradient))
    parameters = dict(module.named_parameters())
    assert gradients.keys() == parameters.keys()
    for name, value in gradients.items():
        agree(f"gradient of {name}", value, parameters[name].grad, MODEL)


def test_loss_and_gradient_of_a_step_equal_ours(exported, small, torch, agree):
    gradient_differences(exported(dataclasses.replace(small, dropout=0.0)), 40, torch, agree)


@pytest.mark.slow
def test_full_size_equals_ours(exported, jax_layers, torch, agree):
    """The published 61.1 M parameters: layers of a window of five minutes, loss and gradient of a step."""
    what = exported(EncoderConfig(dropout=0.0))
    acceleration = np.random.default_rng(0).normal(0, 0.3, (1, 15_000, 6)).astype(np.float32)
    acceleration += np.arange(6) % 3 == 0
    expected = jax_layers(what, acceleration)
    with torch.no_grad():
        found = exports.torch_module(what, "all")(torch.tensor(acceleration))
    agree("full size, embedding", found[:, :, 0], expected[0], LAYER)
    for i in range(1, 5):
        agree(f"full size, layer {i}", found[:, :, i], expected[i], MODEL)
    # Over 599 frames one of 4.9 million ReLU inputs lies so near 0 that rounding decides its side, and the gradient of
    # that one unit differs by 5e-4; the 60 frames drawn here have none.
    gradient_differences(what, 60, torch, agree)


@pytest.mark.parametrize("hidden", [24, 0])
def test_a_classifier_equals_ours(hidden, exported, small, acceleration, jax_layers, agree, torch):
    head = split(probe_head(2, 60, hidden, 3, seed=5))
    params = {**head.params, "layer_weight": jnp.array([0.9, -0.4])}
    what = exported(small)
    described = {"labels": ["walking", "sitting", "lying"], "codes": [1, 7, 8], "layers": [0, 2], "hidden": hidden}
    what = what._replace(config=what.config | {"classifier": described}, head=params)
    layers = jax_layers(what, acceleration)
    expected = head.merge(params, {})(jnp.stack([layers[0], layers[2]], axis=2))
    module = exports.torch_module(what)
    with torch.no_grad():
        found = module(torch.tensor(acceleration))
    assert module.labels == ("walking", "sitting", "lying") and module.codes == (1, 7, 8)
    agree("log-probabilities", found, expected, MODEL)


def test_a_recording_is_cut_and_averaged_as_ours(exported, small, jax_layers, agree, torch, monkeypatch, acceleration):
    monkeypatch.setattr(torch_encoder, "WINDOW_FRAMES", 30)
    what, scale = exported(small), 1 / 4096
    counts = np.round(acceleration[0].T / scale).astype(np.int16)  # [C, S]

    def encode(acceleration, valid):
        return [jax_layers(what, acceleration.transpose(0, 2, 1), valid)[-1]]

    expected, _ = recording_features(encode, counts, scale, [slice(0, 2000)], FRAMES, length=30, stride=20)
    module = exports.torch_module(what)
    found = torch_encoder.over_recording(module, counts.T * np.float32(scale), stride=20)
    agree("features of a recording", found, expected[:, 0], MODEL)
    module.train()
    short = torch_encoder.over_recording(module, acceleration[0, :600], stride=20)
    assert module.training
    with torch.no_grad():
        module.eval()
        np.testing.assert_allclose(short, module(torch.tensor(acceleration[:1, :600]))[0], rtol=1e-5, atol=1e-5)


def test_it_trains_and_moves(exported, small, acceleration, torch):
    """Dropout in training only; gradients reach the weights of the sum; half precision by autocast, not in the STFT."""
    module = exports.torch_module(exported(small), "weighted")
    x = torch.tensor(acceleration)
    with torch.no_grad():
        plain = module(x)
        assert torch.equal(plain, module(x)) and not torch.equal(plain, module.train()(x))
        with torch.autocast("cpu", torch.bfloat16):
            half, spectrogram = module.eval()(x), module.spectrogram(x)
    assert torch.equal(spectrogram, module.spectrogram(x)) and spectrogram.dtype == torch.float32
    assert (half - plain).abs().max() < 0.05 * plain.abs().max()
    module(x).square().mean().backward()
    assert module.layer_weight.grad.abs().min() > 0
    for dtype in (torch.float64, torch.float16, torch.bfloat16):  # of module and of input
        other = exports.torch_module(exported(small))
        reference = other(x).detach()
        assert other.eval()(x.double()).dtype == torch.float32
        found = other.to(dtype)(x.to(dtype)).detach()
        assert found.dtype == dtype and (found - reference).abs().max() < 0.2 * reference.abs().max()
    assert torch_encoder.Encoder(exported(small).config).eval()(x).isnan().all()  # nobody loaded its normalisation
    module.to("meta")  # every tensor of the module moves


def test_it_can_be_traced(exported, small, acceleration, torch, agree):
    module = exports.torch_module(exported(small), "all")
    dims = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=75, max=250_025)}
    program = torch.export.export(module, (torch.tensor(acceleration),), dynamic_shapes={"acceleration": dims})
    with torch.no_grad():
        for shape in ((3, 701), (1, 75), (2, 2000)):
            x = torch.tensor(acceleration[:1, : shape[1]]).expand(shape[0], -1, -1)
            agree(f"traced, {shape}", program.module()(x), module(x), 1e-6)


def test_mistakes_are_one_sentence(exported, small, tmp_path, torch):
    what = exported(small)
    exports.write_folder(what, "card", tmp_path / "e")
    module = torch_encoder.load(tmp_path / "e")
    for shape, sentence in (
        ((1, 6, 2000), r"shape \(1, 6, 2000\), expected \[B, S, 6\] with the channels back_x"),
        ((1, 49, 6), "S >= 50 samples at 50 Hz"),
        ((1, 250_050, 6), "250,050 samples, expected below 250,050"),
    ):
        with pytest.raises(ValueError, match=sentence):
            module(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"acceleration is a ndarray, expected a tensor: torch.from_numpy"):
        module(np.zeros((1, 100, 6), np.float32))
    holed = np.zeros((100, 6))
    holed[7, 2] = np.nan
    for recording, how, sentence in (
        (np.zeros((6, 100)), {}, r"the recording has shape \(6, 100\), expected \[S, 6\] with S >= 50"),
        (holed, {}, "sample 7 of the recording is not finite"),
        (np.zeros((100, 6)), {"stride": 600}, "stride is 600 and batch 8, expected 1 to 599"),
    ):
        with pytest.raises(ValueError, match=sentence):
            torch_encoder.over_recording(module, recording, **how)
    with pytest.raises(ValueError, match="features is 'best', expected last, weighted, all"):
        torch_encoder.load(tmp_path / "e", "best")
    with pytest.raises(FileNotFoundError, match="no config.json in it"):
        torch_encoder.load(tmp_path)
    file = tmp_path / "e" / "model.safetensors"
    content = file.read_bytes()
    for damaged in (content[:-8], content[:100], b"\xff" * 100, b""):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model.safetensors does not match its checksum in config.json"):
            torch_encoder.load(tmp_path / "e")
    file.write_bytes(content)
    config = json.loads((tmp_path / "e" / "config.json").read_text())
    for change, sentence in (
        ({"layers": 3}, "does not fit config.json: .*layers.2.linear1.bias"),
        ({"ff": 40}, "does not fit config.json: .*layers.0.linear1.bias, "),
        ({"in_features": 78}, "does not fit config.json"),
        ({"heads": None}, "config.json is damaged or incomplete"),
    ):
        model = json.dumps({**config, "model": {**config["model"], **change}})
        (tmp_path / "e" / "config.json").write_text(model)
        with pytest.raises(ValueError, match=sentence):
            torch_encoder.load(tmp_path / "e")


def test_the_copied_file_works_alone(exported, small, acceleration, tmp_path, torch):
    """In a process that refuses jax, flax, safetensors and this project."""
    exports.write_folder(exported(small), "card", tmp_path / "e")
    np.save(tmp_path / "x.npy", acceleration)
    program = """
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {"jax", "jaxlib", "flax", "safetensors", "selfpab_jax", "orbax"}:
                    raise ImportError(name)
        sys.meta_path.insert(0, Refuse())
        sys.path[:] = [sys.argv[1] + "/e", *(place for place in sys.path if place)]
        import numpy as np, torch
        from torch_encoder import load
        torch.set_num_threads(1)
        x = torch.tensor(np.load(sys.argv[1] + "/x.npy"))
        np.save(sys.argv[1] + "/y.npy", load(sys.argv[1] + "/e")(x).detach())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=120)
    with torch.no_grad():
        expected = exports.torch_module(exported(small))(torch.tensor(acceleration))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-5, atol=1e-5)
