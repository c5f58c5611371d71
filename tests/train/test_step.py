"""Schedule, optimizer and the jitted step: against formulas, PyTorch, and over one and four devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.models.functional import model_state, split
from selfpab_jax.objectives import selfpab
from selfpab_jax.objectives.method import row_keys
from selfpab_jax.train.optim import OptimizerConfig, adamw, warmup_linear_decay
from selfpab_jax.train.sharding import by_row, check_divides, flags, make_mesh, replicated, to_devices
from selfpab_jax.train.step import init_state, make_train_step, make_valid_step

# ---- schedule and optimizer -----------------------------------------------------------------------------------------


def transcribed(n, total, warmup=0.07, high=1e-4):
    """Rate of step n (from 1) of the original code, except its first, which it makes at the full rate."""
    low = 0.01 * high
    p = min(n / total, 1)
    if p < warmup:
        return (1 - p / (warmup + 1e-6)) * low + p / (warmup + 1e-6) * high
    q = (p - warmup) / (1 - warmup)
    return (1 - q) * high + q * low


@pytest.mark.parametrize("total", [20, 1000, 843_750])
def test_schedule_equals_the_formula(total, agree):
    counts = np.unique(np.concatenate([np.arange(min(total, 300)), np.linspace(0, total + 10, 500).astype(int)]))
    ours = jax.vmap(warmup_linear_decay(1e-4, total))(jnp.asarray(counts))
    # The formula jumps by 1.4e-5 of the peak where the warm-up ends, and float32 may end it a step apart.
    agree(f"schedule of {total} steps", ours, [transcribed(n + 1, total) for n in counts], 2e-5)


def test_schedule_by_hand():
    """100 steps: 7 of warm-up, from 1e-6 + 1/7 of the way, to the peak with the seventh, to 1e-6 with the last."""
    rate = warmup_linear_decay(1e-4, 100)
    np.testing.assert_allclose(rate(0), 1e-6 + 99e-6 / 7, rtol=2e-5)
    np.testing.assert_allclose(rate(6), 1e-4, rtol=2e-5)
    np.testing.assert_allclose(rate(52), 1e-4 - 99e-6 * 46 / 93, rtol=2e-5)
    np.testing.assert_allclose(rate(99), 1e-6, rtol=1e-4)
    np.testing.assert_allclose(rate(150), 1e-6, rtol=1e-4)  # stays there
    rates = np.array([rate(n) for n in range(100)])
    assert rates.argmax() == 6
    assert (np.diff(rates[:7]) > 0).all() and (np.diff(rates[6:]) < 0).all()


def test_adamw_equals_torch(agree):
    """Twelve updates under the schedule; weight decay on biases too."""
    torch = pytest.importorskip("torch")
    draw, steps = np.random.default_rng(0), 12
    start = {"kernel": draw.normal(size=(5, 3)).astype(np.float32), "bias": draw.normal(size=3).astype(np.float32)}
    cfg = OptimizerConfig(learning_rate=0.1, weight_decay=0.2, warmup=0.3)
    optimizer, _ = adamw(cfg, steps)
    theirs = {name: torch.nn.Parameter(torch.tensor(value, dtype=torch.float64)) for name, value in start.items()}
    of_torch = torch.optim.AdamW(theirs.values(), lr=1.0, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.2)
    params, state, update = start, optimizer.init(start), jax.jit(optimizer.update)
    for n in range(steps):
        gradient = {name: draw.normal(size=value.shape).astype(np.float32) for name, value in start.items()}
        updates, state = update(gradient, state, params)
        params = {name: params[name] + np.asarray(updates[name]) for name in params}
        for name, value in gradient.items():
            theirs[name].grad = torch.tensor(value, dtype=torch.float64)
        of_torch.param_groups[0]["lr"] = transcribed(n + 1, steps, warmup=0.3, high=0.1)
        of_torch.step()
    for name, value in params.items():
        assert np.abs(value - start[name]).max() > 0.1
        agree(f"AdamW vs torch after {steps} updates, {name}", value, theirs[name].detach(), 1e-6)


def test_published_optimizer():
    assert OptimizerConfig() == OptimizerConfig(1e-4, 0.9, 0.98, 1e-8, 1e-5, 0.07, 0.01)


# ---- the step, on a regression with a running mean ------------------------------------------------------------------


def merge(params, model_state):
    return {"params": params, "state": model_state}


def regression(model, batch, rng, train):
    """Squared error; `root` 0 has an infinite slope at a finite loss, `extra` goes to the model's state only."""
    params, state = model["params"], model["state"]
    model["state"] = {"mean": 0.5 * state["mean"] + 0.5 * (batch["x"].mean() + batch["extra"].mean())}
    noise = jax.vmap(jax.random.normal)(row_keys(rng, batch["row"])) if train else 0
    error = batch["x"] @ params["w"] + params["b"] - batch["y"] + 0.1 * noise
    root = batch["root"].min()
    loss = jnp.mean(error**2) + jnp.sqrt(root + 0 * params["b"]) - jnp.sqrt(root)
    return loss, {"error": error.mean()}


