"""The benchmark at tiny sizes: the file it writes, the table it prints, and its mistakes."""

import json
import sys

import pytest

from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from launch import bench
from launch.bench_timing import Seconds, compare, in_turns, table


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


@pytest.mark.parametrize("method", ["selfpab", "mae"])
def test_step_at_the_size_of_the_smoke_config(method, tmp_path, capsys):
    result, printed = run(tmp_path, capsys, "--what=step", f"--config=configs/{method}.py:smoke", "--batch=2")
    check(result, printed, 4)


def test_step_against_another_loss(tmp_path, capsys, monkeypatch):
    """One that the benchmark says it does not know, and one that it only notices."""
    pytest.importorskip("torch")
    from launch import bench_step_mae

    config = tmp_path / "config.py"
    config.write_text(
        "from launch.config_file import load_config\n\n\ndef get_config():\n"
        "    config = load_config('configs/mae.py')\n"
        "    config.spectrum.distance = 'l1'\n    return config\n"
    )
    flags = ["--what=step", f"--json={tmp_path}/x", "--threads=1", "--batch=2"]
    assert bench.main([*flags, f"--config={config}"]) == 2
    assert "spectrum.distance is l1, expected l2: the comparison of training steps" in capsys.readouterr().err
    right = bench_step_mae.lmm
    monkeypatch.setattr(bench_step_mae, "lmm", lambda *given: 1.001 * right(*given))
    assert bench.main([*flags, "--config=configs/mae.py:smoke"]) == 2
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


def test_without_pytorch_one_sentence_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert bench.main(["--what=stft", f"--json={tmp_path / 'x.json'}"]) == 2
    expected = "PyTorch, to compare with, is not installed: pip install -e '.[torch]'\n"
    assert capsys.readouterr().err == f"selfpab bench: error: {expected}"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--what=stft"], "--json"),
        (["--what=stft", "--json=/no/such/folder/x.json"], "there is no folder /no/such/folder"),
        (["--what=stft", "--json=x.json", "--batch=0"], "--batch is 0, expected 1 or more"),
        (["--what=stft", "--json=x.json", "--threads=9999"], "--threads is 9999, expected at most"),
        (["--what=all", "--json=x.json", "--repeat=3"], "unknown flag --repeat; did you mean --repeats?"),
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


def test_rows_by_hand():
    ours, pytorch = [Seconds(1, 2), Seconds(3, 2), Seconds(2, 2)], [Seconds(4, 5), Seconds(2, 5), Seconds(8, 5)]
    rows = compare("x", ours, pytorch)
    assert [tuple(row) for row in rows[:2]] == [("x: minimum", 1, 2, 2, "s"), ("x: median", 2, 4, 2, "s")]
    assert tuple(compare("x", ours, pytorch, windows=10)[3]) == ("x: median", 5, 2, 2.5, "windows/core s")
    assert table(rows[:1]).splitlines()[-1] == "| x: minimum | 1 | 2 | 2.00 | s |"
