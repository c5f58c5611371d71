"""Splits: disjoint, complete, seeded, nested; one sentence where a side would be empty."""

import numpy as np
import pytest

from data_pipelines.splits import nested_hours, seeded_bits, seeded_permutation, split_indices, subject_split

# Subject B has two recordings, D has none long enough for a window.
MANIFEST = {
    "settings": {"window_samples": 15_000},
    "sample_rate_hz": 50,
    "recordings": [
        {"subject": "A", "windows": 3},
        {"subject": "B", "windows": 4},
        {"subject": "C", "windows": 2},
        {"subject": "D", "windows": 0},
        {"subject": "B", "windows": 1},
        {"subject": "E", "windows": 20},
    ],
}
SUBJECT_OF_WINDOW = np.array(list("AAABBBBCCB" + "E" * 20))


def test_permutation_is_pinned():
    # Philox' raw bits never change (NEP 19): a resumed run on another NumPy must find the same order.
    assert seeded_permutation(8, 0, 3, 0).tolist() == [7, 6, 1, 3, 5, 2, 4, 0]
    assert sorted(seeded_permutation(1000, 5)) == list(range(1000))
    assert not np.array_equal(seeded_permutation(1000, 5), seeded_permutation(1000, 6))


def test_subjects_are_disjoint_and_complete():
    train, valid = subject_split(["c", "a", "b", "a", "d", "e"], 0.4, seed=1)
    assert len(valid) == 2 and sorted(train + valid) == ["a", "b", "c", "d", "e"]
    assert (train, valid) == subject_split(["e", "d", "c", "b", "a"], 0.4, seed=1)
    assert len({tuple(subject_split("abcdefgh", 0.25, seed)[1]) for seed in range(20)}) > 5


@pytest.mark.parametrize("seed", range(5))
def test_split_by_subject_keeps_people_together(seed):
    train, valid = split_indices(MANIFEST, "subject", 0.25, seed)
    assert sorted([*train, *valid]) == list(range(30))
    assert not set(SUBJECT_OF_WINDOW[train]) & set(SUBJECT_OF_WINDOW[valid])
    assert len(set(SUBJECT_OF_WINDOW[valid])) == 1  # a quarter of four; D has no window and does not count
    assert train.dtype == valid.dtype == np.int64


def test_split_by_window_has_the_asked_size():
    train, valid = split_indices(MANIFEST, "window", 0.2, seed=0)
    assert len(valid) == 6 and sorted([*train, *valid]) == list(range(30))
    assert set(SUBJECT_OF_WINDOW[train]) & set(SUBJECT_OF_WINDOW[valid])
    assert not np.array_equal(valid, split_indices(MANIFEST, "window", 0.2, seed=1)[1])


@pytest.mark.parametrize("how", ["subject", "window"])
def test_fewer_hours_are_inside_more_hours(how):
    everything, valid = split_indices(MANIFEST, how, 0.2, seed=3)
    subsets = []
    for windows in (1, 3, 5):
        train, same_valid = split_indices(MANIFEST, how, 0.2, seed=3, hours=windows / 12)
        assert len(train) == windows
        np.testing.assert_array_equal(valid, same_valid)
        subsets.append(set(train.tolist()))
    assert subsets[0] < subsets[1] < subsets[2] <= set(everything.tolist())
    assert set(nested_hours(everything, len(everything) / 12, 3, 1 / 12)) == set(everything)


def test_hours_count_the_windows_of_the_folder():
    longer = MANIFEST | {"settings": {"window_samples": 90_000}, "sample_rate_hz": 30}  # 3,000 s
    train, _ = split_indices(longer, "window", 0.2, seed=3, hours=2.5)
    assert len(train) == 3


def test_random_bits_are_pinned():
    assert (seeded_bits(3, 0, 4, 0) == seeded_bits(9, 0, 4, 0)[:3]).all()
    assert np.argsort(seeded_bits(8, 0, 3, 0)).tolist() == [7, 6, 1, 3, 5, 2, 4, 0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"how": "person"}, "expected 'subject' or 'window'"),
        ({"valid_fraction": 0.0}, "valid_fraction is 0.0"),
        ({"valid_fraction": 1.0}, "valid_fraction is 1.0"),
        ({"valid_fraction": 0.99}, "leaves none to train on"),
        ({"valid_fraction": 0.99, "how": "window"}, "leaves none to train on"),
        ({"hours": 100}, "expected between 0.0833"),
        ({"hours": 0.01}, "expected between 0.0833"),
        (
            {"manifest": {"recordings": [{"subject": "A", "windows": 9}]}},
            "at least 2 subjects with windows, found 1",
        ),
        ({"manifest": {"recordings": [{"subject": "A", "windows": 0}]}}, "hold no window"),
    ],
)
def test_refusals(change, sentence):
    arguments = {"manifest": MANIFEST, "how": "subject", "valid_fraction": 0.2, "seed": 0} | change
    with pytest.raises(ValueError, match=sentence):
        split_indices(**arguments)
