"""The numbers of a prepared folder, by hand: hours by person and reason, days, times of day, subsets."""

import zlib

import numpy as np
import pytest

from data_pipelines.describe import describe, raw_files, subsets, training_side
from data_pipelines.ingest import clocks
from data_pipelines.manifest import read_manifest
from data_pipelines.people_table import people_table
from data_pipelines.splits import split_indices, window_subjects

SETTINGS = {"window_samples": 15_000, "stride_samples": 15_000}


def raw_entry(subject: str, windows: int, days: list[str], **changes) -> dict:
    """An entry with what ingest knows: an hour of other hours and half an hour of the rest beside the windows."""
    dropped = {"gap": 900.0, "no partner": 0.0, "other hours": 3600.0, "short": 900.0}
    hours = [0] * 7 + [windows] + [0] * 16
    known = {"recorded_s": 300 * windows + 5400, "wear_s": 300.0 * windows + 60, "dropped": dropped, "days": days}
    source = [{"place": "back", "rate_hz": 100.0}, {"place": "thigh", "rate_hz": 50}]
    return (
        {"name": subject, "subject": subject, "windows": windows, "window_hours": hours, "source": source}
        | known
        | changes
    )


def raw_manifest(*entries: dict, **more) -> dict:
    return {"settings": SETTINGS, "sample_rate_hz": 50, "recordings": list(entries), **more}


def test_what_ingest_knows():
    first = raw_entry("b", 24, ["2020-01-05", "2020-01-06"])
    again = raw_entry("b", 12, ["2020-01-06"], window_hours=[5] + [0] * 22 + [7])
    other = raw_entry("a", 6, ["2020-01-06"])
    nobody = raw_entry("c", 0, [], wear_s=0.0, recorded_s=0.3, dropped={"gap": 0.1, "short": 0.2})  # sums to more
    failed = [{"name": "d", "reason": "d.cwa: no block"}]
    found = describe(raw_manifest(first, again, other, nobody, failed=failed))
    np.testing.assert_allclose(found.subject_hours, [0.5, 3.0, 0.0])
    assert found.hours == pytest.approx(3.5) and found.recorded_h == pytest.approx(3.5 + 3 * 1.5 + 0.3 / 3600)
    short = 0.75 + 0.2 / 3600
    dropped = {"gap": 0.75 + 0.1 / 3600, "no partner": 0, "other hours": 3, "short": short}
    assert found.dropped_h == pytest.approx(dropped)
    assert found.wear_h == pytest.approx(3.5 + 3 / 60)
    assert (found.subject_days, found.days) == (3, ("2020-01-05", "2020-01-06"))  # b's 6th counts once
    assert found.by_hour.tolist() == [5] + [0] * 6 + [30] + [0] * 15 + [7]
    assert found.device_rates == {50: 4, 100: 4}
    assert found.failed == {"d": "d.cwa: no block"}
    np.testing.assert_allclose(found.cumulative_hours, [3.0, 3.5])  # b, a; c has none


def test_what_one_entry_lacks_is_not_invented():
    old = {name: value for name, value in raw_entry("b", 2, []).items() if name in ("subject", "windows")}
    old |= {"samples": 50_000, "nonwear_s": 100.0, "dropped_s": 400.0, "source": {"file": "b.csv"}}
    found = describe(raw_manifest(raw_entry("a", 6, ["2020-01-06"]), old))
    np.testing.assert_allclose(found.subject_hours, [0.5, 600 / 3600])
    assert found.dropped_h == pytest.approx(
        {"gap": 0.25, "no partner": 0, "other hours": 1, "short": 1 / 3, "non-wear": 1 / 36}
    )
    unknown = (found.wear_h, found.subject_days, found.days, found.by_hour, found.device_rates, found.failed)
    assert unknown == (None,) * 6


def test_a_folder_of_prepare(prepared):
    # Half-overlapping windows. S1: 30,000 samples, all in windows. S2: of 58,000, windows cover 15,000 of the first
    # 16,000 and 37,500 of the next 40,000. S3: 9,000 and no window.
    found = describe(read_manifest(prepared))
    hour = 180_000
    np.testing.assert_allclose(found.subject_hours, [30_000 / hour, 52_500 / hour, 0], rtol=1e-12)
    assert found.dropped_h == pytest.approx({"non-wear": 0, "short": 14_500 / hour})
    assert found.recorded_h == pytest.approx(97_000 / hour)
    assert found.wear_h is found.days is found.by_hour is None


def raw_source(file: str, **changes) -> dict:
    """A file's part of an entry, with what ingest decided about it."""
    source = {"file": file, "rate_hz": 50.0, "bytes": 1024, "crc32": zlib.crc32(file.encode())}
    return source | {"calibration": "calibrated", "orientation": "as worn", "clock": None, "bad_blocks": {}} | changes


