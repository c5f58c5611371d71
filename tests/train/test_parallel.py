"""Meshes, and that a step gives the same however it is spread: over devices, over parts of a batch, over the state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from data_pipelines.contract import fake_batch
from selfpab_jax.models.functional import model_state, split
from selfpab_jax.objectives import mae, selfpab
from selfpab_jax.train.optim import OptimizerConfig, adamw
from selfpab_jax.train.sharding import (
    MeshConfig,
    by_shape,
    check_divides,
    flags,
    make_mesh,
    on_host,
    rows_of_process,
    to_devices,
)
from selfpab_jax.train.step import init_state, make_train_step, make_valid_step

ROWS = 8


def mesh_of(**axes):
    cfg = MeshConfig(**axes)
    return make_mesh(cfg, jax.devices()[: max(cfg.data, 1) * cfg.fsdp * cfg.tensor])


# ---- meshes and shardings by hand -----------------------------------------------------------------------------------


def test_axes():
    assert dict(make_mesh().shape) == {"data": 4, "fsdp": 1, "tensor": 1}
    assert dict(make_mesh(MeshConfig(fsdp=2)).shape) == {"data": 2, "fsdp": 2, "tensor": 1}
    assert dict(make_mesh(MeshConfig(1, 2, 2)).shape) == {"data": 1, "fsdp": 2, "tensor": 2}
    for cfg, found in [(MeshConfig(3), "data 3 x fsdp 1 x tensor 1"), (MeshConfig(0, 3), "data 0 x fsdp 3")]:
        with pytest.raises(ValueError, match=f"mesh is {found}.*but there are 4 device"):
            make_mesh(cfg)
    with pytest.raises(ValueError, match="mesh.fsdp is 0, expected 1 or more"):
        MeshConfig(fsdp=0)


def test_batch_must_divide_by_devices_and_parts():
    mesh = mesh_of(data=2, tensor=2)
    check_divides(4, mesh, 2)
    with pytest.raises(
        ValueError, match="data.batch_size is 6.*of the 2 device\\(s\\) that share its rows, times train.acc"
    ):
        check_divides(6, mesh, 2)


def test_state_is_split_by_name_and_shape():
    mesh, split_at = make_mesh(MeshConfig(1, 2, 2)), {"qkv/kernel": (1, 6), "out/kernel": (0, 3), "up/bias": (0, 128)}
    shapes = {
        "qkv": {"kernel": (64, 192)},  # heads divide: columns to tensor, rows to fsdp
        "out": {"kernel": (96, 64)},  # three heads do not divide by two: the longer axis to fsdp alone
        "up": {"bias": (128,)},  # too small for fsdp
        "setup": {"bias": (128,)},  # another name that ends alike
        "odd": {"kernel": (99, 101)},  # nothing divides
        "step": (),
    }
    tree = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), shapes, is_leaf=lambda x: type(x) is tuple
    )
    found = by_shape({"params": tree, "opt_state": ({"mu": tree},)}, mesh, split_at)
    expected = {
        "qkv": {"kernel": P("fsdp", "tensor")},
        "out": {"kernel": P("fsdp", None)},
        "up": {"bias": P("tensor")},
        "setup": {"bias": P(None)},
        "odd": {"kernel": P(None, None)},
        "step": P(),
    }
    for part in (found["params"], found["opt_state"][0]["mu"]):
        assert jax.tree.map(lambda sharding: sharding.spec, part) == expected


def test_rows_reach_the_devices_in_the_order_of_the_mesh():
    """Also where the mesh has its devices in another order than their numbers, as on a TPU."""
    devices = [jax.devices()[i] for i in (2, 0, 3, 1)]
    mesh = jax.sharding.Mesh(np.array(devices).reshape(2, 2, 1), ("data", "fsdp", "tensor"))
    assert rows_of_process(mesh, 8).tolist() == list(range(8))
    placed = to_devices({"x": np.arange(16).reshape(8, 2)}, mesh, 8)["x"]
    np.testing.assert_array_equal(placed, np.arange(16).reshape(8, 2))
    assert [
        int(shard.data[0, 0]) for shard in sorted(placed.addressable_shards, key=lambda s: devices.index(s.device))
    ] == [0, 4, 8, 12]


def test_any_flag_is_heard():
    mesh = make_mesh()
    assert jax.jit(jnp.any)(flags(mesh)[True]) and not jax.jit(jnp.any)(flags(mesh)[False])
    parts = [jax.device_put(np.array([i == 2]), device) for i, device in enumerate(mesh.devices.flat)]
    one = jax.make_array_from_single_device_arrays((4,), flags(mesh)[True].sharding, parts)
    assert jax.jit(jnp.any)(one)


# ---- steps of whole methods -----------------------------------------------------------------------------------------


def selfpab_method():
    statistics = {"log_mean": np.full(156, 0.5, np.float32), "log_std": np.ones(156, np.float32)}
    model = {"d_model": 64, "heads": 2, "ff": 64, "layers": 1, "dropout": 0.0}
    config = {"seed": 0, "magnitude": "log", "sensors": ["back", "thigh"], "masking": {"reading": "original"}}
    return selfpab.build(config | {"model": model}, statistics), fake_batch(ROWS, samples=1500)


def mae_method():
    config = {"seed": 0, "sensor": "wrist", "rate_hz": 30, "mask_ratio": 0.5, "loss": {"lmm": 1, "lmv": 1, "mse": 1}}
    config["model"] = {"patch": 60, "d_model": 64, "layers": 1, "heads": 2, "ff_ratio": 2.0}
    spectrum = {"frame_length": 30, "hop": 15, "window": "hann", "average": "log_of_mean", "log_base": "10"}
    config["spectrum"] = spectrum | {"floor": 1e-4, "distance": "l2", "pool": 1}
    return mae.build(config, {}), fake_batch(ROWS, channels=3, samples=600)


METHODS = {"selfpab": selfpab_method, "mae": mae_method}


@pytest.fixture(scope="module")
def quick_to_compile():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@functools.cache
def steps_of(name):
    """mesh, parts -> (state on the host, shardings of the parameters, metrics) of three steps; and a validation."""
    method, windows = METHODS[name]()
    merge, params, extra = split(method.model)
    params = jax.device_get(params)
    # A low rate: where a gradient is 0 but for rounding AdamW makes whole steps, which later ones would see.
    optimizer, schedule = adamw(OptimizerConfig(learning_rate=1e-6), 20)

    def run(mesh, accumulate=1):
        state = init_state(params, extra, optimizer, mesh, method.tensor_split)
        step = make_train_step(method.objective, merge, model_state, optimizer, schedule, state, accumulate)
        key = jax.device_put(jax.random.key(0), jax.sharding.NamedSharding(mesh, P()))
        batch, go, found = to_devices(windows, mesh, ROWS), flags(mesh)[False], []
        for _ in range(3):
            state, metrics = step(state, batch, key, go)
            found.append(jax.device_get(metrics))
        assert step._cache_size() == 1  # what comes out goes in again as it is
        valid = make_valid_step(method.objective, merge, mesh)
        batch |= to_devices({"valid": np.arange(ROWS) < 5}, mesh, ROWS)
        found.append(jax.device_get(valid(state["params"], state["model_state"], batch, key, go)))
        specs = {leaf.sharding.spec for leaf in jax.tree.leaves(state["params"])}
        return on_host(state, mesh), specs, found

    run.whole = run(mesh_of(data=1))
    return run


SPREADS = {
    "data": ({"data": 4}, 1),
    "fsdp": ({"data": 1, "fsdp": 4}, 1),
    "tensor": ({"data": 1, "tensor": 2}, 1),
    "all": ({"data": 1, "fsdp": 2, "tensor": 2}, 1),
    "accumulated": ({"data": 2}, 4),
}


@pytest.mark.parametrize(
    "name, spread", [*(("selfpab", spread) for spread in SPREADS), ("mae", "all"), ("mae", "accumulated")]
)
def test_the_same_however_spread(name, spread, agree, quick_to_compile):
    steps, (axes, accumulate) = steps_of(name), SPREADS[spread]
    state, specs, metrics = steps(mesh_of(**axes), accumulate)
    whole, _, expected = steps.whole
    for axis in ("fsdp", "tensor"):
        assert any(axis in spec for spec in specs) == (axes.get(axis, 1) > 1)
    for one, other in zip(metrics, expected, strict=True):
        assert one.keys() == other.keys()
        for value in one:
            if other[value] == 0:
                assert one[value] == 0
            else:
                agree(f"{value}, {spread}", one[value], other[value], 1e-5)
    # Moments rather than parameters: of a gradient that is 0 but for rounding AdamW makes whole steps.
    moments = jax.tree.map(lambda a, b: (a, b), state["opt_state"][0].mu, whole["opt_state"][0].mu)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(whole["opt_state"][0].mu))
    for one, other in jax.tree.leaves(moments, is_leaf=lambda x: type(x) is tuple):
        assert np.abs(one - other).max() < 1e-5 * largest
