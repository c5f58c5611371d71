"""Checkpoints come back bit for bit, on other devices too, and keep the best; a wrong target is refused."""

import json
import time
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from selfpab_jax.train.checkpoint import Checkpoints

pytestmark = [  # conftest.py says why
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("unraisable_exceptions_come_now"),
]


def test_round_trip_is_bit_exact(tmp_path, make_state, assert_same, saved_meta):
    state = make_state(7)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(state) is None
        assert checkpoints.save(7, state, saved_meta, metric=0.5)
        checkpoints.check_for_errors()
        found, meta = checkpoints.restore_latest(make_state(1))
    assert_same(found, state)
    assert meta["config"] == saved_meta["config"] and meta["step"] == 7 and meta["metric"] == 0.5
    assert meta["versions"]["jax"] == jax.__version__
    # the promised folder layout: one item per reader, and the checksums of the leaves under their paths
    assert {p.name for p in (tmp_path / "7").iterdir() if p.is_dir()} == {
        "params", "model_state", "train", "meta", "checksums"
    }  # fmt: skip
    record = json.loads((tmp_path / "7/checksums/0.json").read_text())["leaves"]["params/head/bias"]
    part = {"start": [0], "shape": [3], "crc32": zlib.crc32(bytes(12))}
    assert record == {"shape": [3], "dtype": "float32", "parts": [part]}


def test_values_are_those_at_the_call_though_buffers_are_donated(tmp_path, make_state, assert_same, saved_meta):
    state = make_state(1, width=512)
    expected = jax.tree.map(lambda leaf: jnp.array(np.array(leaf)), state)
    step = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf * 3 + 1, s), donate_argnums=0)
    moving = step(jax.tree.map(jnp.copy, state))  # compile first, so that donation follows the save at once
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, saved_meta)
        for _ in range(5):
            state = step(state)
        found, _ = checkpoints.restore_latest(moving)
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda p: p["head"].update(bias=jnp.zeros(4)), r"/bias: found shape \(3,\), expected \(4,\)"),
        (lambda p: p["head"].update(scale=jnp.zeros(3)), r"found no leaf params/head/scale, expected"),
        (lambda p: p["head"].pop("bias"), r"found leaf params/head/bias, not expected"),
        (lambda p: p["head"].update(bias=jnp.zeros(3, jnp.bfloat16)), r"dtype float32, expected bfloat16"),
        (lambda p: p["head"].update(bias=jnp.zeros(3, jnp.int32)), r"dtype float32, expected int32"),
        (lambda p: p.clear(), r"found leaf params/encoder/layers/0/kernel, params/head/bias, params/head/k"),
    ],
    ids=["shape", "missing", "extra", "bfloat16", "int32", "empty"],
)
def test_wrong_target_is_refused_and_not_taken_for_damage(tmp_path, change, sentence, save_all):
    state = save_all(tmp_path, [1, 2])[2]
    target = {**state, "params": jax.tree.map(lambda leaf: leaf, state["params"])}
    change(target["params"])
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match=sentence):
            checkpoints.restore_latest(target)
        with pytest.raises(ValueError, match=sentence):
            checkpoints.restore_params(target, which="latest")
        assert checkpoints.steps() == [1, 2]


def test_missing_entry_and_other_optimizer_are_refused(tmp_path, save_all):
    state = save_all(tmp_path, [1])[1]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        with pytest.raises(ValueError, match="found leaf skipped, not expected"):
            checkpoints.restore_latest({name: tree for name, tree in state.items() if name != "skipped"})
        with pytest.raises(ValueError, match="found leaf opt_state/"):
            checkpoints.restore_latest({**state, "opt_state": optax.sgd(1.0).init(state["params"])})


def test_params_are_read_without_the_optimizer(tmp_path, assert_same, save_all):
    states = save_all(tmp_path, [1, 2, 3], metrics={1: 3.0, 2: 1.0, 3: 2.0})
    for step in (2, 3):
        for path in sorted((tmp_path / str(step) / "train").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    target = jax.eval_shape(lambda: {name: states[1][name] for name in ("params", "model_state")})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        params, model_state, meta = checkpoints.restore_params(target)
        assert_same(params, states[2]["params"])
        assert_same(model_state, states[2]["model_state"])
        assert meta["step"] == checkpoints.read_meta("best")["step"] == 2
        params, _, meta = checkpoints.restore_params(target, which="latest")
        assert_same(params, states[3]["params"])
        assert meta == checkpoints.read_meta() and meta["step"] == 3


def test_model_without_state_of_its_own(tmp_path, make_state, assert_same, saved_meta):
    state = {**make_state(1), "model_state": {}}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, saved_meta, wait=True)
        assert_same(checkpoints.restore_latest(state)[0], state)
        assert checkpoints.restore_params(state, which="latest")[1] == {}


def test_best_is_kept_though_newer_ones_come(tmp_path, make_state, save_all, saved_meta):
    metrics = {1: 5.0, 2: 0.5, 3: 4.0, 4: float("nan"), 5: None, 6: 0.6}
    save_all(tmp_path, [1, 2, 3], metrics=metrics)
    with Checkpoints(tmp_path) as checkpoints:  # the best is known to a new process as well
        for step in (4, 5, 6):
            checkpoints.save(step, make_state(step), saved_meta, metric=metrics[step])
        checkpoints.wait()
        assert checkpoints.steps() == [2, 5, 6]
        assert checkpoints.read_meta("best")["step"] == 2
        checkpoints.save(7, make_state(7), saved_meta, metric=0.25, wait=True)
        assert checkpoints.steps() == [6, 7]
        (tmp_path / "7/checksums/0.json").unlink()
        with pytest.warns(UserWarning, match="step 7 is damaged"):
            assert checkpoints.read_meta("best")["step"] == 6


