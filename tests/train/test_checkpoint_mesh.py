"""A state saved on one mesh and restored on others is the same, bit for bit; so is the loss of the next step."""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from selfpab_jax.train import hosts
from selfpab_jax.train.checkpoint import Checkpoints
from selfpab_jax.train.checksums import part_record
from selfpab_jax.train.sharding import MeshConfig, make_mesh, on_host, to_devices
from selfpab_jax.train.step import init_state, make_valid_step

WIDTH, ROWS = 64, 8  # 64 x 64 values are enough to be split
PLACES = {
    "data 4": MeshConfig(4),
    "data 2": MeshConfig(2),
    "data 1": MeshConfig(1),
    "fsdp 4": MeshConfig(1, 4),
    "fsdp 2": MeshConfig(1, 2),
    "data 2 x fsdp 2": MeshConfig(2, 2),
    "fsdp 2 x tensor 2": MeshConfig(1, 2, 2),
}


def mesh_of(place: str):
    cfg = PLACES[place]
    return make_mesh(cfg, jax.devices()[: cfg.data * cfg.fsdp * cfg.tensor])


def state_on(mesh, seed: int):
    draw = np.random.default_rng(seed)
    params = {name: draw.standard_normal((WIDTH, WIDTH), np.float32) for name in ("up", "down")}
    params |= {"bias": draw.standard_normal(WIDTH, np.float32), "half": jnp.ones((WIDTH, WIDTH), jnp.bfloat16) / 3}
    return init_state(
        params, {"mean": draw.standard_normal(WIDTH, np.float32)}, optax.adamw(1e-3), mesh, {"up": (1, 2)}
    )


def objective(model, batch, key, train):
    error = jnp.tanh(batch["x"] @ model["up"]) @ model["down"] + model["bias"] - batch["x"]
    return jnp.mean(error**2), {}


def loss_on(mesh, params) -> float:
    batch = {"x": np.random.default_rng(5).standard_normal((ROWS, WIDTH), np.float32), "valid": np.ones(ROWS, bool)}
    step = make_valid_step(objective, lambda params, _: params, mesh)
    return float(step(params, {}, to_devices(batch, mesh, ROWS), jax.random.key(0), jnp.zeros(1, bool))["loss"]) / ROWS


def specs(state) -> set:
    return {leaf.sharding.spec for leaf in jax.tree.leaves(state)}


@pytest.fixture(scope="module", params=["data 4", "fsdp 4", "data 2 x fsdp 2"])
def saved(request, tmp_path_factory):
    """(folder, the state on the host, its loss) of a run on such a mesh."""
    mesh, folder = mesh_of(request.param), tmp_path_factory.mktemp("saved")
    state = state_on(mesh, seed=0)
    assert ("fsdp" in {axis for spec in specs(state) for axis in spec}) == ("fsdp" in request.param)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.save(3, state, {}, wait=True)
    return folder, on_host(state, mesh), loss_on(mesh, state["params"])


@pytest.mark.parametrize("place", PLACES)
def test_bits_and_loss_are_the_same_on_another_mesh(saved, place, assert_same, agree):
    folder, expected, loss = saved
    mesh = mesh_of(place)
    target = state_on(mesh, seed=1)
    with Checkpoints(folder, read_only=True) as checkpoints:
        found, meta = checkpoints.restore_latest(target)
    assert meta["step"] == 3 and len(found["params"]["up"].sharding.device_set) == mesh.size
    assert jax.tree.map(lambda leaf: leaf.sharding, found) == jax.tree.map(lambda leaf: leaf.sharding, target)
    assert_same(on_host(found, mesh), expected)
    agree(f"loss on {place}", loss_on(mesh, found["params"]), loss, 1e-6)


def test_a_chain_of_restarts_on_fewer_devices(tmp_path, assert_same):
    """Saved on 4 devices, restored and saved on 2, then on 1."""
    state = state_on(mesh_of("fsdp 4"), seed=0)
    expected = on_host(state, mesh_of("fsdp 4"))
    for step, place in enumerate(("fsdp 4", "fsdp 2", "data 1")):
        mesh = mesh_of(place)
        with Checkpoints(tmp_path) as checkpoints:
            if step:
                state = checkpoints.restore_latest(state_on(mesh, seed=step))[0]
            assert checkpoints.save(step, state, {}, wait=True)
    assert specs(state) == {P(), P(None), P(None, None)} and len(state["params"]["up"].sharding.device_set) == 1
    assert_same(on_host(state, mesh), expected)


def test_a_step_is_restored_on_all_processes_or_on_none(tmp_path, monkeypatch, save_all, assert_same):
    """A process that sees a newer step than the first one, or its metric, goes by what the first one sees."""
    states = save_all(tmp_path, [1, 2], metrics={1: 2.0, 2: 1.0})
    monkeypatch.setattr(hosts, "from_first", lambda seen: [one for one in seen if one in (1, (1, 2.0))])
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        found, meta = checkpoints.restore_latest(states[1])
        assert checkpoints.best_metric() == 2.0
    assert meta["step"] == 1
    assert_same(found, states[1])


def test_checkpoints_from_before_several_processes_could_save(tmp_path, save_all, assert_same):
    """They have one table of checksums, of whole leaves."""
    states = save_all(tmp_path, [1, 2])
    for step, state in states.items():
        tables = tmp_path / f"{step}/checksums"
        table = json.loads((tables / "0.json").read_text())
        for name in ("processes", "table_crc32"):
            del table[name]
        for record, leaf in zip(table["leaves"].values(), jax.tree.leaves(state), strict=True):
            del record["parts"]
            record["crc32"] = part_record((), np.asarray(leaf))["crc32"]
        table["table_crc32"] = zlib.crc32(json.dumps(table, sort_keys=True).encode())
        (tables / "checksums.json").write_text(json.dumps(table))
        (tables / "0.json").unlink()
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert_same(checkpoints.restore_latest(states[1])[0], states[2])
    (tmp_path / "2/params").rename(tmp_path / "aside")
    (tmp_path / "1/params").rename(tmp_path / "2/params")
    (tmp_path / "aside").rename(tmp_path / "1/params")
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        with pytest.warns(UserWarning, match="leaf params/"), pytest.raises(ValueError, match="only damaged"):
            checkpoints.restore_latest(states[1])
