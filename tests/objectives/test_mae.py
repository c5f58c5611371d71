"""The masked autoencoder's objective: its loss by hand, what it depends on, and two steps of the smoke config."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.contract import fake_batch
from launch.config_file import load_config
from selfpab_jax.losses import Spectrum
from selfpab_jax.models.functional import model_state, split
from selfpab_jax.objectives import mae
from selfpab_jax.objectives.method import row_keys
from selfpab_jax.signals.patches import random_kept
from selfpab_jax.train import optim, sharding, step

TOKENS, PATCH = 10, 60
WEIGHTS = {"lmm": 1.0, "lmv": 0.5, "mse": 2.0}


def config_with(**fields) -> dict:
    """The smoke config at an even smaller size; `group__name=value` changes a field."""
    config = load_config("configs/mae.py:smoke")
    small = {"model.patch": PATCH, "model.layers": 1, "spectrum.frame_length": 20, "spectrum.hop": 10}
    config.update_from_flattened_dict(small | {name.replace("__", "."): value for name, value in fields.items()})
    return config.to_dict()


@pytest.fixture(scope="module")
def method():
    return mae.build(config_with(**{f"loss__{name}": weight for name, weight in WEIGHTS.items()}), {})


@pytest.fixture(scope="module")
def objective(method):
    """Jitted (batch, key) -> (loss, metrics)."""
    return jax.jit(lambda batch, key: method.objective(method.model, batch, key, True))


@pytest.fixture(scope="module")
def batch():
    """A few rows of ten patches and five samples that are left over."""
    return fake_batch(4, channels=3, samples=TOKENS * PATCH + 5, valid=True)


@pytest.fixture
def key():
    return jax.random.key(3)


def masked_of(key, rows=4) -> np.ndarray:
    """bool [B, N], row by row as the objective promises to draw them: six of ten patches."""
    masked = np.ones((rows, TOKENS), bool)
    for row, row_key in enumerate(row_keys(key, np.arange(rows))):
        masked[row, random_kept(row_key, TOKENS, 0.6)] = False
    assert (masked.sum(axis=1) == 6).all()
    return masked


def test_loss_by_hand(method, objective, batch, key, agree):
    """Masked patches, frames and logarithms one by one in float64."""
    loss, metrics = objective(batch, key)
    signal = batch["acceleration"].astype(np.float64) * batch["scale"][:, None, None]
    masked = masked_of(key)
    cut = signal[:, :, : TOKENS * PATCH].reshape(4, 3, TOKENS, PATCH).swapaxes(1, 2).astype(np.float32)
    kept = np.argwhere(~masked)[:, 1].reshape(4, -1)
    prediction = np.asarray(jax.jit(lambda: method.model(cut, kept)["reconstruction"])(), np.float64)
    window, found = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(20) / 20), {"lmm": [], "lmv": [], "mse": []}
    for b, n in np.argwhere(masked):
        logs = []
        for patch in (prediction[b, n], cut[b, n].astype(np.float64)):
            magnitude = np.array([np.abs(np.fft.rfft(patch[:, t : t + 20] * window)) for t in range(0, 41, 10)])
            logs.append((np.log10(np.maximum(magnitude.mean(0), 1e-4)), np.log10(np.maximum(magnitude.var(0), 1e-8))))
        found["lmm"].append(((logs[0][0] - logs[1][0]) ** 2).mean())
        found["lmv"].append(((logs[0][1] - logs[1][1]) ** 2).mean())
        found["mse"].append(((prediction[b, n] - cut[b, n]) ** 2).mean())
    assert metrics.keys() == found.keys()
    for name, values in found.items():
        agree(f"{name} of the objective vs written out", metrics[name], np.mean(values), 1e-4)
    agree("weighted sum", loss, sum(WEIGHTS[name] * np.mean(values) for name, values in found.items()), 1e-4)


def test_loss_of_weight_zero_is_measured_but_not_added(batch, key, objective):
    method = mae.build(config_with(), {})
    loss, metrics = jax.jit(lambda: method.objective(method.model, batch, key, True))()
    assert loss == metrics["lmm"]
    assert {name: float(value) for name, value in metrics.items()} == {
        name: pytest.approx(float(value), rel=1e-5) for name, value in objective(batch, key)[1].items()
    }


def test_a_single_frame_has_no_variance(batch, key):
    method = mae.build(config_with(spectrum__frame_length=PATCH), {})
    _, metrics = jax.eval_shape(lambda: method.objective(method.model, batch, key, True))
    assert metrics.keys() == {"lmm", "mse"}


def test_only_masked_patches_decide(objective, batch, key):
    """The target of a visible patch does not enter the loss; that of a masked one does, though no model sees it."""
    _, before = objective(batch, key)
    masked = masked_of(key)
    for row_masked in (True, False):
        changed = batch | {"acceleration": batch["acceleration"].copy()}
        for b in range(4):
            n = np.flatnonzero(masked[b] == row_masked)[0]
            changed["acceleration"][b, :, n * PATCH : (n + 1) * PATCH] += 4096
        _, after = objective(changed, key)
        # Gravity grows by 1 g in one of six masked patches: MSE by about 1/6 of 1 - 2 * error, much more than a
        # slightly different view does.
        assert (abs(after["mse"] - before["mse"]) > 0.05) == row_masked
    left_over = batch | {"acceleration": batch["acceleration"].copy()}
    left_over["acceleration"][:, :, TOKENS * PATCH :] = 32_000
    np.testing.assert_array_equal(objective(left_over, key)[1]["mse"], before["mse"])


def test_rows_draw_for_themselves(objective, batch, key):
    """A row's mask comes from its number, and what padding rows hold changes nothing for the others."""
    masked = masked_of(key)
    assert len(np.unique(masked, axis=0)) == 4
    invalid = batch | {"valid": np.array([True, True, False, False])}
    changed = invalid | {"acceleration": invalid["acceleration"].copy()}
    changed["acceleration"][2:] = 1000
    for name, value in objective(invalid, key)[1].items():
        np.testing.assert_allclose(objective(changed, key)[1][name], value, rtol=1e-6)
    assert objective(batch, jax.random.key(4))[0] != objective(batch, key)[0]


