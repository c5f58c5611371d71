"""The common time grid: against SciPy and analytic sines at the devices' true times, and flags and gaps by hand."""

import tracemalloc

import numpy as np
import pytest
import scipy.signal

from data_pipelines.ingest.regrid import CLIPPED, FILLED, Chunk, regrid

BEGIN = 1_600_000_000_000_000  # microseconds, on the grid of every whole rate


def clock(samples, rate_hz, begin=BEGIN):
    return begin + np.rint(np.arange(samples) * 1e6 / rate_hz).astype(np.int64)


def pieces(time, signal, length=10**9, clipped=()):
    """Pieces of `length` samples; `signal` [N] or [N, C], `clipped` holds sample numbers."""
    signal = np.asarray(signal, np.float32).reshape(len(time), -1)
    clips = np.zeros(len(time), bool)
    clips[list(clipped)] = True
    for at in range(0, len(time), length):
        part = slice(at, at + length)
        yield time[part], signal[part], clips[part]


def joined(chunks):
    """Grid numbers, signal and flags of all chunks."""
    chunks = list(chunks)
    numbers = np.concatenate([[], *(c.first + np.arange(len(c.flags)) for c in chunks)]).astype(np.int64)
    return numbers, np.concatenate([c.signal for c in chunks]), np.concatenate([c.flags for c in chunks])


def tone(hz, time_us):
    return np.sin(2 * np.pi * hz * (np.asarray(time_us) - BEGIN) / 1e6)


@pytest.mark.parametrize(("old", "new"), [(100, 50), (100, 30), (50, 30), (25, 50), (64, 30), (800, 50)])
def test_band_limited_noise_as_by_resample_poly(old, new):
    lower, samples = min(old, new), 40 * old
    noise = np.random.default_rng(0).standard_normal(samples)
    noise = scipy.signal.sosfiltfilt(scipy.signal.butter(8, 0.3 * lower, fs=old, output="sos"), noise)
    up, down = new // np.gcd(old, new), old // np.gcd(old, new)
    longest = max(up, down)
    taps = scipy.signal.firwin(2 * 60 * longest + 1, 1 / longest, window=("kaiser", 9.0))
    expected = scipy.signal.resample_poly(noise, up, down, window=taps)
    numbers, signal, flags = joined(regrid(pieces(clock(samples, old), noise), old, new, 1.0))
    assert signal.dtype == np.float32 and signal.shape == (len(numbers), 1) and flags.dtype == np.uint8
    assert numbers[0] == BEGIN * new // 10**6 and (np.diff(numbers) == 1).all() and not flags.any()
    inner = slice(3 * new, 36 * new)
    np.testing.assert_allclose(signal[inner, 0], expected[inner], atol=1e-3 * np.abs(noise).max())


def fast_and_slow(samples):
    """Times of a device labelled 100 Hz that drifts from 98.5 to 101.5 Hz."""
    return BEGIN + np.rint(np.cumsum(1e6 / np.linspace(98.5, 101.5, samples))).astype(np.int64)


@pytest.mark.parametrize("new", [50, 30])
@pytest.mark.parametrize("time", [clock(50_000, 98.7), fast_and_slow(50_000)], ids=["98.7 Hz", "drift"])
def test_a_sine_is_where_the_true_times_put_it(time, new):
    for hz in (0.1, 1, 5, 0.35 * new):
        numbers, signal, _ = joined(regrid(pieces(time, tone(hz, time)), 100, new, 1.0))
        inner = slice(new, -new)
        np.testing.assert_allclose(signal[inner, 0], tone(hz, numbers * 1e6 / new)[inner], atol=1e-3)


@pytest.mark.parametrize(("old", "true"), [(50, 49.1), (25, 25.3), (6.25, 6.25), (12.5, 12.7)])
def test_a_slower_or_equal_rate_is_interpolated(old, true):
    time = clock(1500, true)
    numbers, signal, _ = joined(regrid(pieces(time, tone(0.35 * old, time)), old, 50, 1.0))
    inner = slice(round(750 / old), -round(750 / old))
    assert len(numbers[inner]) > 1400
    np.testing.assert_allclose(signal[inner, 0], tone(0.35 * old, numbers * 2e4)[inner], atol=1e-3)