def rows(n=8, seed=0, **bad):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 4)).astype(np.float32)
    batch = {"x": x, "y": x.sum(1), "root": np.ones(n, np.float32), "extra": np.zeros(n, np.float32)}
    for name, value in bad.items():
        batch[name] = batch[name].copy()
        batch[name].flat[3] = value
    return batch


@functools.cache
def setup():
    """(mesh, optimizer, schedule, jitted step): compiled once for all tests."""
    mesh = make_mesh(devices=jax.devices()[:1])
    optimizer, schedule = adamw(OptimizerConfig(learning_rate=0.1), 50)
    state = init_state(*start(), optimizer, mesh)
    step = make_train_step(regression, merge, lambda model: model["state"], optimizer, schedule, state)
    return mesh, optimizer, schedule, step


def start():
    return {"w": jnp.zeros(4), "b": jnp.ones(())}, {"mean": jnp.zeros(())}


def run(batches):
    """(state on the host after each batch, metrics of each); the state's own memory is donated."""
    mesh, optimizer, _, step = setup()
    state = init_state(*start(), optimizer, mesh)
    key = jax.device_put(jax.random.key(0), replicated(mesh))
    states, metrics = [jax.device_get(state)], []
    for batch in batches:
        state, values = step(state, to_devices(batch, mesh, 8), key, flags(mesh)[False])
        states.append(jax.device_get(state))
        metrics.append(jax.device_get(values))
    return states, metrics


KEPT = ("params", "opt_state", "model_state")


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("bad", [{"x": np.nan}, {"y": np.inf}, {"root": 0.0}, {"extra": np.inf}], ids=lambda b: [*b][0])
def test_update_that_is_not_finite_is_skipped(bad):
    batches = [rows(seed=0), rows(seed=1, **bad), rows(seed=2, **bad), rows(seed=3)]
    states, metrics = run(batches)
    for name in KEPT:
        assert_same_bits(states[1][name], states[2][name])
        assert_same_bits(states[1][name], states[3][name])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[4][name]))
    assert (states[4]["params"]["w"] != states[3]["params"]["w"]).all()
    assert [int(state["step"]) for state in states] == [0, 1, 2, 3, 4]
    assert [int(state["skipped"]) for state in states] == [0, 0, 1, 2, 2]
    assert [int(state["bad_streak"]) for state in states] == [0, 0, 1, 2, 0]
    assert [int(values["skipped"]) for values in metrics] == [0, 1, 1, 0]
    assert [int(values["bad_streak"]) for values in metrics] == [0, 1, 2, 0]
    assert np.isfinite(metrics[1]["loss"]) == (not {"x", "y"} & bad.keys())


def test_skipped_updates_do_not_use_up_the_schedule():
    schedule = setup()[2]
    _, metrics = run([rows(), rows(x=np.nan), rows(), rows()])
    np.testing.assert_allclose([m["learning_rate"] for m in metrics], [schedule(n) for n in (0, 1, 1, 2)], rtol=1e-6)


def test_first_step_by_hand():
    """Adam's first update is the rate times the sign of the gradient; decay and model state as written."""
    batch = rows()
    states, (metrics,) = run([batch])
    before, after = states[0]["params"], states[1]["params"]
    key = jax.random.fold_in(jax.random.key(0), 0)  # (key, step) and then (…, row)
    noise = np.array([jax.random.normal(jax.random.fold_in(key, row)) for row in range(8)])
    error = batch["x"] @ before["w"] + before["b"] - batch["y"] + 0.1 * noise
    gradient = {"w": 2 * (batch["x"].T @ error) / 8, "b": 2 * error.mean()}
    rate = transcribed(1, 50, high=0.1)
    np.testing.assert_allclose(metrics["loss"], (error**2).mean(), rtol=1e-5)
    norm = np.sqrt(gradient["b"] ** 2 + (gradient["w"] ** 2).sum())
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    for name in ("w", "b"):
        moved = before[name] - rate * (np.sign(gradient[name]) + 1e-5 * before[name])
        np.testing.assert_allclose(after[name], moved, rtol=1e-5)
    np.testing.assert_allclose(states[1]["model_state"]["mean"], batch["x"].mean() / 2, rtol=1e-5)


def test_fresh_state_does_not_share_memory_with_the_model():
    """The step donates its state; the arrays the model was split into must survive that."""
    mesh, optimizer, _, step = setup()
    params, extra = jax.device_put(start(), replicated(mesh))
    state = init_state(params, extra, optimizer, mesh)
    step(state, to_devices(rows(), mesh, 8), jax.random.key(0), flags(mesh)[False])
    assert state["params"]["w"].is_deleted()
    assert not params["w"].is_deleted() and params["b"] == 1 and extra["mean"] == 0


def test_same_run_is_the_same_bits():
    batches = [rows(seed=seed) for seed in range(3)]
    assert_same_bits(run(batches)[0], run(batches)[0])


