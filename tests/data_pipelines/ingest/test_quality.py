"""Which windows are kept: hand-counted days of a few samples, and every second accounted for."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.ingest.quality import MEASURED, REASONS, WORN, Rules, judge, mark_worn, run_share
from data_pipelines.ingest.regrid import CLIPPED, FILLED
from data_pipelines.stretches import runs_of

OK = MEASURED | WORN
RULES = Rules(rate_hz=1, window=10)  # 1 Hz: a sample is a second


def one_sensor(*parts: tuple[int, int]) -> np.ndarray:
    """Flags [1, S] of (value, samples)."""
    return np.concatenate([np.full(samples, value, np.uint8) for value, samples in parts])[None]


def accounted(judged, flags: np.ndarray, rules: Rules = RULES) -> bool:
    kept = sum(s.stop - s.start for s in judged.stretches) / rules.rate_hz
    return kept + sum(judged.dropped_s.values()) == flags.shape[1] / rules.rate_hz


def test_a_good_recording_is_whole_windows_and_a_short_rest():
    flags = one_sensor((OK, 37))
    judged = judge(flags, 0, RULES)
    assert judged.stretches == [slice(0, 30)]
    assert judged.dropped_s == dict.fromkeys(REASONS, 0) | {"short": 7}
    assert (judged.samples, judged.wear_s, judged.longest_s, judged.splits) == (37, 37, 37, 0)


def test_windows_begin_anew_after_a_gap():
    flags = one_sensor((OK, 14), (0, 5), (OK, 21))
    judged = judge(flags, 0, RULES)
    assert judged.stretches == [slice(0, 10), slice(19, 39)]
    assert judged.dropped_s == dict.fromkeys(REASONS, 0) | {"gap": 5, "short": 5}
    assert judged.splits == 1 and accounted(judged, flags)


def test_what_one_sensor_lacks_has_no_partner_and_what_both_lack_is_a_gap():
    flags = np.concatenate([one_sensor((OK, 20), (0, 10)), one_sensor((0, 4), (OK, 20), (0, 6))])
    judged = judge(flags, 0, RULES)
    assert judged.stretches == [slice(4, 14)]
    assert judged.dropped_s == dict.fromkeys(REASONS, 0) | {"no partner": 8, "gap": 6, "short": 6}
    assert accounted(judged, flags)


@pytest.mark.parametrize(
    ("value", "samples", "kept", "reason"),
    [
        (OK | CLIPPED, 1, True, ""),  # a tenth of a window, which the rules below allow
        (OK | CLIPPED, 2, False, "clipping"),
        (OK | FILLED, 2, True, ""),
        (OK | FILLED, 3, False, "joined gaps"),
        (MEASURED, 3, True, ""),
        (MEASURED, 4, False, "non-wear"),
        (MEASURED | CLIPPED | FILLED, 4, False, "non-wear"),  # the first reason that fits
        (OK | CLIPPED | FILLED, 3, False, "clipping"),
    ],
)
def test_shares_of_a_window(value, samples, kept, reason):
    rules = dataclasses.replace(RULES, max_clipped=0.1, max_joined=0.2, max_nonwear=0.3)
    flags = one_sensor((OK, 10 + 4), (value, samples), (OK, 16 - samples))
    judged = judge(flags, 0, rules)
    assert judged.stretches == ([slice(0, 30)] if kept else [slice(0, 10), slice(20, 30)])
    assert judged.dropped_s == dict.fromkeys(REASONS, 0) | ({} if kept else {reason: 10})


def test_one_bad_sensor_is_enough():
    flags = np.concatenate([one_sensor((OK, 20)), one_sensor((OK, 10), (MEASURED, 10))])
    judged = judge(flags, 0, RULES)
    assert judged.stretches == [slice(0, 10)]
    assert judged.wear_s == 10 and judged.dropped_s["non-wear"] == 10


@pytest.mark.parametrize(
    ("daytime", "kept_hours"),
    [((0, 24), range(48)), ((7, 22), [*range(7, 22), *range(31, 46)]), ((22, 6), [*range(6), *range(22, 30), 46, 47])],
)
def test_hours_of_the_day(daytime, kept_hours):
    rules = dataclasses.replace(RULES, window=600, daytime=daytime)
    flags = one_sensor((OK, 48 * 3600))
    judged = judge(flags, 3 * 86_400, rules)
    hours = [hour for s in judged.stretches for hour in range(s.start // 3600, s.stop // 3600)]
    assert hours == list(kept_hours)
    assert judged.dropped_s["other hours"] == (48 - len(hours)) * 3600 and accounted(judged, flags, rules)


def test_the_day_counts_from_midnight_and_not_from_the_first_sample():
    rules = dataclasses.replace(RULES, window=600, daytime=(7, 22))
    flags = one_sensor((OK, 2 * 3600))  # from half past five to half past seven
    judged = judge(flags, 5 * 3600 + 1800, rules)
    assert judged.stretches == [slice(5400, 7200)]


def test_nonwear_of_constructed_days():
    # A minute of movement, 95 minutes on a table, a minute of movement, 80 minutes of stillness, at 1 g and 5 Hz.
    rng, rate = np.random.default_rng(0), 5
    moved, still = (lambda n: rng.normal(0, 0.1, (3, n))), (lambda n: rng.normal(0, 0.004, (3, n)))
    signal = np.concatenate([moved(60 * rate), still(95 * 60 * rate), moved(60 * rate), still(80 * 60 * rate)], axis=1)
    signal[2] += 1
    counts = np.rint(signal * 4096).astype(np.int16)
    for minutes, expected in ((90, [(60, 5760)]), (60, [(60, 5760), (5820, 10620)]), (0, [])):
        flags = np.full(counts.shape[1], MEASURED, np.uint8)
        mark_worn(counts, flags, 1 / 4096, Rules(rate_hz=rate, window=50, nonwear_min=minutes))
        assert [(s.start / rate, s.stop / rate) for s in runs_of(flags & WORN == 0)] == expected


@pytest.mark.parametrize(("minutes", "worn"), [(5, False), (15, True)])
def test_stillness_goes_on_over_brief_gaps_and_ends_at_long_ones(minutes, worn):
    """100 minutes, a gap, 60 minutes at 5 Hz; two hours of stillness are non-wear."""
    counts = np.zeros((3, 5 * 60 * (160 + minutes)), np.int16)
    flags = np.full(counts.shape[1], MEASURED, np.uint8)
    gap = slice(5 * 60 * 100 + 7, 5 * 60 * (100 + minutes) - 7)  # not on the borders of 10 s
    flags[gap] = 0
    counts[:, gap] = 30_000  # nobody looks at what was not measured
    mark_worn(counts, flags, 1 / 4096, Rules(rate_hz=5, window=50, nonwear_min=120))
    assert not (flags[gap] & WORN).any()
    measured = flags & MEASURED != 0
    assert ((flags[measured] & WORN != 0) == worn).all()


def test_a_rest_at_the_end_that_fills_no_ten_seconds():
    counts = np.zeros((3, 5 * 65), np.int16)
    counts[0, :100] = np.random.default_rng(0).integers(-900, 900, 100)
    flags = np.full(325, MEASURED, np.uint8)
    mark_worn(counts, flags, 1 / 4096, Rules(rate_hz=5, window=50, nonwear_min=0.5))
    assert (flags & WORN != 0).nonzero()[0].tolist() == list(range(100))


def test_runs_and_shares():
    mask = np.array([0, 1, 1, 0, 1, 0], bool)
    assert runs_of(mask) == [slice(1, 3), slice(4, 5)]
    assert run_share(mask, 3).tolist() == [2 / 3, 1 / 3]
    assert runs_of(np.zeros(0, bool)) == []
