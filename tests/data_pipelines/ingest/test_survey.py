"""The survey of a raw recording against sums written out, and that no cut, gap or jump of the clock changes it."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from data_pipelines.ingest.survey import clipped, survey
from data_pipelines.raw import Piece

START = 1_600_000_000_000_000  # microseconds, a whole 10 s


def recording(seconds=95, rate=50, seed=0, start=START):
    """A jittering clock, an offset of 1 g on z, a sensor that moves more and more and grows warm."""
    rng = np.random.default_rng(seed)
    count = seconds * rate
    time = start + np.arange(count) * (1_000_000 // rate) + rng.integers(0, 5000, count)
    movement = rng.normal(0, 1, (count, 3)) * np.linspace(0.004, 0.5, count)[:, None]
    return Piece(time, (movement + [0, 0.1, -1]).astype(np.float32), np.linspace(20, 30, count).astype(np.float32))


def cut(piece, edges):
    edges = [0, *edges, len(piece.time)]
    return [
        Piece(piece.time[a:b], piece.acceleration[a:b], None if piece.temperature is None else piece.temperature[a:b])
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]


def fields(found):
    return {field.name: (value := vars(found)[field.name], value.dtype) for field in dataclasses.fields(found)}


def test_against_each_span_on_its_own():
    piece = recording(start=START + 3_000_000)
    found = survey([piece], 50, 2)
    span = piece.time // 10_000_000
    np.testing.assert_array_equal(found.span, 160_000_000 + np.arange(10))
    np.testing.assert_array_equal(found.span * 10_000_000, START + 10_000_000 * np.arange(10))
    assert found.samples.tolist() == [350, *[500] * 8, 400] and found.complete.tolist() == [False, *[True] * 8, False]
    values = piece.acceleration.astype(np.float64)
    movement = np.abs(np.linalg.norm(values, axis=1) - 1)
    for row, number in enumerate(found.span):
        mine = span == number
        np.testing.assert_allclose(found.mean[row], values[mine].mean(0), atol=1e-14)
        np.testing.assert_allclose(found.std[row], values[mine].std(0), rtol=1e-12)
        np.testing.assert_allclose(found.temperature[row], piece.temperature[mine].astype(float).mean(), rtol=1e-12)
        assert found.clipped[row] == np.mean((np.abs(values[mine]) >= 1.996).any(1))
        for tenth in range(100):
            inside = mine & (piece.time // 100_000 % 100 == tenth)
            expected = movement[inside].mean() if inside.any() else np.nan
            np.testing.assert_allclose(found.envelope[row, tenth], expected, rtol=1e-6)
    assert found.clipped[-1] > 0 and np.isnan(found.envelope[0, :30]).all() and found.envelope.dtype == np.float32


@pytest.mark.parametrize("edges", [range(1, 4750), range(7, 4750, 997), [500], [499, 501], [0, 0, 4700, 4750]])
def test_pieces_change_no_bit(edges):
    piece = recording()
    whole, pieced = fields(survey([piece], 50, 2)), fields(survey(cut(piece, edges), 50, 2))
    for name, (values, dtype) in whole.items():
        np.testing.assert_array_equal(pieced[name][0], values, err_msg=name)
        assert pieced[name][1] == dtype


def test_long_pieces_are_taken_in_parts():
    piece = recording(seconds=2000)  # 100,000 samples, three times what is taken at once
    whole, pieced = fields(survey([piece], 50)), fields(survey(cut(piece, range(999, 100_000, 999)), 50))
    assert len(whole["span"][0]) == 200
    for name, (values, _) in whole.items():
        np.testing.assert_array_equal(pieced[name][0], values, err_msg=name)


def test_a_sensor_at_rest_has_no_spread():
    time = START + np.arange(6400) * 3125  # 320 Hz, 20 s
    resting = np.full((6400, 3), [0.1, -15.9, 3.3], np.float32)
    assert (survey([Piece(time, resting)], 320).std < 1e-14).all()
    resting[::2] += np.float32(2**-10)  # 1/1024 g up and down: 1/2048 about the mean
    np.testing.assert_allclose(survey([Piece(time, resting)], 320).std, 2**-11, rtol=1e-3)


def test_years_without_samples_take_no_room():
    first, second = recording(), recording(start=START + 20 * 365 * 86_400_000_000, seed=1)
    tracemalloc.start()
    found = survey([first, second], 50)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert len(found.span) == 20 and found.span[10] - found.span[9] > 63_000_000
    np.testing.assert_array_equal(found.mean[10:], survey([second], 50).mean)


def test_gaps_inside_a_span_make_it_incomplete():
    piece = recording(seconds=20)
    for missing, complete in ((50, True), (51, False)):
        kept = Piece(*(np.delete(values, slice(100, 100 + missing), 0) for values in piece[:3]))
        found = survey([kept], 50)
        assert found.complete.tolist() == [complete, True] and found.samples[0] == 500 - missing


def test_without_temperature_range_or_samples():
    piece = recording()._replace(temperature=None)
    found = survey([piece], 50)
    assert np.isnan(found.temperature).all() and not found.clipped.any()
    empty = survey([], 50)
    assert {name: len(values) for name, (values, _) in fields(empty).items()} == dict.fromkeys(fields(found), 0)
    assert {name: dtype for name, (_, dtype) in fields(empty).items()} == {
        name: dtype for name, (_, dtype) in fields(found).items()
    }
    assert len(survey([piece._replace(time=piece.time[:0], acceleration=piece.acceleration[:0])], 50).span) == 0


def test_what_counts_as_clipped():
    values = np.float32([[0, 0, 7.98], [0, 0, 511 / 64], [-8, 0, 0], [0, 7.9, 0], [0, 8.5, 0]])  # 10 bits: 511 / 64
    assert clipped(values, 8).tolist() == [False, True, True, False, True]
    assert not clipped(values, None).any() and not clipped(values, 16).any()
