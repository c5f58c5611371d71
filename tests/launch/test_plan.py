"""The plan of a large run: worked out by hand for round numbers, and docs/scale.md is what it prints."""

import json
from pathlib import Path

import pytest

from launch.plan import main, measured_in, render
from launch.plan_sections import BETWEEN_FAILURES_H

PROJECT = Path(__file__).resolve().parents[2]
STEP = {"batch": 4, "tflop_per_step": 1.0, "peak_tflop_per_s": 0.5, "utilisation": 0.5, "devices": 1, "device": "cpu"}
FACTS = {
    "hours": 1000,
    "epochs": 10,
    "batch": 64,
    "devices": 4,
    "storage": [{"name": "cohort", "bytes": 2_000_000, "hours": 2.0, "rate_hz": 50, "channels": 6}],
    "step": STEP | {"dtype": "float32"},
    "input": 100.0,
    "checkpoint": {"bytes": 700_000_000, "call_s": 0.5, "saved_s": 3.0, "restored_s": 2.0},
    "restart": {"ended_s": 1.0, "under_way_s": 9.0},
    "machine": {"cores": 2},
}


def test_by_hand():
    text = render(FACTS)
    # 900 h of 12 windows, ten times, by 64; a window is 0.25 TFLOP.
    assert "10,800 windows an epoch, 1,688 steps of 64, 0.25 TFLOP a window: 2.7e+16 FLOP" in text
    assert "50% of a matmul peak of 0.5 TFLOP/s, which makes 30 device-hours there" in text  # 27000 / 0.25 / 3600
    assert "| cohort | 6 channels at 50 Hz | 2.0 | 1.00 | 1 |" in text
    assert "| A100 | 312 | 0.1 | 0.1 | 0.0 |" in text
    # 0.4 * 312 TFLOP/s * 4 devices / 0.25 TFLOP = 1,997 windows/s of 1/12 MB
    assert "| A100 | 1,997 | 166 | 20 |" in text
    between = BETWEEN_FAILURES_H / 4 * 3600
    assert f"saving every {(2 * 0.5 * between) ** 0.5 / 60:,.0f} minutes" in text
    assert f"| a process or host dies | {(2 * 0.5 * between) ** 0.5 / 2:,.0f} s on average | 10 s |" in text
    assert measured_in(text) == FACTS


def test_the_shipped_plan_is_worked_out():
    text = (PROJECT / "docs" / "scale.md").read_text()
    assert render(measured_in(text)) == text


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"steps": [], "rows": []}'])
def test_a_file_that_is_no_bench(tmp_path, capsys, content):
    (tmp_path / "x.json").write_text(content)
    assert main([f"--bench={tmp_path}/x.json", f"--data={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"--bench {tmp_path}/x.json" in said and "selfpab bench --what all" in said


def test_writes_a_file_or_prints(tmp_path, capsys, prepared):
    row = {"what": "input, batch 64, from compressed shards: median", "ours": 100.0, "unit": "windows/core s"}
    bench = {"steps": [FACTS["step"]], "rows": [row], "machine": FACTS["machine"]}
    (tmp_path / "a.json").write_text(json.dumps(bench | {"checkpoint": [], "restart": []}))
    (tmp_path / "b.json").write_text(json.dumps({name: [FACTS[name]] for name in ("checkpoint", "restart")}))
    given = [f"--bench={tmp_path}/a.json", f"--bench={tmp_path}/b.json", f"--data={prepared}", "--hours=1000"]
    assert main([*given, f"--out={tmp_path}/plan.md"]) == 0 and main(given) == 0
    assert capsys.readouterr().out == (tmp_path / "plan.md").read_text()
    assert measured_in((tmp_path / "plan.md").read_text())["restart"] == FACTS["restart"]
    assert main([*given, "--devices=0"]) == 2
