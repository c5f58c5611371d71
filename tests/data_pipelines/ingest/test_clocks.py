"""Lags between clocks: of made-up walkers with two sensors, of strangers, and of real sensors set apart."""

import json

import numpy as np
import pytest

from data_pipelines.ingest import clocks
from data_pipelines.ingest.clocks import Lag, clock_lag, correct
from data_pipelines.ingest.survey import Survey, survey
from data_pipelines.raw import Piece

START = 1_599_998_400  # s, a whole hour
DAY = 86_400


def steps(days, seed=0, bouts=12):
    """Times (s) and strengths of the steps of a walker: `bouts` an hour by day, of 10 s to 3 min."""
    rng = np.random.default_rng(seed)
    begin = np.sort(rng.uniform(0, days * DAY, round(days * 24 * bouts)))
    begin = begin[(begin / 3600 % 24 > 8) & (begin / 3600 % 24 < 22)]
    times, strength = [], []
    for first, count in zip(begin, rng.integers(20, 360, len(begin)), strict=True):
        times.append(first + np.cumsum(rng.normal(0.52, 0.03, count)))
        vigour = 1 + 0.3 * np.convolve(rng.normal(0, 1, count), np.ones(9) / 3, "same")
        strength.append(rng.uniform(0.2, 0.6) * vigour)
    return np.concatenate(times), np.abs(np.concatenate(strength))