def test_what_was_decided_about_the_files():
    bad = {"checksum": 14, "truncated": 1}
    few = "29 still spans of 10 s apart in posture or time, at least 50 needed"
    first = [raw_source("a1"), raw_source("a2", orientation="upside down", clock="aligned", bad_blocks=bad)]
    second = [raw_source("b1", calibration=few), raw_source("b2", orientation="inside out", clock="2 chunks")]
    third = [
        raw_source("c1", orientation="as stated"),
        raw_source("c2", orientation="undecided", bad_blocks={"checksum": 2}),
    ]
    twin = [raw_source("d1", crc32=7, bytes=5), raw_source("d2", crc32=7, clock="aligned")]  # of other lengths
    again = [raw_source("e1", **{name: first[0][name] for name in ("bytes", "crc32")})]
    entries = [raw_entry(str(n), 1, [], source=one) for n, one in enumerate((first, second, third, twin, again))]
    found = raw_files(raw_manifest(*entries))
    assert (found.files, found.calibrated) == (9, 8)
    assert found.bad == {"checksum": {"a2": 14, "c2": 2}, "truncated": {"a2": 1}}
    assert found.orientations == {"as worn": 5, "upside down": 1, "inside out": 1, "as stated": 1, "undecided": 1}
    assert (found.aligned, found.paired) == (2, 3)  # the third recording's clocks were not compared
    assert found.equal == [("a1", "e1")] and found.unrelated == []


def test_three_sensors_are_aligned_if_both_others_are():
    three = [raw_source("a"), raw_source("b", clock="aligned"), raw_source("c", clock="2 chunks")]
    found = raw_files(raw_manifest(raw_entry("a", 1, [], source=three)))
    assert (found.aligned, found.paired) == (0, 1)


def test_recordings_of_sensors_that_never_move_together_are_named():
    two = [raw_source("a"), raw_source("b", clock=clocks.UNRELATED)]
    three = [raw_source("c"), raw_source("d", clock="aligned"), raw_source("e", clock=clocks.UNRELATED)]
    still = [raw_source("f"), raw_source("g", clock="2 chunks with a clear lag, at least 4 needed")]
    entries = [raw_entry(name, 1, [], source=one) for name, one in (("H", two), ("G", three), ("I", still))]
    found = raw_files(raw_manifest(*entries))
    assert found.unrelated == ["H", "G"] and (found.aligned, found.paired) == (0, 3)


def test_equal_files_are_all_counted():
    same = [[raw_source(name, bytes=1, crc32=1)] for name in "abc"] + [
        [raw_source(name, bytes=1, crc32=2)] for name in "de"
    ]
    found = raw_files(raw_manifest(*(raw_entry(str(n), 1, [], source=one) for n, one in enumerate(same))))
    assert found.equal == [("a", "b", "c"), ("d", "e")]


def test_nothing_is_said_of_files_that_nothing_is_known_of(prepared):
    known, unknown = raw_entry("a", 1, [], source=[raw_source("a")]), raw_entry("b", 1, [])
    assert raw_files(raw_manifest(known)) and raw_files(raw_manifest(known, unknown)) is None
    summed = raw_entry("c", 1, [], source=[raw_source("c", bad_blocks=3)])  # by an earlier release
    assert raw_files(raw_manifest(known, summed)) is None
    assert raw_files(read_manifest(prepared)) is None


def test_a_line_for_each_recording():
    days = ["2020-01-05", "2020-01-07"]
    entries = [raw_entry("b", 24, days, name="b1"), raw_entry("b", 0, [], name="b2", dropped={"gap": 5400.0})]
    head, *lines = people_table(raw_manifest(*entries)).splitlines()
    assert head == (
        "recording,subject,hours_recorded,hours_worn,hours_in_windows,windows,days_with_windows,first_day,last_day,"
        "hours_lost_gap,hours_lost_no_partner,hours_lost_other_hours,hours_lost_short"
    )
    assert lines == [
        "b1,b,3.5,2.0167,2.0,24,2,2020-01-05,2020-01-07,0.25,0.0,1.0,0.25",
        "b2,b,1.5,0.0167,0.0,0,0,,,1.5,,,",
    ]


def test_a_line_for_each_recording_of_prepare(prepared):
    head, *lines = people_table(read_manifest(prepared)).splitlines()
    assert head.endswith("last_day,hours_lost_non_wear,hours_lost_short")
    # 30,000, 58,000 and 9,000 samples of 50 Hz, as above; 3, 6 and no windows.
    assert lines == [
        "S1,S1,0.1667,,0.1667,3,,,,0.0,0.0",
        "S2,S2,0.3222,,0.2917,5,,,,0.0,0.0306",
        "S3,S3,0.05,,0.0,0,,,,0.0,0.05",
    ]


def test_the_sum_of_reasons_and_windows_is_what_was_recorded(prepared):
    for manifest in (read_manifest(prepared), raw_manifest(raw_entry("a", 7, []), raw_entry("b", 1, []))):
        found = describe(manifest)
        assert found.hours + sum(found.dropped_h.values()) == pytest.approx(found.recorded_h, rel=1e-9)


def test_subsets_are_those_that_training_takes():
    rng = np.random.default_rng(0)
    manifest = raw_manifest(*(raw_entry(f"{n % 50:02d}", int(rng.integers(0, 60)), []) for n in range(70)))
    most, people = training_side(manifest)
    everything, _ = split_indices(manifest, "subject", 0.1, 0)
    assert most == pytest.approx(len(everything) / 12)
    found = subsets(manifest, [100 * most, most, 20, 0.01, 2])
    assert [(one.hours, one.by) for one in found] == [
        (hours, by) for hours in (2, 20, most) for by in ("window", "subject")
    ]
    for hours, by, windows, touched in found:
        train, _ = split_indices(manifest, "subject", 0.1, 0, hours, by)
        assert (windows, touched) == (len(train), len(np.unique(window_subjects(manifest)[train])))
    assert found[-1].subjects == found[-2].subjects == people
    assert found[1].subjects < found[0].subjects


def test_one_subject_cannot_be_split():
    with pytest.raises(ValueError, match="at least 2 subjects"):
        training_side(raw_manifest(raw_entry("a", 7, [])))