def test_loss_over_four_devices_equals_that_on_one(method, objective, batch, key):
    if jax.device_count() < 4:
        pytest.skip("fewer than four devices")
    spread = sharding.to_devices(batch, sharding.make_mesh(devices=jax.devices()[:4]), 4)
    np.testing.assert_allclose(objective(spread, key)[0], objective(batch, key)[0], rtol=1e-5)


def test_what_probing_and_pictures_get(method, batch, key):
    signal = jnp.asarray(batch["acceleration"], jnp.float32) / 4096
    layers, inputs, parts = jax.jit(
        lambda: (method.encode(method.model, signal), method.inputs(signal), method.preview(method.model, signal, key))
    )()
    assert (method.recorded, method.tokens) == (("wrist_x", "wrist_y", "wrist_z"), (30, PATCH, PATCH))
    assert [layer.shape for layer in layers] == [(4, TOKENS, 16)] * 2
    assert inputs.shape == (4, TOKENS, 3 * (11 + 1))
    np.testing.assert_allclose(inputs.reshape(4, TOKENS, 3, 12)[2, 3, 1, -1], signal[2, 1, 180:240].mean(), rtol=1e-4)
    np.testing.assert_array_equal(parts["signal"], signal[..., : TOKENS * PATCH])
    np.testing.assert_array_equal(parts["masked"], masked_of(key))
    assert parts["reconstruction"].shape == parts["signal"].shape
    assert parts["log_magnitude"].shape == parts["reconstructed_log_magnitude"].shape == (4, TOKENS, 3, 11)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"model__channels": 6}, "model.channels is 6, expected 3, the axes of one sensor"),
        ({"mask_ratio": 1.0}, "mask_ratio is 1.0, expected a share between 0 and 1, both excluded, such as 0.6"),
        ({"loss__lmm": 0.0}, "expected weights of 0 or more with at least one above 0"),
        ({"loss__mse": -1.0}, "expected weights of 0 or more with at least one above 0"),
        ({"loss__lmv": 0.5, "spectrum__frame_length": 60}, "loss.lmv is 0.5 with a single frame of spectrum.frame_len"),
        ({"spectrum__frame_length": 61}, "spectrum.frame_length is 61 samples, expected at most a patch (60 samples)"),
        ({"model__heads": 3}, "model.d_model is 16, expected a multiple of twice model.heads (6)"),
        ({"spectrum__window": "flat"}, "spectrum.window is 'flat', expected hann or rectangular"),
    ],
)
def test_impossible_settings(fields, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        mae.build(config_with(**fields), {})


def test_the_config_states_the_defaults_of_the_library():
    config = load_config("configs/mae.py").to_dict()
    assert config["spectrum"] == dataclasses.asdict(Spectrum())
    assert config["model"] == dataclasses.asdict(mae.MaeConfig())


def test_two_steps_of_the_smoke_config():
    """The loss falls, every parameter moves, and the seed decides where they began."""
    config = load_config("configs/mae.py:smoke").to_dict()
    windows = fake_batch(2, channels=3, samples=8 * config["model"]["patch"])
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    cfg = optim.OptimizerConfig(**config["optimizer"] | {"warmup": 0.0, "learning_rate": 3e-3})
    optimizer, schedule = optim.adamw(cfg, 1000)
    method = mae.build(config, {})
    merge, params, extra = split(method.model)
    start = jax.device_get(params)
    state, found = step.init_state(params, extra, optimizer, mesh), []
    run = step.make_train_step(method.objective, merge, model_state, optimizer, schedule, state)
    for _ in range(2):
        state, metrics = run(
            state, sharding.to_devices(windows, mesh, 2), jax.random.key(0), sharding.flags(mesh)[False]
        )
        found.append(jax.device_get(metrics))
    assert found[1]["loss"] < found[0]["loss"]
    assert found[1]["skipped"] == 0 and {"lmm", "lmv", "mse", "grad_norm"} <= found[1].keys()
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start, jax.device_get(state["params"]))
    assert all(jax.tree.leaves(moved))
    for seed in (0, 1):
        kernel = split(mae.build(config | {"seed": seed}, {}).model).params["head"]["kernel"]
        assert np.array_equal(kernel, start["head"]["kernel"]) == (seed == 0)
