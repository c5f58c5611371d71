"""Damaged checkpoints are named and passed over for an older one; a save that fails or is killed costs none."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.train import checksums
from selfpab_jax.train.checkpoint import Checkpoints

pytestmark = [  # conftest.py says why
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("unraisable_exceptions_come_now"),
]


def files_of(step_folder: Path) -> list[Path]:
    return sorted(path for path in step_folder.rglob("*") if path.is_file() and path.stat().st_size)


def read_latest(folder: Path, target):
    """((state, meta), warnings as text), from a fresh reader that changes nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Checkpoints(folder, read_only=True) as checkpoints:
            result = checkpoints.restore_latest(target)
    return result, [str(w.message) for w in caught]


def test_forty_flipped_bits_are_never_silently_wrong(tmp_path, assert_same, save_all, saved_meta):
    states = save_all(tmp_path, [1, 2], width=64)
    draw = random.Random(5)
    files = files_of(tmp_path / "2")
    sizes = [path.stat().st_size for path in files]
    # Half of the flips by size (mostly array data), half by file (mostly JSON and index).
    chosen = draw.choices(files, weights=sizes, k=20) + draw.choices(files, k=20)
    detected = 0
    for path in chosen:
        before = path.read_bytes()
        position = draw.randrange(8 * len(before))
        after = bytearray(before)
        after[position // 8] ^= 1 << position % 8
        path.write_bytes(after)
        (found, meta), said = read_latest(tmp_path, states[1])
        path.write_bytes(before)
        where = f"{path.relative_to(tmp_path)} bit {position}"
        if said:
            detected += 1
            assert "step 2 is damaged" in said[0], where
            assert_same(found, states[1])
            assert meta["step"] == 1, where
        else:
            assert_same(found, states[2])
            assert meta["step"] == 2 and meta["config"] == saved_meta["config"], where
    assert detected >= 8, detected  # about half hit what is read; without any the test would test nothing


def test_flips_in_array_data_name_a_leaf_or_the_read_error(tmp_path, assert_same, save_all):
    states = save_all(tmp_path, [1, 2])
    data = max(files_of(tmp_path / "2/params"), key=lambda path: path.stat().st_size)
    content = bytearray(data.read_bytes())
    content[::64] = bytes(byte ^ 16 for byte in content[::64])  # some of the file is what no reader looks at
    data.write_bytes(content)
    (found, _), said = read_latest(tmp_path, states[1])
    assert_same(found, states[1])
    assert len(said) == 1 and "params" in said[0]


def test_wrong_values_name_the_leaf(tmp_path, assert_same, save_all):
    """As a flip that reading does not notice: other sound data under this step's checksums."""
    states = save_all(tmp_path, [1, 2, 3], keep=3)
    (tmp_path / "3/params").rename(tmp_path / "old-params")
    (tmp_path / "2/params").rename(tmp_path / "3/params")
    (tmp_path / "old-params").rename(tmp_path / "2/params")
    (found, _), said = read_latest(tmp_path, states[1])
    assert_same(found, states[1])
    for step, sentence in zip((3, 2), said, strict=True):
        assert f"step {step} is damaged" in sentence and "leaf params/" in sentence


@pytest.mark.parametrize("how", ["truncated", "emptied", "deleted"])
@pytest.mark.parametrize("which", ["data", "checksums", "meta", "item"])
def test_truncated_and_deleted_files_fall_back(tmp_path, how, which, assert_same, save_all):
    states = save_all(tmp_path, [1, 2])
    path = {
        "data": max(files_of(tmp_path / "2/train"), key=lambda path: path.stat().st_size),
        "checksums": tmp_path / "2/checksums/0.json",
        "meta": tmp_path / "2/meta/metadata",
        "item": tmp_path / "2/params/_METADATA",
    }[which]
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if how == "truncated" else 0])
    (found, meta), said = read_latest(tmp_path, states[1])
    assert_same(found, states[meta["step"]])
    if (which, how) == ("item", "deleted"):
        assert meta["step"] == 2 and not said  # the target tells Orbax what this file would have told
    else:
        assert meta["step"] == 1 and "step 2 is damaged" in said[0]


