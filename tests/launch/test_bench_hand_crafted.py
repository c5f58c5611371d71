"""The benchmark of the hand-crafted features: what it writes, and that unequal features are not timed."""

import json
import sys

import numpy as np
import pytest

from launch import bench
from launch.benchmarks import hand_crafted
from launch.benchmarks.timing import Seconds


def test_windows_a_second_of_both(tmp_path, capsys, monkeypatch):
    """Needs no PyTorch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    file = tmp_path / "bench.json"
    flags = ["--what=hand_crafted", f"--json={file}", "--threads=1", "--repeats=2", "--batch=6"]
    code = bench.main(flags)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    result = json.loads(file.read_text())
    [row] = result["hand_crafted"]
    assert result["rows"] == result["steps"] == []
    assert row["windows"] == 6 and 0 <= row["difference"] < hand_crafted.TOLERANCE
    assert row["ratio"] == pytest.approx(row["ours_per_s"] / row["loop_per_s"])
    assert row["core_ratio"] == pytest.approx(row["ours_per_core_s"] / row["loop_per_core_s"])
    assert printed.out.splitlines()[2].startswith(f"| 6 | {row['ours_per_s']:,.4g} | {row['loop_per_s']:,.4g} | ")
    assert "largest difference of the features: " in printed.err


def test_the_rows_by_hand(monkeypatch):
    """Four windows in 1, 2, 3 s of one and 20, 40, 90 s of the other; half of it on a core."""
    seconds = {"ours": (1, 2, 3), "loop": (20, 40, 90)}

    def in_turns(candidates, repeats, title):
        assert repeats == 3
        return {name: [Seconds(s, s / 2) for s in seconds[name]] for name in candidates}

    monkeypatch.setattr(hand_crafted, "in_turns", in_turns)
    row = hand_crafted.measure(4, 3)
    del row["difference"]
    expected = {"windows": 4, "ours_per_s": 2, "loop_per_s": 0.1, "ours_per_core_s": 4, "loop_per_core_s": 0.2}
    assert row == pytest.approx(expected | {"ratio": 20, "core_ratio": 20})


@pytest.mark.parametrize("wrong", [1 + 1e-8, np.nan])
def test_other_features_are_an_error(wrong, tmp_path, capsys, monkeypatch):
    right = hand_crafted.one_window
    monkeypatch.setattr(hand_crafted, "one_window", lambda axes: [wrong * value for value in right(axes)])
    assert bench.main(["--what=hand_crafted", f"--json={tmp_path}/x", "--threads=1", "--batch=2"]) == 2
    assert "the features differ from SciPy's by " in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
