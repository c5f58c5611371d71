"""The benchmark at tiny sizes: the file it writes, the table it prints, and its mistakes."""

import json
import subprocess
import sys
import time

import pytest

from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from launch import bench
from launch.benchmarks.columns import SCALING, STEPS
from launch.benchmarks.feed import made_up
from launch.benchmarks.timing import Row, Seconds, compare, in_turns, settled, table
from launch.config_file import load_config


def run(tmp_path, capsys, *flags: str) -> tuple[dict, str]:
    """(what the JSON file holds, what was printed)."""
    pytest.importorskip("torch")
    file = tmp_path / "bench.json"
    code = bench.main([f"--json={file}", "--threads=1", "--repeats=2", *flags])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert [path.name for path in tmp_path.glob("bench*")] == ["bench.json"]  # nothing half-written
    return json.loads(file.read_text()), printed.out


def check(result: dict, printed: str, count: int) -> None:
    assert len(result["rows"]) == count
    for row in result["rows"]:
        quotient = row["ours"] / row["pytorch"]
        assert row["ratio"] == pytest.approx(quotient if row["unit"].startswith("windows") else 1 / quotient)
        assert f"| {row['what']} |" in printed
    assert {"cores", "threads", "load", "jax", "torch"} <= result["machine"].keys()


ROW = dict.fromkeys(STEPS, 1) | {"mesh": "one device"}
TINY = ["--config=configs/selfpab.py:smoke", "--config.model.layers=1"]


