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
        manifest = {"recordings": [{"name": "p", "subject": "s", "source": []}], "failed": []}
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


def test_a_row_for_each_file_of_a_recording_that_failed(tmp_path):
    files = [{"file": "back.cwa", "place": "back"}, {"file": "x/thigh.cwa", "place": "thigh"}]
    failed = [{"name": "p_2", "subject": "p", "files": files, "reason": "x/thigh.cwa: no block"}]
    head, *rows = csv.reader(files_table(tmp_path, {"recordings": [], "failed": failed}).splitlines())
    filled = [{name: cell for name, cell in zip(head, row, strict=True) if cell} for row in rows]
    shared = {"recording": "p_2", "subject": "p", "failed": "x/thigh.cwa: no block"}
    assert filled == [shared | file for file in files]


def test_equal_files_name_each_other(tmp_path):
    (tmp_path / SHARDS).mkdir()
    contents, entries = {"a1": 1, "a2": 2, "b1": 1, "b2": 3, "c1": 1, "c2": 2}, []
    for person in "abc":
        sensors = {p: sensor(p, CALIBRATION, None) | {"file": f"{person}{n}"} for n, p in ((1, "back"), (2, "thigh"))}
        write_sidecar(tmp_path, person, {}, "", {"sensors": sensors})
        same = {"bytes": 5, "bad_blocks": {}, "calibration": "", "orientation": "", "clock": None}
        source = [same | {"file": file, "crc32": crc} for file, crc in contents.items() if file[0] == person]
        entries.append({"name": person, "subject": person, "source": source})
    rows = csv.DictReader(files_table(tmp_path, {"recordings": entries, "failed": []}).splitlines())
    assert {row["file"]: row["equal_to"] for row in rows} == {
        "a1": "b1; c1",
        "a2": "c2",
        "b1": "a1; c1",
        "b2": "",
        "c1": "a1; b1",
        "c2": "a2",
    }
