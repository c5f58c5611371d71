"""The table of raw files: what is rounded, and what is left empty."""

import csv

import pytest

from data_pipelines.ingest.files_table import files_table
from data_pipelines.shards import SHARDS, write_sidecar

REPORT = {"blocks": 9, "bad_blocks": {"checksum": 1, "not a data block": 6}, "samples": 720, "gaps": 1}
REPORT |= {"missing_s": 16.79998123, "longest_gap_s": 16.81998123, "first_us": 0, "last_us": 1_500_000}
REPORT |= {"clock_jumps": 1, "largest_jump_s": -3600.0000012, "effective_rate_hz": 50.0012}
CALIBRATION = {"status": "calibrated", "error_before_g": 0.04580390597834429, "error_after_g": 0.0038765725}
NO_CALIBRATION = {"status": "no still span", "error_before_g": None, "error_after_g": None}
LAG = {"offset_s": 12.345678912, "drift_ppm": -31.4159265, "status": "aligned"}
UNDECIDED = {"offset_s": 0.0, "drift_ppm": 0.0, "status": "2 chunks with a clear lag, at least 4 needed"}


def sensor(place: str, calibration: dict, clock: dict | None) -> dict:
    found = {"file": f"{place}.cwa", "device": "AX3 1", "rate_hz": 50.0, "range_g": 8.0, "report": REPORT}
    return found | {"calibration": calibration, "orientation": {"status": "as worn"}, "clock": clock}


@pytest.fixture
def table(tmp_path):
    """Clock of the thigh -> rows of the table of one person."""
    (tmp_path / SHARDS).mkdir()

    def of(clock: dict | None) -> list[dict]:
        sensors = {"back": sensor("back", CALIBRATION, None), "thigh": sensor("thigh", NO_CALIBRATION, clock)}
        write_sidecar(tmp_path, "p", {}, "", {"sensors": sensors})
        manifest = {"recordings": [{"name": "p", "subject": "s"}], "failed": []}
        return list(csv.DictReader(files_table(tmp_path, manifest).splitlines()))

    return of


def test_sensible_digits(table):
    back, thigh = table(LAG)
    assert (back["error_before_g"], back["error_after_g"]) == ("0.0458", "0.00388")
    assert (back["missing_s"], back["longest_gap_s"], back["largest_jump_s"]) == ("16.8", "16.82", "-3600.0")
    assert (back["effective_hz"], back["last"]) == ("50.0012", "1970-01-01T00:00:01.500000")
    assert back["bad_blocks"] == "1 checksum; 6 not a data block"
    assert (thigh["clock"], thigh["lag_s"], thigh["drift_ppm"]) == ("aligned", "12.346", "-31.42")


@pytest.mark.parametrize("clock", [None, UNDECIDED])
def test_what_is_not_known_stays_empty(table, clock):
    back, thigh = table(clock)
    assert (back["clock"], back["lag_s"], back["drift_ppm"]) == ("", "", "")
    assert (thigh["lag_s"], thigh["drift_ppm"], thigh["error_before_g"]) == ("", "", "")
    assert thigh["clock"] == (clock["status"] if clock else "")