def test_all_damaged_is_one_clear_error(tmp_path, save_all):
    states = save_all(tmp_path, [1, 2])
    for step in (1, 2):
        (tmp_path / f"{step}/checksums/0.json").write_text("{}")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="is damaged") as said, pytest.raises(ValueError) as raised:
            checkpoints.restore_latest(states[1])
        assert len(said) == 2
        assert "found only damaged checkpoints (step 2, 1)" in str(raised.value)
        assert checkpoints.steps() == [1, 2]  # nothing is moved away when there is nothing to go back to


def test_damaged_newest_moves_aside_and_can_be_saved_anew(tmp_path, assert_same, save_all, saved_meta):
    states = save_all(tmp_path, [1, 2])
    (tmp_path / "2/meta/metadata").unlink()
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="step 2 is damaged"):
            found, meta = checkpoints.restore_latest(states[1])
        assert meta["step"] == 1 and checkpoints.steps() == [1]
        assert checkpoints.save(2, states[2], saved_meta, wait=True)
        found, meta = checkpoints.restore_latest(states[1])
    assert_same(found, states[2])
    assert (tmp_path / "damaged-2").is_dir()


def test_reader_changes_nothing_and_wants_a_folder(tmp_path, save_all, saved_meta):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Checkpoints(tmp_path / "absent", read_only=True)
    states = save_all(tmp_path, [1, 2])
    (tmp_path / "2/meta/metadata").unlink()
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert read_latest(tmp_path, states[1])[0][1]["step"] == 1
    with Checkpoints(tmp_path, read_only=True) as checkpoints, pytest.raises(ValueError, match="read-only"):
        checkpoints.save(5, states[1], saved_meta)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failure_in_the_background_surfaces_and_costs_no_older_step(
    tmp_path, monkeypatch, make_state, assert_same, save_all, saved_meta
):
    states = save_all(tmp_path, [1, 2])

    def no_space(*_):
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "checksum_table", no_space)
        checkpoints.save(3, make_state(3), saved_meta, metric=0.0)
        with pytest.raises(RuntimeError, match="saving failed .*No space left"):
            for _ in range(1000):
                checkpoints.check_for_errors()
                time.sleep(0.01)
    assert checkpoints.steps() == [1, 2]
    assert_same(checkpoints.restore_latest(states[1])[0], states[2])
    assert checkpoints.save(4, make_state(4), saved_meta, wait=True)  # and once there is space again
    checkpoints.close()
    assert_same(read_latest(tmp_path, states[1])[0][0], make_state(4))


KILLED_WHILE_SAVING = """
    import os, signal, sys, time
    import jax, numpy as np
    from selfpab_jax.train.checkpoint import Checkpoints
    folder, delay = sys.argv[1], float(sys.argv[2])
    def state(step):
        draw = np.random.default_rng(step)
        big = {str(i): jax.numpy.asarray(draw.standard_normal((1000, 1000), np.float32)) for i in range(8)}
        return {"params": big, "model_state": {}, "opt_state": (), "step": jax.numpy.array(step)}
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(1, state(1), {}, wait=True)
    second = state(2)
    checkpoints.save(2, second, {})
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_during_a_save_never_loses_the_last_good_step(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(KILLED_WHILE_SAVING))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    delays = ("0", "0.05", "0.2", "0.5")
    commands = [[sys.executable, program, tmp_path / delay, delay] for delay in delays]
    running = [subprocess.Popen(command, env=environment) for command in commands]
    assert [process.wait(60) for process in running] == [-signal.SIGKILL] * 4
    for delay in delays:
        folder = tmp_path / delay
        shapes = {str(i): jax.ShapeDtypeStruct((1000, 1000), jnp.float32) for i in range(8)}
        number = jax.ShapeDtypeStruct((), jnp.int32)
        target = {"params": shapes, "model_state": {}, "opt_state": (), "step": number}
        with Checkpoints(folder, keep=1) as checkpoints:
            found, meta = checkpoints.restore_latest(target)  # any warning of damage is an error here
            step = meta["step"]
            assert step in (1, 2) and int(found["step"]) == step
            expected = np.random.default_rng(step).standard_normal((1000, 1000), np.float32)
            np.testing.assert_array_equal(found["params"]["0"], expected)
            assert checkpoints.save(3, found, {}, wait=True)
            assert checkpoints.steps() == [3]
        assert not [path for path in folder.iterdir() if "tmp" in path.name], delay