def test_non_finite_is_refused_and_nothing_written(tmp_path, make_state, saved_meta):
    state = make_state(1)
    state["params"]["head"]["kernel"] = state["params"]["head"]["kernel"].at[1, 1].set(jnp.nan)
    infinite = jax.tree.map(lambda leaf: leaf / 0 if leaf.ndim == 2 else leaf, make_state(1)["opt_state"])
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="non-finite value in leaf params/head/kernel at step 1"):
            checkpoints.save(1, state, saved_meta)
        with pytest.raises(ValueError, match="non-finite value in leaf opt_state/"):
            checkpoints.save(1, {**make_state(1), "opt_state": infinite}, saved_meta)
        assert checkpoints.steps() == [] and list(tmp_path.iterdir()) == []


def test_saving_a_step_again_an_older_one_and_odd_meta(tmp_path, make_state, save_all, saved_meta):
    states = save_all(tmp_path, [4])
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save(4, states[4], saved_meta) is False
        with pytest.raises(ValueError, match="found step 4, cannot save step 3"):
            checkpoints.save(3, make_state(3), saved_meta)
        with pytest.raises(ValueError, match="expected what JSON can hold"):
            checkpoints.save(5, make_state(5), {"path": Path("x")})
        assert checkpoints.restore_params(states[4])[2]["step"] == 4  # the only one is the best
        with pytest.raises(ValueError, match="found 'newest'"):
            checkpoints.read_meta("newest")
        assert checkpoints.steps() == [4]
        checkpoints.save(5, make_state(5), saved_meta, wait=True)
        with pytest.raises(FileNotFoundError, match="no checkpoint with a metric"):
            checkpoints.restore_params(states[4])
    with pytest.raises(ValueError, match="keep: found 0"):
        Checkpoints(tmp_path, keep=0)


def test_reader_sees_what_was_saved_after_it_was_opened(tmp_path, make_state, saved_meta):
    with Checkpoints(tmp_path) as writer, Checkpoints(tmp_path, read_only=True) as reader:
        with pytest.raises(FileNotFoundError, match="found no checkpoint"):
            reader.read_meta()
        writer.save(3, make_state(3), saved_meta, wait=True)
        assert reader.read_meta()["step"] == 3


@pytest.mark.skipif(jax.device_count() < 4, reason="needs XLA_FLAGS=--xla_force_host_platform_device_count=4")
def test_restore_on_other_device_counts(tmp_path, make_state, assert_same, saved_meta):
    def place(state, count: int):
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), ("data",))
        whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
        return jax.tree.map(lambda leaf: jax.device_put(leaf, split if leaf.ndim == 2 else whole), state)

    state, current = make_state(1), place(make_state(1), 4)
    for step, count in enumerate((2, 1, 4), start=1):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(step, current, saved_meta, wait=True)
            target = place(make_state(9), count)
            current, _ = checkpoints.restore_latest(target)
        assert_same(current, state)
        for found, wanted in zip(jax.tree.leaves(current), jax.tree.leaves(target), strict=True):
            assert found.sharding.is_equivalent_to(wanted.sharding, found.ndim)


@pytest.mark.slow
def test_full_size_save_blocks_for_a_moment_only(tmp_path, assert_same, saved_meta):
    """61 M parameters and AdamW's moments, 733 MB: about 0.1 s; the bound leaves room for a busy machine."""
    names = [str(i) for i in range(27)]
    draw = np.random.default_rng(0)
    params = {name: jnp.asarray(draw.standard_normal((1500, 1500), np.float32)) for name in names}
    mu, nu = jax.tree.map(lambda x: x / 2, params), jax.tree.map(lambda x: x * x, params)
    state = {"params": params, "opt_state": (mu, nu), "model_state": {}, "step": jnp.array(1)}
    blocked = []
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 5):
            start = time.perf_counter()
            checkpoints.save(step, state, saved_meta)
            blocked.append(time.perf_counter() - start)
            checkpoints.wait()
        found, _ = checkpoints.restore_latest(state)
    assert_same(found, state)
    print(f"blocked for {min(blocked):.3f} s at least, {max(blocked):.3f} s at most")
    assert min(blocked) < 0.5, blocked


def test_multiples_stay_and_a_step_can_be_chosen(tmp_path, make_state, assert_same, saved_meta):
    with Checkpoints(tmp_path, keep=1, keep_every=4) as checkpoints:
        for step in (2, 4, 6, 8, 10):
            checkpoints.save(step, make_state(step), saved_meta, wait=True)
        assert checkpoints.steps() == [4, 8, 10]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        target = make_state(0)
        params, _, meta = checkpoints.restore_params(target, which="4")
        assert meta["step"] == 4
        assert_same(params, make_state(4)["params"])
        with pytest.raises(FileNotFoundError, match="found no checkpoint of step 6, only 4, 8, 10"):
            checkpoints.restore_params(target, which="6")
        with pytest.raises(ValueError, match='expected "best", "latest" or the number of a step'):
            checkpoints.restore_params(target, which="-4")