def sensor(times, strength, days, alternate=1.0, ring=(1.0, 0.5), seed=1):
    """Survey of a sensor that feels every second step `alternate` times as strong, and rings on for some bins."""
    rng = np.random.default_rng(seed)
    bins = np.abs(rng.normal(0.01, 0.004, round(days * DAY * 10)))
    strength = strength * np.where(np.arange(len(times)) % 2, alternate, 1)
    at = np.floor(times * 10).astype(int)
    for later, share in enumerate(ring):
        inside = (at + later >= 0) & (at + later < len(bins))
        np.add.at(bins, at[inside] + later, share * strength[inside])
    envelope = bins.reshape(-1, 100).astype(np.float32)
    none = np.zeros(len(envelope))
    axes = np.zeros((len(envelope), 3))
    return Survey(START // 10 + np.arange(len(envelope)), none, axes, axes, none, none, none == 0, envelope)


def pair(offset_s, drift_ppm, days=2.0, **walk):
    times, strength = steps(days, **walk)
    back = sensor(times, strength, days)
    thigh = sensor(times + offset_s + drift_ppm * 1e-6 * times, strength, days, 0.3, (0.6, 1.0, 0.3), seed=2)
    return back, thigh


@pytest.mark.parametrize(("offset_s", "drift_ppm"), [(3.2, 25), (-41.0, -60), (0.4, 0), (0, 0)])
def test_a_known_lag_is_found(offset_s, drift_ppm):
    lag = clock_lag(*pair(offset_s, drift_ppm))
    assert lag.status == "aligned" and lag.agreement > 0.9 and 20 <= lag.chunks <= 28
    ends = np.array([0, 2 * DAY]) * 1e6
    # The thigh rings on for longer, which alone is a lag of 0.04 s.
    np.testing.assert_allclose(lag.at(START * 1_000_000 + ends), offset_s + drift_ppm * ends * 1e-12, atol=0.1)
    assert lag.drift_ppm == pytest.approx(drift_ppm, abs=0.5)
    assert json.loads(json.dumps(lag.to_json(), allow_nan=False))["status"] == "aligned"


def test_the_lag_is_signed_and_antisymmetric():
    back, thigh = pair(3.2, 25)
    there, back_again = clock_lag(back, thigh), clock_lag(thigh, back)
    assert there.offset_s > 3 and back_again.offset_s == pytest.approx(-there.offset_s, abs=0.1)
    assert back_again.drift_ppm == pytest.approx(-there.drift_ppm, abs=0.5)


def test_in_sync():
    times, strength = steps(1)
    lag = clock_lag(sensor(times, strength, 1), sensor(times, strength, 1, 0.4, seed=2))
    assert lag.status == "aligned" and abs(lag.offset_s) < 0.05


def test_lags_between_two_bins():
    times, strength = steps(1)
    for offset_s in (0.13, 0.16):
        lag = clock_lag(sensor(times, strength, 1), sensor(times + offset_s, strength, 1, seed=2))
        assert lag.offset_s == pytest.approx(offset_s, abs=0.02)


def lags(monkeypatch, values):
    """What is made of a chunk an hour with these lags, in s."""
    found = iter([clocks._Compared(1e6 * (START + 3600 * hour), lag, 0.9, True) for hour, lag in enumerate(values)])
    monkeypatch.setattr(clocks, "_chunks", lambda *_: [()] * len(values))
    monkeypatch.setattr(clocks, "_compared", lambda: next(found))
    return clock_lag(None, None, 3600)


def test_the_line_leaves_out_what_disagrees(monkeypatch):
    values = 2 + 0.1 * np.arange(16)
    values[[3, 11, 12, 15]] += [-40, 30, 55, 50]
    lag = lags(monkeypatch, values)
    assert (lag.status, lag.chunks, lag.agreement) == ("aligned", 16, 0.75)
    assert lag.at((START + 36_000) * 1_000_000) == pytest.approx(3.0)
    assert lag.drift_ppm == pytest.approx(1e6 * 0.1 / 3600)
    # It holds for the 14 hours between the first and last that agree, and as long again on either side.
    assert (lag.from_us, lag.until_us) == ((START - 14 * 3600) * 1_000_000, (START + 28 * 3600) * 1_000_000)


def test_three_quarters_of_the_clear_chunks_must_agree(monkeypatch):
    lag = lags(monkeypatch, [50, 0, -40, 0, 30, 0, -40, 0, 50])
    assert lag.status == "only 4 of 9 chunks with a clear lag agree on it" and lag.offset_s == 0
    assert lags(monkeypatch, [50, 0, -40, 0, 0, 0, 0, 0, 50]).status.startswith("only 6 of 9")
    assert lags(monkeypatch, [50, 0, 0, 0, 0, 0, 0, 0, 50]).status == "aligned"


@pytest.mark.parametrize(("spans", "chunk_s"), [(2879, 600), (2880, 3600)])
def test_less_than_eight_hours_are_looked_at_by_ten_minutes(monkeypatch, spans, chunk_s):
    asked = []
    monkeypatch.setattr(clocks, "_chunks", lambda first, second, chunk_us: asked.append(chunk_us) or iter(()))
    back = sensor(np.zeros(0), np.zeros(0), 1)
    clock_lag(back, Survey(*(values[:spans] for values in vars(back).values())))
    assert asked == [chunk_s * 1_000_000]


def test_what_repeats_itself_has_no_clear_lag():
    rng = np.random.default_rng(0)
    times = np.arange(1, DAY - 20, 20)[:, None] + np.arange(0, 10, 0.5)  # 10 s of steps every 20 s, all day
    times = (times + rng.normal(0, 0.02, times.shape)).ravel()
    first, second = (sensor(times, np.full(len(times), 0.4), 1, seed=seed) for seed in (1, 2))
    assert clock_lag(first, second).status == "0 chunks with a clear lag, at least 4 needed"


@pytest.mark.parametrize("seed", range(3))
def test_strangers_are_unrelated(seed):
    first = sensor(*steps(7, seed=2 * seed + 10), 7)
    second = sensor(*steps(7, seed=2 * seed + 11), 7, 0.3, (0.6, 1, 0.3), seed=2)
    lag = clock_lag(first, second)
    assert lag.status == clocks.UNRELATED and (lag.offset_s, lag.drift_ppm) == (0, 0)
    time = np.arange(5)
    np.testing.assert_array_equal(correct(time, lag), time)


def test_beyond_a_minute_is_unrelated():
    assert clock_lag(*pair(75, 0)).status == clocks.UNRELATED


def test_a_few_clear_chunks_that_agree_outweigh_many_that_are_unlike(monkeypatch):
    few = [clocks._Compared(1e6 * (START + 3600 * hour), 10.0, 0.9, True) for hour in range(6)]
    many = [clocks._Compared(0.0, None, 0.1, True)] * 66
    monkeypatch.setattr(clocks, "_chunks", lambda *_: [(one,) for one in few + many])
    monkeypatch.setattr(clocks, "_compared", lambda one: one)
    assert clock_lag(None, None, 3600).status == "aligned"
    few[:3] = [one._replace(lag_s=40.0 * number) for number, one in enumerate(few[:3])]
    assert clock_lag(None, None, 3600).status == clocks.UNRELATED


def test_who_moves_in_three_chunks_says_nothing_about_the_pairing():
    first, second = (sensor(*steps(0.5, seed=seed, bouts=20), 0.5, seed=seed) for seed in (1, 2))
    assert clock_lag(first, second).status == clocks.UNRELATED  # from 8 to 12
    three = Survey(*(values[: 11 * 360] for values in vars(first).values()))
    assert clock_lag(three, second).status == "0 chunks with a clear lag, at least 4 needed"


def test_a_stranger_wears_one_for_the_last_third():
    back, thigh = pair(2.0, 0, days=2)
    stranger = sensor(*steps(2, seed=5), 2, seed=3)
    half = len(back.span) * 2 // 3
    mixed = np.concatenate([thigh.envelope[:half], stranger.envelope[half:]])
    lag = clock_lag(back, Survey(*[*vars(thigh).values()][:-1], mixed))
    assert lag.status == "aligned" and lag.offset_s == pytest.approx(2.0, abs=0.1)


def test_four_chunks_are_needed():
    back, thigh = pair(1.0, 0, days=0.5, bouts=20)  # walks from 8 to 12
    assert clock_lag(back, thigh).chunks == 4 and clock_lag(back, thigh).status == "aligned"
    three = slice(0, 11 * 360)
    lag = clock_lag(Survey(*(values[three] for values in vars(back).values())), thigh)
    assert lag.status.startswith("3 chunks with a clear lag") and lag.offset_s == 0


def test_too_much_drift():
    assert "ppm, 200 possible" in clock_lag(*pair(0, 400, days=1)).status


def test_missing_spans_and_nothing_in_common():
    back, thigh = pair(3.2, 0)
    holes = np.random.default_rng(0).random(len(thigh.span)) > 0.1
    gappy = Survey(*(values[holes] for values in vars(thigh).values()))
    gappy.envelope[::7, 20:50] = np.nan
    assert clock_lag(back, gappy).offset_s == pytest.approx(3.2, abs=0.1)
    nothing = Survey(*(values[:0] for values in vars(back).values()))
    assert clock_lag(back, nothing).chunks == clock_lag(nothing, nothing).chunks == 0
    still = Survey(*[*vars(back).values()][:-1], np.full_like(back.envelope, 0.01))
    empty = Survey(*[*vars(back).values()][:-1], np.full_like(back.envelope, np.nan))
    assert clock_lag(back, still).chunks == clock_lag(back, empty).chunks == 0
    minutes = np.arange(len(thigh.span)) % 360 < 29  # 290 s of each hour
    assert clock_lag(back, Survey(*(values[minutes] for values in vars(thigh).values()))).chunks == 0


def test_correct_by_hand():
    lag = Lag(2.0, 100.0, 50_000_000, 0, 100_000_000, 9, 1.0, "aligned")
    # 100 ppm of the 50 s to the middle are 5 ms; beyond both ends the lag stays.
    reference = np.array([-11_000_000, 0, 50_000_000, 100_000_000, 200_000_000])
    other = reference + [1_995_000, 1_995_000, 2_000_000, 2_005_000, 2_005_000]
    np.testing.assert_array_equal(correct(other, lag), reference, strict=True)


def test_corrected_times_increase():
    lag = Lag(0.0, 190.0, 0, -(10**9), 10**9, 9, 1.0, "aligned")
    time = np.arange(100_000, dtype=np.int64)  # every microsecond
    corrected = correct(time, lag)
    assert corrected.dtype == np.int64 and (np.diff(corrected) > 0).all() and np.abs(corrected - time).max() <= 20


def test_real_sensors_set_apart(real_data):
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(real_data / "harth" / "S035.parquet")
    time = table["t_us"].to_numpy()

    def place(name, shift_s):
        signal = np.stack([table[f"{name}_{axis}"].to_numpy() for axis in "xyz"], axis=1).astype(np.float32) / 4096
        return survey([Piece(time + round(shift_s * 1e6), signal)], 50, 8)

    for shift_s in (0, 1.7, -23.4):
        lag = clock_lag(place("back", 0), place("thigh", shift_s))
        assert lag.status == "aligned" and lag.offset_s == pytest.approx(shift_s, abs=0.1)