def test_steps_by_mesh_and_batch(tmp_path, capsys, prepared, monkeypatch, compile_cache):
    """All that a row says, on one device and on four; needs no PyTorch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("launch.benchmarks.peak.SIZES", {"cpu": (256, 1)})
    monkeypatch.setattr("launch.benchmarks.feed.FED_S", 0.1)
    monkeypatch.setattr("launch.benchmarks.mesh.TURN_S", 0.02)
    flags = ["--what=step", *TINY, f"--data={prepared}", f"--trace={tmp_path}/profile"]
    file = tmp_path / "bench.json"
    code = bench.main([*flags, f"--json={file}", "--repeats=2", "--batch=4", "--mesh=data=1; data=2,tensor=2"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "PyTorch is left out: it is not installed" in printed.err
    assert f"profile of 3 steps: open {tmp_path}/profile/" in printed.err
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert "compiled anew" in printed.err
    result = json.loads(file.read_text())
    assert result["rows"] == []
    rows, shown = result["steps"], printed.out.splitlines()
    named = [(row["mesh"], row["devices"], row["batch"]) for row in rows]
    assert named == [("one device", 1, 4), ("data=2,tensor=2", 4, 4)]
    for row, line in zip(rows, shown[2:], strict=False):
        assert line.startswith(f"| {row['mesh']} | {row['devices']} | {row['batch']} | ")
        assert 0 < row["step_min_s"] <= row["step_median_s"]
        assert row["windows_per_s"] == pytest.approx(row["batch"] / row["step_median_s"])
        # 599 frames: ends of 156 features, one block of width 16 and ff 32.
        work = 6 * row["batch"] * (599 * 16 * (2 * 156 + 4 * 16 + 2 * 32) + 2 * 599**2 * 16)
        assert row["tflop_per_step"] == pytest.approx(work / 1e12)
        rate = row["tflop_per_step"] / row["step_min_s"]
        assert row["utilisation"] == pytest.approx(rate / row["peak_tflop_per_s"])
        assert 0 < row["waiting_share"] < 1 and row["stft_share"] > 0
        assert row["input_windows_per_s"] > 0 and row["compile_s"] > 0
        assert row["memory_by"] == "compiler" and row["memory_mib"] > 0
    assert rows[1]["memory_mib"] < rows[0]["memory_mib"]  # the batch is split over two devices


@pytest.mark.parametrize("method", ["selfpab", "mae"])
def test_step_beside_pytorch_at_the_size_of_the_smoke_config(method, tmp_path, capsys, monkeypatch, compile_cache):
    monkeypatch.setattr("launch.benchmarks.peak.SIZES", {"cpu": (256, 1)})
    monkeypatch.setattr("launch.benchmarks.feed.FED_S", 0.1)
    small = PrepareSettings(Cut(max_gap_s=300), subjects=1, hours=0.2)
    if method == "mae":
        small = PrepareSettings(Cut(sensors=("wrist",), rate_hz=30, window_s=60, max_gap_s=300), subjects=1, hours=0.2)
    else:
        monkeypatch.setattr("launch.benchmarks.mesh._row", lambda *_: ROW)  # as measured above
    monkeypatch.setattr("launch.benchmarks.feed.made_up", lambda config: small)
    flags = ["--what=step", f"--config=configs/{method}.py:smoke", "--config.model.layers=1", "--batch=2"]
    result, printed = run(tmp_path, capsys, *flags)
    check(result, printed, 4)
    assert [row["mesh"] for row in result["steps"]] == ["one device"]
    assert printed.index("| one device |") < printed.index("| training step, batch 2: minimum |")


def test_windows_made_up_for_a_method_fit_it():
    """What check_run asks of a prepared folder: channels, rate, a whole number of tokens."""
    for name, sensors, rate, samples in (("selfpab", ("back", "thigh"), 50, 15_000), ("mae", ("wrist",), 30, 90_000)):
        settings = made_up(json.loads(load_config(f"configs/{name}.py").to_json()))
        assert (settings.cut.sensors, settings.cut.rate_hz, settings.cut.window) == (sensors, rate, samples)
        assert settings.hours * 3600 > settings.cut.window_s


def test_a_loss_that_pytorchs_side_does_not_know_is_left_out():
    pytest.importorskip("torch")
    from launch.benchmarks import step

    config = load_config("configs/mae.py:smoke")
    config.spectrum.distance = "l1"
    with pytest.raises(step.LeftOut, match="spectrum.distance is l1, expected l2"):
        step.comparison(json.loads(config.to_json()), 2)
    config = load_config("configs/selfpab.py:smoke")
    config.model.dtype = "bfloat16"
    with pytest.raises(step.LeftOut, match="model.dtype is bfloat16"):
        step.comparison(json.loads(config.to_json()), 2)


def test_a_step_against_another_loss_is_an_error(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    from launch.benchmarks import step_mae

    right = step_mae.lmm
    monkeypatch.setattr(step_mae, "lmm", lambda *given: 1.001 * right(*given))
    flags = ["--what=step", f"--json={tmp_path}/x", "--threads=1", "--batch=2", "--config=configs/mae.py:smoke"]
    assert bench.main(flags) == 2
    assert "the losses on one batch are " in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_features_are_compared_for_selfpab_only(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    assert bench.main(["--what=encode", "--config=configs/mae.py:smoke", f"--json={tmp_path}/x"]) == 2
    assert "is of the method mae, expected selfpab" in capsys.readouterr().err


def test_features_of_an_hour(tmp_path, capsys, prepared):
    pytest.importorskip("onnxruntime")
    result, printed = run(
        tmp_path, capsys, "--what=encode", "--config=configs/selfpab.py:smoke", "--batch=2", f"--data={prepared}"
    )
    check(result, printed, 8)


def test_stft(tmp_path, capsys):
    result, printed = run(tmp_path, capsys, "--what=stft", "--batch=2")
    check(result, printed, 8)


def test_input_from_a_prepared_folder(tmp_path, capsys):
    settings = PrepareSettings(Cut(stride_s=15), subjects=1, hours=0.25)
    prepare(None, "synthetic", tmp_path / "prepared", settings, workers=1, progress=False)
    result, printed = run(tmp_path, capsys, "--what=input", f"--data={tmp_path / 'prepared'}", "--batch=2")
    check(result, printed, 8)
    assert bench.main(["--what=input", f"--json={tmp_path}/x", f"--data={tmp_path / 'prepared'}", "--batch=50"]) == 2
    assert "expected at least 250: choose a smaller --batch" in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoint_and_restart(tmp_path, capsys):
    result, _ = run(tmp_path, capsys, "--what=checkpoint", "--config=configs/selfpab.py:smoke")
    [found] = result["checkpoint"]
    assert found["bytes"] > 0 and 0 < found["call_s"] <= found["saved_s"] and found["restored_s"] > 0
    result, _ = run(tmp_path, capsys, "--what=restart", "--repeats=1")
    [found] = result["restart"]
    assert 0 < found["ended_s"] < 60 and 1 < found["under_way_s"] < 120


def test_what_has_been_measured_outlives_a_failure(tmp_path, monkeypatch):
    def measure(what, *_):
        if what == "encode":
            raise OSError("disk full")
        return {"rows": [Row(what, 1, 2, 2, "s")]}

    monkeypatch.setattr("launch.benchmarks.kinds.measure", measure)
    pytest.importorskip("torch")
    assert bench.main(["--what=all", f"--json={tmp_path}/bench.json"]) == 2
    assert [row["what"] for row in json.loads((tmp_path / "bench.json").read_text())["rows"]] == ["step", "stft"]


def test_without_pytorch_one_sentence_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert bench.main(["--what=stft", f"--json={tmp_path / 'x.json'}"]) == 2
    expected = "PyTorch, to compare with, is not installed: pip install -e '.[torch]'\n"
    assert capsys.readouterr().err == f"selfpab bench: error: {expected}"


def test_help_explains_each_column_and_imports_no_heavy_library():
    program = "import sys; from launch import bench\ntry: bench.main(['--help'])\nexcept SystemExit: pass\n"
    program += "print('heavy:', sorted({'jax', 'numpy', 'torch', 'grain'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "heavy: []"
    for column in (*STEPS.values(), *SCALING.values()):
        assert f"  {column.heading:<17}{column.meaning}\n" in ran.stdout


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--what=stft"], "--json"),
        (["--what=stft", "--json=/no/such/folder/x.json"], "there is no folder /no/such/folder"),
        (["--what=stft", "--json=x.json", "--batch=0"], "--batch is 0, expected 1 or more"),
        (["--what=stft", "--json=x.json", "--threads=9999"], "--threads is 9999, expected at most"),
        (["--what=all", "--json=x.json", "--repeat=3"], "unknown flag --repeat; did you mean --repeats?"),
        (["--what=step", "--json=x.json", "--batch=4,0"], "--batch is 0, expected 1 or more"),
        (["--what=stft", "--json=x.json", "--batch=4,8"], "--batch: --what stft measures one batch size"),
        (["--what=stft", "--json=x.json", "--mesh=data=2"], "--mesh belongs to --what step, found --what stft"),
        (["--what=step", "--json=x.json", "--processes=2"], "--processes belongs to --what input"),
        (["--what=all", "--json=x.json", "--config.seed=1"], "--config.seed belongs to --what step"),
        (["--what=step", "--json=x.json", "--config.mesh.data=1"], "--config.mesh.data has no effect here: say --mesh"),
        (["--what=step", "--json=x.json", "--mesh=date=2"], "--mesh is 'date=2', expected axes among data, fsdp"),
        (["--what=step", "--json=x.json", "--config.sed=1"], "has no field sed; did you mean seed?"),
        (["--what=step", "--json=x.json", "--mesh=data=64"], "XLA_FLAGS=--xla_force_host_platform_device_count=64"),
        (["--what=step", "--json=x.json", "--mesh=data=4", "--batch=6"], "expected a multiple of the 4 device(s)"),
    ],
)
def test_wrong_flags(flags, sentence, capsys):
    assert bench.main(flags) == 2
    assert sentence in capsys.readouterr().err


def test_turns_are_interleaved_and_the_first_round_does_not_count():
    order = []

    def candidate(name):
        order.append(name)
        return Seconds(len(order), 2 * len(order))

    times = in_turns({"a": lambda: candidate("a"), "b": lambda: candidate("b")}, 2, "test")
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert times == {"a": [(3, 6), (5, 10)], "b": [(4, 8), (6, 12)]}


def test_what_is_timed_has_run_before():
    times = []
    assert settled(lambda: times.append(time.sleep(0.5 if not times else 0))).wall < 0.4
    assert len(times) == 2


def test_rows_by_hand():
    ours, pytorch = [Seconds(1, 2), Seconds(3, 2), Seconds(2, 2)], [Seconds(4, 5), Seconds(2, 5), Seconds(8, 5)]
    rows = compare("x", ours, pytorch)
    assert [tuple(row) for row in rows[:2]] == [("x: minimum", 1, 2, 2, "s"), ("x: median", 2, 4, 2, "s")]
    assert tuple(compare("x", ours, pytorch, windows=10)[3]) == ("x: median", 5, 2, 2.5, "windows/core s")
    assert table(rows[:1]).splitlines()[-1] == "| x: minimum | 1 | 2 | 2.00 | s |"
