"""Batches over hosts, epochs and resumes; padding; random starts; damaged shards; threads."""

import hashlib
import itertools
import json
import threading
import time

import numpy as np
import pytest
from absl import flags
from array_record.python.array_record_module import ArrayRecordWriter

from data_pipelines import pipeline
from data_pipelines.manifest import manifest_hash, npz_bytes, write_atomically
from data_pipelines.pipeline import eval_batches, train_batches, window_count
from data_pipelines.windows import encode_block

WINDOWS = (5, 0, 1, 7)  # per recording; 13 in all, which no batch divides
TOTAL = sum(WINDOWS)
ALL = np.arange(TOTAL)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared folder whose window k has its first count equal to k, a scale of (k + 1) / 4096 g and k g movement."""
    return write_prepared(tmp_path_factory.mktemp("prepared"))


def write_prepared(folder):
    (folder / "shards").mkdir()
    number, recordings = 0, []
    for index, windows in enumerate(WINDOWS):
        shard = f"shards/P{index}.array_record"
        writer = ArrayRecordWriter(str(folder / shard), "group_size:1,zstd:3")
        for _ in range(windows):
            counts = np.random.default_rng(number).integers(-4096, 4096, (6, 15000)).astype(np.int16)
            counts[0, 0] = number
            writer.write(encode_block(counts, (number + 1) / 4096, 0))
            number += 1
        writer.close()
        stretches = [[15_000, windows]] if windows else []
        recording = {"name": f"P{index}", "subject": f"P{index}", "shard": shard, "windows": windows}
        recordings.append(recording | {"stretches": stretches})
    fields = ("layout", "sample_rate_hz", "activities", "hours", "subjects", "normalization_crc32")
    manifest = dict.fromkeys(fields) | {"version": 2, "windows": number, "recordings": recordings}
    manifest["settings"] = dict.fromkeys(("window_samples", "stride_samples", "block_samples"), 15_000)
    manifest["channels"] = list("abcdef")
    movement = npz_bytes({"movement": np.arange(number, dtype=np.float32)})
    manifest["movement_crc32"] = write_atomically(folder / "movement.npz", movement)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"hash": manifest_hash(manifest)}))
    return folder


def numbers(batch):
    return batch["acceleration"][:, 0, 0].tolist()


def trace(folder, steps, processes, *, global_batch=8, seed=0, start_step=0):
    """Numbers of the global batches of `steps` steps, read by `processes` simulated hosts."""
    hosts = [
        train_batches(
            folder, global_batch=global_batch, seed=seed, indices=ALL, start_step=start_step,
            rows=rows,
        )
        for rows in np.arange(global_batch).reshape(processes, -1)
    ]  # fmt: skip
    try:
        return [sum((numbers(next(host)) for host in hosts), []) for _ in range(steps)]
    finally:
        for host in hosts:
            host.close()


def test_batches_hold_what_was_written(prepared):
    assert window_count(prepared) == TOTAL
    with train_batches(prepared, global_batch=4, seed=1, indices=ALL) as batches:
        batch = next(batches)
    assert batch["acceleration"].dtype == np.int16 and batch["acceleration"].shape == (4, 6, 15000)
    assert batch["scale"].dtype == np.float32 and set(batch) == {"acceleration", "scale"}
    for counts, scale, number in zip(batch["acceleration"], batch["scale"], numbers(batch), strict=True):
        expected = np.random.default_rng(number).integers(-4096, 4096, (6, 15000)).astype(np.int16)
        expected[0, 0] = number
        np.testing.assert_array_equal(counts, expected)
        assert scale == np.float32((number + 1) / 4096)


def test_order_does_not_depend_on_hosts(prepared):
    digest = {
        processes: hashlib.sha256(json.dumps(trace(prepared, 5, processes)).encode()).hexdigest()
        for processes in (1, 2, 4, 8)
    }
    assert len(set(digest.values())) == 1


def test_every_epoch_visits_every_window_once(prepared):
    # 39 = 3 epochs of 13 = 13 batches of 3: epochs end inside batches.
    seen = sum(trace(prepared, 13, 1, global_batch=3), [])
    epochs = [seen[i : i + TOTAL] for i in range(0, 39, TOTAL)]
    assert all(sorted(epoch) == ALL.tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_resume_needs_only_the_step_also_with_other_hosts(prepared):
    whole = trace(prepared, 7, 1)
    assert whole[3:] == trace(prepared, 4, 1, start_step=3) == trace(prepared, 4, 4, start_step=3)


def test_indices_restrict_what_is_read(prepared):
    chosen = np.array([12, 3, 5])
    with train_batches(prepared, global_batch=3, seed=0, indices=chosen) as batches:
        for batch in itertools.islice(batches, 4):
            assert sorted(numbers(batch)) == [3, 5, 12]


def test_windows_that_move_more_come_more_often(prepared):
    chosen = np.array([12, 0, 3, 5])  # of 4 visits an epoch, 2.4, 0, 0.6 and 1 are expected
    with train_batches(prepared, global_batch=4, seed=0, indices=chosen, sampling="movement") as batches:
        epochs = [np.bincount(numbers(batch), minlength=13)[chosen] for batch in itertools.islice(batches, 40)]
    assert np.min(epochs, axis=0).tolist() == [2, 0, 0, 1] and np.max(epochs, axis=0).tolist() == [3, 0, 1, 1]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_evaluation_sees_each_window_once(prepared, processes):
    chosen = np.array([12, 0, 3, 5, 7, 1, 11])
    hosts = [
        list(eval_batches(prepared, batch=4, indices=chosen, rows=rows)) for rows in np.arange(4).reshape(processes, -1)
    ]
    assert {len(host) for host in hosts} == {2}  # as many steps on every host
    seen = []
    for step in zip(*hosts, strict=True):
        for batch in step:
            assert batch["acceleration"].shape == (4 // processes, 6, 15000)
            assert batch["valid"].dtype == bool and not batch["acceleration"][~batch["valid"]].any()
            assert (batch["scale"] > 0).all()
            seen += batch["acceleration"][batch["valid"], 0, 0].tolist()
    assert seen == chosen.tolist()


def test_refusals(prepared, tmp_path):
    good = {"global_batch": 4, "seed": 0, "indices": ALL}
    for change, sentence in [
        ({"rows": [3, 4]}, r"rows \[3, 4\] of a batch of 4, expected some of 0 to 3"),
        ({"rows": [1, 1]}, "ascending"),
        ({"rows": []}, "expected some of 0 to 3"),
        ({"global_batch": 0}, "a batch of 0"),
        ({"indices": ALL[:0]}, "indices are empty"),
        ({"indices": np.array([13])}, "holds 0 to 12"),
        ({"indices": np.array([-1])}, "holds 0 to 12"),
        ({"start_step": -1}, "start_step is -1"),
        ({"sampling": "speed"}, "sampling is 'speed', expected one of uniform, movement"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            train_batches(prepared, **good | change)
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        train_batches(tmp_path, **good)


def test_missing_and_damaged_shards_are_named(tmp_path):
    folder = write_prepared(tmp_path)
    path = folder / "shards/P3.array_record"
    content = path.read_bytes()
    chosen = np.array([9])  # record 3 of P3

    def read():
        with eval_batches(folder, batch=1, indices=chosen) as batches:
            return numbers(next(batches))

    assert read() == [9]
    for flip in np.linspace(len(content) * 0.42, len(content) * 0.50, 20).astype(int):  # inside record 3
        damaged = bytearray(content)
        damaged[flip] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"P3\.array_record, record 3: cannot be read"):
            read()
    for kept in (len(content) // 2, 0):
        path.write_bytes(content[:kept])
        with pytest.raises(ValueError, match=r"P3\.array_record, record 3: cannot be read"):
            read()
    path.write_bytes((folder / "shards/P0.array_record").read_bytes())
    with pytest.raises(ValueError, match="found 5 records, expected 7"):
        read()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"P3\.array_record is missing"):
        read()


def test_closing_ends_the_threads(prepared):
    before = set(threading.enumerate())

    def readers():  # not those that other tests have left to end
        return [thread for thread in set(threading.enumerate()) - before if "grain" in thread.name]

    batches = train_batches(prepared, global_batch=2, seed=0, indices=ALL)
    next(batches)
    assert readers()
    batches.close()
    batches.close()
    assert next(batches, None) is None
    deadline = time.monotonic() + 5
    while readers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not readers()


def test_reading_ahead_is_bounded_and_shards_are_closed(prepared, monkeypatch):
    monkeypatch.setattr(pipeline, "MAX_OPEN_SHARDS", 1)
    steps = []
    read = pipeline._Steps.__getitem__
    monkeypatch.setattr(pipeline._Steps, "__getitem__", lambda self, step: steps.append(step) or read(self, step))
    with train_batches(prepared, global_batch=8, seed=0, indices=ALL, start_step=5) as batches:
        next(batches)
        time.sleep(0.3)  # a slow consumer
    assert set(steps) <= set(range(5, 11)) and 5 in steps


@pytest.mark.parametrize("parsed", [True, False])
def test_works_whether_or_not_command_line_flags_were_parsed(prepared, parsed):
    before = flags.FLAGS.is_parsed()
    flags.FLAGS.mark_as_parsed() if parsed else flags.FLAGS.unparse_flags()
    try:
        assert len(trace(prepared, 3, 1)) == 3
    finally:
        flags.FLAGS.mark_as_parsed() if before else flags.FLAGS.unparse_flags()
