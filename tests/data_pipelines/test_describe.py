"""The numbers of a prepared folder, by hand: hours by person and reason, days, times of day, subsets."""

import numpy as np
import pytest

from data_pipelines.describe import describe, subsets, training_side
from data_pipelines.manifest import read_manifest
from data_pipelines.splits import split_indices, window_subjects

SETTINGS = {"window_samples": 15_000, "stride_samples": 15_000}


def raw_entry(subject: str, windows: int, days: list[str], **changes) -> dict:
    """An entry with what ingest knows: an hour of night and half an hour of the rest beside the windows."""
    dropped = {"gap": 900.0, "no partner": 0.0, "night": 3600.0, "short": 900.0}
    hours = [0] * 7 + [windows] + [0] * 16
    known = {"recorded_s": 300 * windows + 5400, "wear_s": 300.0 * windows + 60, "dropped": dropped, "days": days}
    source = [{"place": "back", "rate_hz": 100.0}, {"place": "thigh", "rate_hz": 50}]
    return {"subject": subject, "windows": windows, "window_hours": hours, "source": source} | known | changes


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
    assert found.dropped_h == pytest.approx({"gap": 0.75 + 0.1 / 3600, "no partner": 0, "night": 3, "short": short})
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
        {"gap": 0.25, "no partner": 0, "night": 1, "short": 1 / 3, "non-wear": 1 / 36}
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
