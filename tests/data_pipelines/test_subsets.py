"""Subsets by window and by subject: nested, exact, apart from validation; a large cohort in little memory."""

import tracemalloc

import numpy as np
import pytest

from data_pipelines.manifest import VERSION, json_bytes, manifest_hash, read_manifest
from data_pipelines.splits import nested_hours, split_indices, subset_order, window_subjects
from data_pipelines.stretches import Places

# 5-minute windows: 12 are an hour. b and d have two recordings each, e none that is long enough.
WINDOWS = [("c", 24), ("b", 7), ("a", 12), ("d", 30), ("e", 0), ("b", 5), ("f", 18), ("d", 6), ("g", 12), ("h", 12)]
MANIFEST = {
    "settings": {"window_samples": 15_000, "stride_samples": 15_000, "block_samples": 15_000},
    "sample_rate_hz": 50,
    "recordings": [{"subject": name, "windows": count} for name, count in WINDOWS],
}
SUBJECTS = np.array([name for name, count in WINDOWS for _ in range(count)])


def test_subject_of_every_window():
    letters = np.array(list("abcdefgh"))  # e has a number although it has no window
    assert (letters[window_subjects(MANIFEST)] == SUBJECTS).all()


def test_order_by_window_is_pinned():
    # The published order: what `data.hours` has always chosen.
    indices = np.arange(100, 108)
    assert subset_order(indices, 0).tolist() == [104, 103, 107, 106, 105, 102, 100, 101]
    assert nested_hours(indices, 3 / 12, 0, 1 / 12).tolist() == [103, 104, 107]


def test_order_by_subject_is_pinned():
    # The same order, subject by subject: first 9 (102, 101), then 8 (104, 105, 100), then 7 (103, 107, 106).
    indices, subjects = np.arange(100, 108), np.array([8, 9, 9, 7, 8, 8, 7, 7])
    assert subset_order(indices, 0, subjects).tolist() == [102, 101, 104, 105, 100, 103, 107, 106]


@pytest.mark.parametrize("how", ["subject", "window"])
@pytest.mark.parametrize("hours_by", ["subject", "window"])
@pytest.mark.parametrize("seed", range(3))
def test_subsets_are_nested_exact_and_apart_from_validation(how, hours_by, seed):
    everything, valid = split_indices(MANIFEST, how, 0.25, seed)
    before = np.empty(0, np.int64)
    for windows in (1, 2, 7, 12, 13, 40, len(everything)):
        train, same_valid = split_indices(MANIFEST, how, 0.25, seed, windows / 12, hours_by)
        assert len(train) == windows and train.dtype == np.int64 and (np.diff(train) > 0).all()
        assert np.isin(before, train).all() and np.isin(train, everything).all()
        np.testing.assert_array_equal(valid, same_valid)
        assert not np.isin(train, valid).any()
        if how == "subject":
            assert not set(SUBJECTS[train]) & set(SUBJECTS[valid])
        before = train
    np.testing.assert_array_equal(before, everything)


@pytest.mark.parametrize("seed", range(5))
def test_by_subject_all_but_the_last_are_whole(seed):
    everything, _ = split_indices(MANIFEST, "subject", 0.25, seed)
    whole = {name: int((SUBJECTS[everything] == name).sum()) for name in set(SUBJECTS[everything])}
    touched: list[str] = []
    for windows in range(1, len(everything) + 1):
        train, _ = split_indices(MANIFEST, "subject", 0.25, seed, windows / 12, "subject")
        names, counts = np.unique(SUBJECTS[train], return_counts=True)
        partly = [name for name, count in zip(names, counts, strict=True) if count < whole[name]]
        touched += sorted(set(names) - set(touched))
        assert len(partly) <= 1 and set(partly) <= {touched[-1]}
    assert len(touched) == len(whole)


def test_by_subject_another_seed_is_another_order():
    subjects = window_subjects(MANIFEST)
    first = {int(subjects[subset_order(np.arange(len(subjects)), seed, subjects)[0]]) for seed in range(20)}
    assert len(first) > 4


def test_a_part_of_a_subject_is_spread_over_its_windows():
    subjects = np.zeros(2016, np.int64)  # a week of one person
    chosen = nested_hours(np.arange(2016), 14.0, 1, 1 / 12, subjects)
    assert len(chosen) == 168
    assert (np.bincount(chosen // 288, minlength=7) > 10).all()  # of 24 expected a day


def test_few_windows_touch_many_subjects_only_by_window():
    subjects = np.repeat(np.arange(100), 12)
    by_window, by_subject = (nested_hours(np.arange(1200), 5.0, 0, 1 / 12, some) for some in (None, subjects))
    assert len(by_window) == len(by_subject) == 60
    assert len(set(subjects[by_subject])) == 5 and len(set(subjects[by_window])) > 30


def test_refusals():
    with pytest.raises(ValueError, match="hours_by is 'person', expected 'window' or 'subject'"):
        split_indices(MANIFEST, "subject", 0.25, 0, None, "person")
    with pytest.raises(ValueError, match=r"hours is 11, expected between 0.0833 \(one window\) and 10 \(the training"):
        nested_hours(np.arange(120), 11, 0, 1 / 12, np.arange(120) // 12)
    with pytest.raises(ValueError, match="hours is 0.01, expected between"):
        split_indices(MANIFEST, "subject", 0.25, 0, 0.01, "subject")


def test_a_cohort_of_a_hundred_thousand_hours_fits_into_memory(tmp_path):
    names = [f"subject-{number:05d}" for number in range(35_650)]
    entry = {"windows": 38, "stretches": [[5 * 15_000, 1], [33 * 15_000 + 7, 1]], "crc32": 1}
    recordings = [{"subject": name, "shard": f"shards/{name}.array_record"} | entry for name in names]
    manifest = MANIFEST | {"version": VERSION, "recordings": recordings, "channels": ["x"], "layout": "harth"}
    manifest |= {"activities": {}, "hours": 1.0, "subjects": 1, "windows": 1}
    manifest |= {"normalization_crc32": 0, "movement_crc32": 0}
    (tmp_path / "manifest.json").write_bytes(json_bytes(manifest | {"hash": manifest_hash(manifest)}))
    del recordings, manifest
    tracemalloc.start()
    try:
        manifest = read_manifest(tmp_path)
        read = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        train, valid = split_indices(manifest, "subject", 0.1, 0, 100_000, "subject")
        assert Places(manifest).windows == 38 * 35_650
        chosen = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(train) == 1_200_000 and len(valid) == 38 * 3_565
    assert len(np.unique(train // 38)) == 31_579  # 31,578 whole subjects and 36 windows of another
    assert not np.isin(train // 38, valid // 38).any()
    print(f"{read / 1e6:.0f} MB to read, {chosen / 1e6:.0f} MB to choose")
    assert read < 60e6 and chosen < 150e6  # bytes; the manifest, and some int64 a window on top of it
