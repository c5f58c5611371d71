"""The benchmark of ingest: what it writes of a raw file, and what it makes of 100,000 hours."""

import json

import pytest

from launch import bench
from launch.benchmarks.ingest import projected
from tests.data_pipelines.ingest.conftest import TRUE_HZ, signal, write_cwa


def test_rates_of_a_raw_file(tmp_path, capsys):
    path = write_cwa(tmp_path / "one.cwa", signal("back", 0))
    code = bench.main(
        ["--what=ingest", f"--data={path}", f"--json={tmp_path / 'b.json'}", "--repeats=1", "--threads=1"]
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    result = json.loads((tmp_path / "b.json").read_text())
    [row] = result["ingest"]
    assert row["hours"] == pytest.approx(12.3 / 60, rel=1e-3)
    assert row["mb_in_per_h"] == pytest.approx((512 / 120 * TRUE_HZ * 3600) / 1e6, rel=0.02)
    assert row["read_per_core_s"] > row["ingest_per_core_s"] > 0 and row["peak_mib"] > row["before_mib"] + 2 > 50
    assert [one["sensors"] for one in result["ingest_projected"]] == [1, 2]
    assert printed.out.splitlines()[2].startswith("| one.cwa | 0.205 | ")


def test_the_projection_by_hand():
    row = {"ingest_per_core_s": 50, "mb_in_per_h": 2, "mb_out_per_h": 0.5}
    found = projected(row, 2)  # 200,000 sensor-hours at 50 a second are 4,000 s
    expected = {"hours": 100_000, "sensors": 2, "core_h": 4000 / 3600, "gb_in": 400, "gb_out": 100}
    assert found == pytest.approx(expected | {"node_min": 4000 / 3600 / 64 * 60})


def test_without_a_raw_file(tmp_path, capsys):
    assert bench.main(["--what=ingest", f"--json={tmp_path / 'b.json'}"]) == 2
    assert "--data=FILE is missing" in capsys.readouterr().err
    (tmp_path / "x.cwa").write_bytes(b"nothing")
    assert bench.main(["--what=ingest", f"--json={tmp_path / 'b.json'}", f"--data={tmp_path / 'x.cwa'}"]) == 2
    assert "x.cwa" in capsys.readouterr().err
