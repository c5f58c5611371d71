"""Non-wear in hand-made signals: noise is a person, stillness a table."""

import numpy as np
import pytest

from data_pipelines import wear
from data_pipelines.wear import non_wear, worn, worn_spans

HZ = 10  # a piece is 100 samples, a minute 600


def signal(*parts, channels=3):
    """[S, C] of (minutes, standard deviation in g) in turn, around 1 g."""
    rng = np.random.default_rng(0)
    pieces = [rng.normal(0, sd, (round(minutes * 60 * HZ), channels)) for minutes, sd in parts]
    return (np.concatenate(pieces) + [1, *[0] * (channels - 1)]).astype(np.float32)


@pytest.mark.parametrize("at_once", [256, 7])
def test_two_still_hours_within_noise(monkeypatch, at_once):
    monkeypatch.setattr(wear, "AT_ONCE", at_once)
    found = non_wear(signal((30, 0.1), (120, 0.004), (20, 0.1)), HZ)
    assert found.dtype == bool and found.shape == (170 * 600,)
    np.testing.assert_array_equal(np.flatnonzero(np.diff(found)) + 1, [30 * 600, 150 * 600])
    assert found[60 * 600] and not found[0]


@pytest.mark.parametrize(("minutes", "expected"), [(89, 0), (90, 90), (91, 91)])
def test_it_takes_ninety_minutes(minutes, expected):
    found = non_wear(signal((30, 0.1), (minutes, 0.004), (30, 0.1)), HZ)
    assert np.count_nonzero(found) == expected * 600
    assert np.count_nonzero(non_wear(signal((30, 0.1), (minutes, 0.004)), HZ, minutes=60)) == minutes * 600


def test_a_still_sensor_that_is_moved_once():
    still = signal((100, 0.004), channels=6)
    assert non_wear(still, HZ).all()
    still[50 * 600 : 50 * 600 + 20, 4] += 0.2  # 2 s, one axis of one of two sensors
    assert not non_wear(still, HZ).any()
    found = non_wear(still, HZ, minutes=45)
    np.testing.assert_array_equal(np.flatnonzero(~found), np.arange(50 * 600, 50 * 600 + 100))  # its piece of 10 s


def test_threshold_is_a_standard_deviation():
    for sd, expected in ((0.012, True), (0.014, False)):
        square = np.ones((100 * 600, 3), np.float32)
        square[::2, 1] += 2 * sd  # deviates by sd from its mean
        assert non_wear(square, HZ).all() == expected and non_wear(square, HZ).any() == expected


def test_the_rest_follows_the_piece_before_it():
    lying = signal((100, 0.004), (0.1, 0.1))  # 60 samples of noise fill no piece
    assert non_wear(lying, HZ).all()
    assert not non_wear(signal((100, 0.1), (0.1, 0)), HZ)[-60:].any()
    assert not non_wear(lying[:99], HZ, minutes=0.1).any() and non_wear(lying[:0], HZ).shape == (0,)


def test_zero_minutes_switch_it_off():
    still = signal((100, 0))
    assert not non_wear(still, HZ, minutes=0).any()
    assert worn([slice(0, 300), slice(300, 900)], still, HZ, 0) == [slice(0, 300), slice(300, 900)]


def test_segments_lose_what_was_not_worn():
    parts = signal((20, 0.1), (100, 0.004), (20, 0.1), (100, 0.004))
    minute = 600
    assert worn([slice(0, 240 * minute)], parts, HZ, 90) == [
        slice(0, 20 * minute),
        slice(120 * minute, 140 * minute),
    ]
    # Each is judged on its own: cut in two, the first still stretch is too short. The last segment is all still.
    cut = [slice(0, 70 * minute), slice(70 * minute, 140 * minute), slice(140 * minute, 240 * minute)]
    assert worn(cut, parts, HZ, 90) == cut[:2]
    assert worn([slice(10 * minute, 125 * minute)], parts, HZ, 90) == [
        slice(10 * minute, 20 * minute),
        slice(120 * minute, 125 * minute),
    ]


def test_spans_not_worn_are_long_rests():
    span = np.concatenate([np.arange(100, 112), np.arange(200, 204)])
    std = np.full((16, 3), 0.02)
    std[2:8] = std[10:16] = 0.005
    std[4, 1] = 0.014  # one axis is enough
    assert (~worn_spans(span, std, minutes=0.5)).nonzero()[0].tolist() == [5, 6, 7, 12, 13, 14, 15]
    assert worn_spans(span, std, minutes=5).all()
    assert worn_spans(span, std, minutes=0).all()
    assert worn_spans(span[:0], std[:0], 90).shape == (0,)


@pytest.mark.parametrize(("lacking", "together"), [(59, True), (60, False)])
def test_a_rest_goes_on_over_gaps_of_up_to_ten_minutes(lacking, together):
    span = np.concatenate([np.arange(10), np.arange(10 + lacking, 30 + lacking)])
    worn = worn_spans(span, np.zeros((30, 3)), minutes=(30 + lacking) / 6)
    assert worn.any() != together and worn.all() != together