@pytest.mark.parametrize(("old", "true", "new"), [(100, 100, 50), (100, 98.7, 50), (100, 102, 30), (3200, 3200, 30)])
def test_tones_above_the_band_do_not_come_back(old, true, new):
    time = clock(20 * old, true)
    for hz in (0.6 * new, 0.75 * new, 0.97 * new):
        _, signal, _ = joined(regrid(pieces(time, tone(hz, time)), old, new, 1.0))
        assert np.abs(signal[new:-new]).max() < 10 ** (-50 / 20)


@pytest.mark.parametrize(
    ("old", "new"), [(100, 50), (100, 30), (50, 50), (25, 50), (6.25, 30), (3200, 30), (87.5, 200)]
)
@pytest.mark.parametrize("samples", [1, 2, 7, 3000])
def test_gravity_stays_what_it_is_up_to_the_ends(old, new, samples):
    time = clock(samples, 1.013 * old)
    numbers, signal, _ = joined(regrid(pieces(time, np.full((samples, 3), -0.98)), old, new, 1.0))
    assert numbers[0] == BEGIN * new // 10**6 and numbers[-1] == time[-1] * new // 10**6
    np.testing.assert_allclose(signal, -0.98, atol=1e-6)


def test_what_is_on_the_grid_stays_what_it_is():
    noise = np.random.default_rng(1).standard_normal((70_000, 3)).astype(np.float32)
    numbers, signal, _ = joined(regrid(pieces(clock(len(noise), 50), noise), 50, 50, 1.0))
    np.testing.assert_array_equal(numbers, BEGIN // 20_000 + np.arange(len(noise)))
    np.testing.assert_allclose(signal, noise, rtol=0, atol=1e-6)


def test_two_clocks_come_onto_one_grid():
    thigh, back = clock(6000, 98.7), clock(3100, 50.9, BEGIN + 4_321_987)
    first, a, _ = joined(regrid(pieces(thigh, tone(3, thigh)), 100, 50, 1.0))
    second, b, _ = joined(regrid(pieces(back, tone(3, back)), 50, 50, 1.0))
    # 4.321987 s lie between grid times 216 and 217 after the beginning.
    assert first[0] == BEGIN // 20_000 and second[0] == BEGIN // 20_000 + 217
    both = np.intersect1d(first, second)[50:-50]
    assert len(both) > 2700
    np.testing.assert_allclose(a[both - first[0]], b[both - second[0]], atol=1e-3)


# 10 Hz in and out, so that grid time k lies 100 ms after k - 1. Sample numbers 0 1 2 . . . 6 7 8, off by 30 ms.
GAPPED = BEGIN + 30_000 + 100_000 * np.array([0, 1, 2, 6, 7, 8])
FIRST = BEGIN // 100_000


def test_a_short_gap_is_filled_and_flagged():
    numbers, signal, flags = joined(regrid(pieces(GAPPED, [1, 1, 1, 1, 1, 1]), 10, 10, 0.4))
    # The grid times 1 to 8 lie between the samples at 30 ms and 830 ms; 300 to 600 between those at 230 and 630.
    np.testing.assert_array_equal(numbers - FIRST, np.arange(1, 9))
    np.testing.assert_array_equal(flags, [0, 0, FILLED, FILLED, FILLED, FILLED, 0, 0])
    np.testing.assert_allclose(signal, 1, atol=1e-6)


def test_a_filled_gap_is_a_straight_line_and_measured_times_are_not_flagged():
    time = BEGIN + 100_000 * np.array([0, 1, 2, 6, 7, 8])  # on the grid: filled samples come out as they are
    _, signal, flags = joined(regrid(pieces(time, [5, 7, 0, 4, 9, 2]), 10, 10, 0.4))
    np.testing.assert_allclose(signal[:, 0], [5, 7, 0, 1, 2, 3, 4, 9, 2], atol=1e-6)
    np.testing.assert_array_equal(flags, [0, 0, 0, FILLED, FILLED, FILLED, 0, 0, 0])


@pytest.mark.parametrize("max_gap_s", [0.399, 0.1, 0])
def test_a_long_gap_parts_stretches(max_gap_s):
    before, after = regrid(pieces(GAPPED, [1, 1, 1, 3, 3, 3]), 10, 10, max_gap_s)
    assert (before.first - FIRST, after.first - FIRST) == (1, 7)
    np.testing.assert_allclose(before.signal[:, 0], [1, 1], atol=1e-6)  # nothing of what comes after the gap
    np.testing.assert_allclose(after.signal[:, 0], [3, 3], atol=1e-6)
    assert not before.flags.any() and not after.flags.any()


def test_a_step_below_the_gap_limit_is_never_parted():
    time = BEGIN + np.array([0, 100, 249, 350]) * 1000  # 149 ms at 10 Hz
    assert len(list(regrid(pieces(time, [1, 2, 3, 4]), 10, 10, 0))) == 1
    time = BEGIN + np.array([0, 100, 251, 350]) * 1000
    assert [chunk.first - FIRST for chunk in regrid(pieces(time, [1, 2, 3, 4]), 10, 10, 0)] == [0, 3]


def test_a_clipped_sample_marks_one_output_period_around_it():
    # Samples every 50 ms; those at 250 ms, between two grid times, and at 800 ms, on one, are clipped.
    time = clock(25, 20)
    _, _, flags = joined(regrid(pieces(time, np.ones(25), clipped=[5, 16]), 20, 10, 1.0))
    np.testing.assert_array_equal(np.flatnonzero(flags == CLIPPED), [2, 3, 7, 8, 9])
    assert set(flags) == {0, CLIPPED}


def test_both_flags_and_none_across_a_long_gap():
    _, _, flags = joined(regrid(pieces(GAPPED, np.ones(6), clipped=[2]), 10, 10, 0.4))
    # The clipped sample is at 230 ms: 200 and 300 ms are within 100 ms of it.
    np.testing.assert_array_equal(flags, [0, CLIPPED, CLIPPED | FILLED, FILLED, FILLED, FILLED, 0, 0])
    time = BEGIN + np.array([0, 100, 200, 360, 460, 560]) * 1000  # 400 ms is the first grid time after the gap
    _, after = regrid(pieces(time, np.ones(6), clipped=[3]), 10, 10, 0)
    np.testing.assert_array_equal(after.flags, [CLIPPED, 0])
    before, after = regrid(pieces(time - 60_000, np.ones(6), clipped=[3]), 10, 10, 0)  # clipped at 300 ms
    assert after.first - FIRST == 3 and not before.flags.any()


def rough(samples=300_000):
    """A drifting 100 Hz clock that jitters by a millisecond, with short gaps, long ones and clipped samples."""
    rng = np.random.default_rng(3)
    step = 1e6 / np.linspace(98, 102, samples) + rng.uniform(-1000, 1000, samples)
    step[rng.integers(0, samples, 100)] += 1e4 * rng.integers(1, 90, 100)
    step[[100_000, 100_005, 100_006, 131_000]] += 3600e6  # stretches of several blocks, of 1, 5 and 30,994 samples
    time = BEGIN + np.cumsum(np.rint(step)).astype(np.int64)
    return time, rng.standard_normal((samples, 3)).astype(np.float32), rng.integers(0, samples, 300)


@pytest.mark.parametrize("new", [50, 30])
def test_the_same_bits_however_the_signal_is_cut(new):
    time, signal, clipped = rough()
    numbers, expected, flags = joined(regrid(pieces(time, signal, clipped=clipped), 100, new, 1.0))
    assert (flags == FILLED).any() and (flags & CLIPPED).any() and (np.diff(numbers) > 1).sum() >= 3
    for length in (100_000, 32_768, 1000, 997):
        cut = joined(regrid(pieces(time, signal, length, clipped), 100, new, 1.0))
        np.testing.assert_array_equal(cut[0], numbers)
        np.testing.assert_array_equal(cut[1].view(np.int32), expected.view(np.int32))
        np.testing.assert_array_equal(cut[2], flags)


def test_numbers_increase_on_a_rough_clock_and_skip_only_long_gaps():
    time, signal, _ = rough()
    numbers, _, _ = joined(regrid(pieces(time, signal, 5000), 100, 50, 1.0))
    at = numbers * 20_000
    edges = np.flatnonzero(np.diff(time) > 1_000_000)
    for begin, end in zip([0, *(edges + 1)], [*edges, len(time) - 1], strict=True):
        inside = at[(at >= time[begin]) & (at <= time[end])]
        assert len(inside) == time[end] // 20_000 - -(-time[begin] // 20_000) + 1
    assert (np.diff(numbers) > 0).all() and at[0] >= time[0] and at[-1] <= time[-1]


def test_nothing_in_nothing_out():
    none = np.empty(0, np.int64), np.empty((0, 3), np.float32), np.empty(0, bool)
    assert list(regrid([], 100, 50, 1.0)) == list(regrid([none, none], 100, 50, 1.0)) == []
    single = BEGIN + np.array([5000]), np.ones((1, 3), np.float32), np.zeros(1, bool)
    assert list(regrid([none, single, none], 100, 50, 1.0)) == []  # no grid time within it
    (chunk,) = regrid([(single[0] - 5000, *single[1:])], 100, 50, 1.0)
    assert isinstance(chunk, Chunk) and chunk.first == BEGIN // 20_000 and chunk.signal.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("max_gap_s", [1.0, 1e6])
def test_memory_does_not_grow_with_the_signal_or_a_gap(max_gap_s):
    one = np.ones((20_000, 3), np.float32), np.zeros(20_000, bool)

    def peak(count, gap_us):
        tracemalloc.start()
        source = ((clock(20_000, 100, BEGIN + n * 200_000_000 + (n > 2) * gap_us), *one) for n in range(count))
        samples = sum(len(chunk.flags) for chunk in regrid(source, 100, 50, max_gap_s))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert samples >= (count - 1) * 10_000
        return most

    few = peak(5, 0)
    assert few < 30e6
    assert peak(60, 0) < 1.2 * few
    # A gap of ten years that parts, of half a day that is filled block by block.
    assert peak(5, 10 * 365 * 86_400 * 10**6 if max_gap_s < 2 else 43_200 * 10**6) < 1.5 * few


def test_a_clock_that_hardly_moves_loses_no_grid_time():
    time = BEGIN + np.concatenate([np.arange(0, 40_000), 40_000 + 10_000 * np.arange(1, 2000)])  # steps of 1 us first
    numbers, signal, _ = joined(regrid(pieces(time, np.ones(len(time))), 100, 50, 1.0))
    np.testing.assert_array_equal(numbers, np.arange(BEGIN // 20_000, time[-1] // 20_000 + 1))
    np.testing.assert_allclose(signal, 1, atol=1e-6)


@pytest.mark.parametrize("rates", [(0, 50), (float("nan"), 50), (100, 0), (100, 12.5)])
def test_rates_that_are_none_are_refused(rates):
    with pytest.raises(ValueError, match="expected positive rates"):
        next(regrid([], *rates, 1.0))


@pytest.mark.parametrize("length", [10, 2])
def test_times_that_do_not_increase_are_refused(length):
    time = BEGIN + np.array([0, 10_000, 5000, 30_000])
    with pytest.raises(ValueError, match=f"the sample at {BEGIN + 5000} us follows one at {BEGIN + 10_000} us"):
        list(regrid(pieces(time, np.ones(4), length), 100, 50, 1.0))
