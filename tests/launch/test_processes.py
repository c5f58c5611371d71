"""Several processes: they do what one does, stop together, refuse to start unless they agree, and end when one dies."""

import contextlib
import functools
import json
import shutil
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from launch.agreement import differences
from selfpab_jax.train.checkpoint import Checkpoints
from selfpab_jax.train.metrics import read_metrics

STEPS, STOPPED_AT = 20, 5
HEARTBEAT_S = 8
# Large enough for several leaves to be split; an epsilon above rounding, because AdamW makes whole steps of gradients
# that are 0 but for rounding, such as those of a bias of the keys.
FIELDS = ("model.layers=1", "model.d_model=48", "model.ff=128", "optimizer.eps=1e-4", f"train.steps={STEPS}")
FIELDS += ("train.log_every=1", f"train.valid_every={STEPS}", "train.save_every=10")
FULLY_SHARDED = ["--config.mesh.data=1", "--config.mesh.fsdp=4"]
WAYS = [(2, "data"), (2, "fsdp"), (4, "fsdp"), pytest.param(4, "data", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def at_work(tmp_path_factory, short, runs_in):
    """processes -> the runs of so many processes with four devices together; and how they take turns."""
    folder = tmp_path_factory.mktemp("processes")

    def of(processes: int):
        runs = runs_in(folder, short, FIELDS, devices=4 // processes, processes=processes, optimize=False)

        def in_turn(name: str, calls: list[dict]) -> tuple[int, list[list[SimpleNamespace]]]:
            """(status of all, what each process said, its status and seconds, call by call)."""
            file = folder / f"{name}.json"
            file.write_text(json.dumps(calls))
            local = ["local", f"--processes={processes}", f"--devices={4 // processes}"]
            status = runs.start_job(name, *local, "turns", str(file)).wait(timeout=300)
            found = []
            for i in range(len(calls)):
                files = [Path(f"{file}.{i}.{process}") for process in range(processes)]
                assert all(each.exists() for each in files), runs.said(name)
                words = [each.read_text().rpartition("\n")[0].rpartition("\n") for each in files]
                ends = [last.split() for _, _, last in words]
                found.append(
                    [
                        SimpleNamespace(said=said, status=int(end[0]), seconds=float(end[1]))
                        for (said, _, _), end in zip(words, ends, strict=True)
                    ]
                )
            return status, found

        runs.in_turn = in_turn
        runs.call = lambda name, *more: {"argv": [*runs.flags, f"--workdir={folder / name}", *more]}
        return runs

    return of


@pytest.fixture(scope="module")
def ran(at_work):
    """(processes, modes...) -> (status, calls) of such runs, done once; two processes run another one that stops."""

    @functools.cache
    def of(processes: int, *modes: str):
        runs = at_work(processes)
        # Four processes share the machine's cores; they save once only.
        flags = {"data": [], "fsdp": FULLY_SHARDED}
        rarely = [f"--config.train.save_every={STEPS}"] * (processes == 4)
        calls = [runs.call(f"{mode}-{processes}", *flags[mode], *rarely) for mode in modes]
        if processes == 2:
            calls += [runs.call("stopped") | {"terminate": STOPPED_AT}]
        status, found = runs.in_turn("-".join(("turns", str(processes), *modes)), calls)
        assert [each.status for call in found[: len(modes)] for each in call] == [0] * len(modes) * processes
        return status, found

    return of


@pytest.fixture(scope="module")
def both_modes(ran):
    """{processes: (status, calls)} of one process and of two."""
    return {processes: ran(processes, "data", "fsdp") for processes in (1, 2)}


def state(runs, name: str) -> dict[str, np.ndarray]:
    with np.load(runs.folder / f"{name}.npz") as file:
        return dict(file)


def losses(runs, name: str) -> list[float]:
    return [row["train/loss"] for row in read_metrics(runs.folder / name / "metrics.jsonl") if "train/loss" in row]


def assert_close(found: dict, expected: dict) -> None:
    """Parameters within 1e-4 of the largest value of each leaf; all else by the parameters that follow from it."""
    assert found.keys() == expected.keys()
    worst = 0.0
    for name in (name for name in found if name.startswith("params/")):
        worst = max(worst, np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max())
    print(f"largest difference of a parameter, relative to the largest of its leaf: {worst:.1e}")
    assert worst <= 1e-4
    assert found["step"] == expected["step"]


@pytest.mark.parametrize("processes, mode", WAYS)
def test_as_one_process(both_modes, ran, at_work, processes, mode, agree):
    if processes == 4:
        ran(4, mode)
    runs, name = at_work(1), f"{mode}-{processes}"
    batches = runs.batches(f"{mode}-1")
    assert sorted((step, row) for step, row, _ in batches) == [(s, r) for s in range(1, STEPS + 1) for r in range(8)]
    assert sorted(runs.batches(name)) == sorted(batches)
    by_process = [len(file.read_text().splitlines()) for file in runs.folder.glob(f"{name}.batches.*")]
    assert by_process == [8 * STEPS // processes] * processes  # each reads its own rows only
    assert len(losses(runs, name)) == STEPS
    agree(f"losses, {name}", losses(runs, name), losses(runs, f"{mode}-1"), 1e-5)
    assert_close(state(runs, name), state(runs, f"{mode}-1"))


def test_fully_sharded_as_data_parallel(both_modes, ran, at_work, agree):
    runs = at_work(1)
    ran(4, "fsdp")
    for processes in (1, 2, 4):
        assert processes == 4 or json.loads((runs.folder / f"data-{processes}.json").read_text()) == []
        split = json.loads((runs.folder / f"fsdp-{processes}.json").read_text())
        assert len([name for name in split if name.startswith("params/")]) >= 4
        assert len([name for name in split if name.startswith("opt_state/")]) >= 8  # its moments
    agree("losses, fully sharded or not", losses(runs, "fsdp-1"), losses(runs, "data-1"), 1e-5)
    assert_close(state(runs, "fsdp-1"), state(runs, "data-1"))


def test_a_stop_asked_of_one_saves_once_for_all_and_one_goes_on(both_modes, at_work, agree):
    status, calls = both_modes[2]
    runs = at_work(1)
    assert status == 75 and [each.status for each in calls[2]] == [75, 75]
    checkpoints = runs.folder / "stopped" / "checkpoints"
    [saved] = sorted(int(path.name) for path in checkpoints.iterdir())
    assert STOPPED_AT <= saved <= STOPPED_AT + 3
    assert sorted(path.name for path in (checkpoints / str(saved) / "checksums").glob("*.json")) == [
        "0.json",
        "1.json",
    ]  # and Orbax's mark
    assert f"step {saved}; " in calls[2][0].said and "--resume" in calls[2][0].said
    assert max(step for step, _, _ in runs.batches("stopped")) == saved
    runs.environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    runs.finish("stopped", "--resume")
    assert sorted(runs.batches("stopped")) == sorted(runs.batches("data-1"))  # none lost, none repeated
    agree("losses, stopped and resumed", losses(runs, "stopped"), losses(runs, "data-1"), 1e-5)
    assert_close(state(runs, "stopped"), state(runs, "data-1"))


# ---- what is refused, and what is damaged ---------------------------------------------------------------------------


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture(scope="module")
def odd(both_modes, at_work, short):
    """What two processes say to a second one that differs, to damage, and to a shard that cannot be read."""
    runs = at_work(2)
    folder = runs.folder
    cut = PrepareSettings(Cut(window_s=30, stride_s=30), subjects=3, hours=0.1)
    prepare(None, "synthetic", folder / "others", cut, workers=1, progress=False)
    shutil.copytree(folder / "data-2", folder / "damaged")
    newest = [path for path in (folder / f"damaged/checkpoints/{STEPS}/params").rglob("d/*") if path.is_file()]
    largest = max(newest, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    shutil.copytree(short, folder / "flipped")
    for shard in (folder / "flipped" / "shards").glob("*.array_record"):
        flip(shard)
    calls = {
        "config": runs.call("new") | {"last": ["--config.optimizer.b1=0.5"]},
        "data": runs.call("new") | {"last": [f"--config.data.dir={folder}/others"]},
        "package": runs.call("new") | {"package": "0.0.1"},
        "workdir": runs.call("here") | {"last": [f"--workdir={folder}/there"]},
        "damaged": runs.call("damaged", "--resume"),
        "shard": runs.call("unreadable", f"--config.data.dir={folder}/flipped"),
    }
    status, found = runs.in_turn("odd", list(calls.values()))
    return SimpleNamespace(status=status, runs=runs, **dict(zip(calls, found, strict=True)))


@pytest.mark.parametrize(
    "what, words",
    [
        ("config", "differs from the others: --config.optimizer.b1 is 0.5 there, 0.9 elsewhere; start all"),
        ("data", "hash of the data manifest is "),
        ("package", "differs from the others: version of jax is '0.0.1' there, "),
        ("workdir", "there/data_manifest.json is not here as the first process wrote it: name a folder on a file"),
    ],
)
def test_a_process_that_differs_is_refused_by_all(odd, what, words):
    for each in vars(odd)[what]:
        assert each.status == 2
        assert each.said.startswith(f"selfpab pretrain: error: process 1 on {socket.gethostname()}")
        assert each.said.count("\n") == 0 and words in each.said
    assert not (odd.runs.folder / "new").exists()


def test_who_differs_by_hand():
    assert differences([{"a": 1}, {"a": 1}]) is None
    assert differences([{"a": 1, "b": 2}] * 2 + [{"a": 1, "b": 3}]) == (2, "b is 3 there, 2 elsewhere")
    assert differences([{"a": 0}, {"a": 1}, {"a": 1}]) == (0, "a is 0 there, 1 elsewhere")
    assert differences([{"a": 0}, {"a": 1}]) == (1, "a is 1 there, 0 elsewhere")
    assert differences([{"a": 0}, {}]) == (1, "a is None there, 0 elsewhere")
    many = [dict.fromkeys("abcdef", 0), dict.fromkeys("abcdef", 1)]
    assert differences(many)[1].endswith("d is 1 there, 0 elsewhere; and 2 more")


def test_a_damaged_checkpoint_of_two_is_passed_over_by_both(odd):
    first, second = odd.damaged
    assert (first.status, second.status) == (0, 0)
    warned = [
        line for each in odd.damaged for line in each.said.splitlines() if "damaged" in line and "warning" in line
    ]
    assert len(warned) == 1 and f"step {STEPS} is damaged and passed over" in warned[0]
    expected, found = state(odd.runs, "data-2"), state(odd.runs, "damaged")
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_checkpoint_without_the_table_of_each_process_is_damaged(both_modes, at_work, tmp_path):
    shutil.copytree(at_work(2).folder / "data-2" / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / f"checkpoints/{STEPS}/checksums/1.json").unlink()
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        with pytest.warns(UserWarning, match=f"step {STEPS} is damaged"):
            assert checkpoints.read_meta()["step"] == 10


def test_a_shard_that_cannot_be_read_is_named_and_ends_both(odd):
    print([(each.status, each.seconds) for each in odd.shard])
    named = [each for each in odd.shard if "shards/" in each.said and ", record " in each.said]
    assert named and "cannot be read" in named[0].said
    assert all(each.status in (1, 2) and each.seconds < 60 for each in odd.shard) and odd.status in (1, 2)


# ---- a process that dies --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(runs, name: str):
    """Two processes of a run that nothing watches over, once they are at work."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"--coordinator=127.0.0.1:{probe.getsockname()[1]}"
    argv = ["pretrain", *runs.flags, f"--workdir={runs.folder / name}", where]
    argv += ["--processes=2", f"--heartbeat={HEARTBEAT_S}", "--config.train.steps=100000"]  # none ends by itself
    both = [runs.start_job(f"{name}.{i}", *argv, f"--process={i}") for i in range(2)]
    try:
        yield both
    finally:
        for child in both:
            child.kill()
            child.wait()


def test_the_death_of_one_ends_the_other(both_modes, at_work, record_property):
    runs = at_work(2)
    with alone(runs, "orphan-1") as one, alone(runs, "orphan-0") as other:
        pairs = {1: one, 0: other}
        for dead, both in pairs.items():
            name, end = f"orphan-{dead}", time.monotonic() + 120
            while not any(step >= 2 for step, _, _ in runs.batches(name)):
                assert all(child.poll() is None for child in both) and time.monotonic() < end, runs.said(f"{name}.0")
                time.sleep(0.01)
            both[dead].send_signal(signal.SIGKILL)
            began, survivor = time.monotonic(), 1 - dead
            status, spent = both[survivor].wait(timeout=60), time.monotonic() - began
            said = runs.said(f"{name}.{survivor}")
            how = "by itself" if "run again with --resume" in said else "by the runtime"
            print(f"process {dead} killed: the other ended with {status} {how} after {spent:.1f} s")
            record_property(f"seconds after the death of process {dead}", spent)
            # In the midst of a step the broken connection tells; in the midst of a save, or where one device waits for
            # another, the heartbeat does, and then jax aborts.
            assert "run again with --resume" in said or "another task died" in said, said
            assert status in (1, -signal.SIGABRT) and spent < HEARTBEAT_S + 20