def test_validation_sums_over_valid_rows():
    def objective(model, batch, rng, train):
        assert train is False
        weight = batch["valid"] / batch["valid"].sum()
        return (batch["x"][:, 0] * weight).sum(), {"first": (batch["x"][:, 1] * weight).sum()}

    mesh, batch = make_mesh(), rows(8) | {"valid": np.arange(8) < 5}
    sums = make_valid_step(objective, merge, mesh)(
        {}, {}, to_devices(batch, mesh, 8), jax.random.key(0), flags(mesh)[False]
    )
    assert sums["rows"] == 5
    np.testing.assert_allclose(sums["loss"], batch["x"][:5, 0].sum(), rtol=1e-5)
    np.testing.assert_allclose(sums["first"], batch["x"][:5, 1].sum(), rtol=1e-5)


# ---- one device and four --------------------------------------------------------------------------------------------


def test_row_keys_do_not_depend_on_the_devices():
    key = jax.random.key(5)
    data = np.asarray(jax.random.key_data(row_keys(key, jnp.arange(8))))
    assert len(np.unique(data, axis=0)) == 8
    np.testing.assert_array_equal(jax.random.key_data(row_keys(key, jnp.arange(4))), data[:4])
    for devices in (1, 4):
        mesh = make_mesh(devices=jax.devices()[:devices])
        spread = jax.jit(lambda key: jax.random.key_data(row_keys(key, jnp.arange(8))), out_shardings=by_row(mesh))(key)
        assert len(spread.sharding.device_set) == devices
        np.testing.assert_array_equal(spread, data)


@pytest.fixture(scope="module")
def tiny():
    """(objective, merge, initial parameters) of the method; jitted, because layer by layer compiles far more."""
    config = {
        "seed": 0,
        "magnitude": "log",
        "sensors": ["back", "thigh"],
        "masking": {"reading": "original"},
        "model": {"d_model": 16, "heads": 2, "ff": 16, "layers": 1, "dropout": 0.1},
    }
    statistics = {"log_mean": np.full(156, 0.5, np.float32), "log_std": np.ones(156, np.float32)}
    parts = []

    def initial():
        method = selfpab.build(config, statistics)
        merge, params, _ = split(method.model)
        parts.extend([method.objective, merge])
        return params

    params = jax.device_get(jax.jit(initial)())
    return *parts, params


def test_four_devices_give_what_one_gives(tiny, agree):
    """Masks, dropout and sums of the whole method; three steps of eight 30-s windows."""
    assert len(jax.devices()) == 4, "tests/conftest.py asks for four virtual devices"
    draw = np.random.default_rng(0)
    batch = {
        "acceleration": draw.integers(-8000, 8000, (8, 6, 1500)).astype(np.int16),
        "scale": np.full(8, 1 / 4096, np.float32),
    }
    objective, merge, params = tiny
    optimizer, schedule = adamw(OptimizerConfig(), 20)
    results = {}
    for devices in (1, 4):
        mesh = make_mesh(devices=jax.devices()[:devices])
        state = init_state(params, {}, optimizer, mesh)
        step = make_train_step(objective, merge, model_state, optimizer, schedule, state)
        key = jax.device_put(jax.random.key(0), replicated(mesh))
        placed, metrics = to_devices(batch, mesh, 8), []
        assert len(placed["acceleration"].addressable_shards) == devices
        for _ in range(3):
            state, values = step(state, placed, key, flags(mesh)[False])
            metrics.append(jax.device_get(values))
        results[devices] = jax.device_get(state), metrics
    (one, metrics_of_one), (four, metrics_of_four) = results[1], results[4]
    for name in ("loss", "grad_norm", "altered_share"):
        agree(f"{name} on 4 devices vs 1", *([m[name] for m in ms] for ms in (metrics_of_four, metrics_of_one)), 1e-6)
    assert len({float(m["altered_share"]) for m in metrics_of_one}) == 3  # each step draws anew
    # A bias of the keys shifts all scores of a query alike, so that its gradient is 0 but for rounding, of which
    # AdamW makes whole steps: these 16 values are held to the size of such steps, all others to 1e-6.
    key_bias = slice(16, 32)
    biases = [state["params"]["blocks"][0]["attn"]["qkv"].pop("bias") for state in (four, one)]
    rates = sum(m["learning_rate"] for m in metrics_of_one)
    assert np.abs(biases[0] - biases[1])[key_bias].max() <= 2 * rates
    assert (one["params"]["embed"]["kernel"] != params["embed"]["kernel"]).all()
    flat = [
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state["params"])] + [np.delete(bias, key_bias)])
        for state, bias in zip((four, one), biases, strict=True)
    ]
    agree("parameters after 3 steps on 4 devices vs 1", *flat, 1e-6)


def test_batch_must_divide():
    mesh = make_mesh()
    assert check_divides(8, mesh) is None
    with pytest.raises(ValueError, match="data.batch_size is 6, expected a multiple of the 4 device\\(s\\) that share"):
        check_divides(6, mesh)
