"""The order of visits: complete, seeded, and by movement as often as expected."""

import numpy as np
import pytest

from data_pipelines import movement
from data_pipelines.order import Visits, systematic

ALL = np.arange(13)


def places(first, count):
    return first + np.arange(count)


def test_order_is_pinned():
    # A run resumed with a later version finds the same windows: epoch 0 is seeded_permutation(8, 0, 3, 0).
    assert Visits(np.arange(8), 0).numbers(places(0, 8)).tolist() == [7, 6, 1, 3, 5, 2, 4, 0]
    assert Visits(10 * np.arange(8), 0).numbers(places(6, 2)).tolist() == [40, 0]


def test_a_batch_larger_than_an_epoch_still_counts_right():
    visits = Visits(ALL, 4)
    rows = np.concatenate([visits.numbers(places(32 * step, 32)) for step in range(13)])
    assert np.bincount(rows).tolist() == [32] * 13
    assert sorted(rows[:13]) == sorted(rows[13:26]) == ALL.tolist()


def test_seeds_and_epochs_do_not_share_orders():
    orders = {tuple(Visits(ALL, seed).numbers(places(13 * e, 13))) for seed in range(5) for e in range(5)}
    assert len(orders) == 25  # seed s, epoch 1 is not seed s + 1, epoch 0
    draws = {tuple(Visits(ALL, seed).draws(places(13 * e, 13)).tolist()) for seed in range(5) for e in range(5)}
    assert len(draws) == 25


def test_visits_do_not_depend_on_how_they_are_asked_for():
    for weights in (None, np.arange(13.0)):
        whole = Visits(ALL, 1, weights)
        apart = Visits(ALL, 1, weights)
        pieces = [(apart.numbers(places(first, 3)), apart.draws(places(first, 3))) for first in (27, 24, 30)]
        np.testing.assert_array_equal(np.concatenate([pieces[i][0] for i in (1, 0, 2)]), whole.numbers(places(24, 9)))
        np.testing.assert_array_equal(np.concatenate([pieces[i][1] for i in (1, 0, 2)]), whole.draws(places(24, 9)))


def test_systematic_by_hand():
    # 4 visits, sum 8: expected 0.5, 0, 1.5, 2; they end at 0.5, 0.5, 2, 4 and the points are first + 0, 1, 2, 3.
    weights = np.array([1, 0, 3, 4])
    assert systematic(weights, 0.0).tolist() == [1, 0, 1, 2]
    assert systematic(weights, 0.25).tolist() == [1, 0, 1, 2]
    assert systematic(weights, 0.5).tolist() == [0, 0, 2, 2]
    assert systematic(weights, 0.75).tolist() == [0, 0, 2, 2]


def test_visits_by_movement_are_rounded_down_or_up_and_right_on_average():
    weights = np.random.default_rng(0).lognormal(0, 1, 200).astype(np.float32)
    weights[::7] = 0
    expected = 200 * weights.astype(np.float64) / weights.sum(dtype=np.float64)
    visits = Visits(np.arange(200), 3, weights)
    counts = np.stack([np.bincount(visits.numbers(places(200 * epoch, 200)), minlength=200) for epoch in range(400)])
    assert (counts.sum(axis=1) == 200).all()
    assert (counts >= np.floor(expected)).all() and (counts <= np.ceil(expected)).all()
    assert np.abs(counts.mean(axis=0) - expected).max() < 0.1  # 4 standard errors of a coin in 400 throws
    orders = [tuple(visits.numbers(places(200 * epoch, 200))) for epoch in range(3)]
    assert len(set(orders)) == 3 and list(orders[0]) != sorted(orders[0])


def test_no_movement_at_all_is_uniform():
    still = Visits(ALL, 0, np.zeros(13, np.float32))
    np.testing.assert_array_equal(still.numbers(places(0, 40)), Visits(ALL, 0).numbers(places(0, 40)))


def test_movement_by_hand():
    # One axis of 2 samples a second: deviations 0, 1, 2, 3 counts, and the other axis is still. A scale of 0.5 g.
    counts = np.array([[5, 5, 1, -1, 4, 0, -3, 3, 9], [0] * 9], np.int16)
    starts = np.array([0, 2, 3, 4])
    # Windows of 5 samples hold 2 whole seconds; the one from sample 3 counts from second 1 on.
    found = movement.of_windows(counts, 0.5, 2, starts, 5)
    assert found.dtype == np.float32
    assert found.tolist() == [0.5 * mean / 2 for mean in (0.5, 1.5, 1.5, 2.5)]
    assert movement.of_windows(counts, 0.5, 2, starts[:0], 5).tolist() == []


def test_movement_of_more_seconds_than_are_read_at_once(monkeypatch):
    counts = np.random.default_rng(0).integers(-500, 500, (3, 70)).astype(np.int16)
    monkeypatch.setattr(movement, "AT_ONCE", 3)
    found = movement.of_windows(counts, 0.01, 5, np.array([0, 20]), 50)
    seconds = 0.01 * counts.astype(np.float64).reshape(3, 14, 5).std(axis=2).mean(axis=0)
    np.testing.assert_allclose(found, [seconds[:10].mean(), seconds[4:].mean()], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_equal_movement_visits_each_window_once(n):
    for first in (0.0, 0.1, 0.5, 1 - 2**-53):
        assert systematic(np.full(n, 0.1), first).sum() == n
    assert systematic(np.full(n, 0.25), 0.3).tolist() == [1] * n
