"""Windows out of blocks: the right samples at every start, whatever the blocks; starts that are spread evenly."""

import hashlib

import numpy as np
import pytest

from data_pipelines.contract import Recording
from data_pipelines.manifest import read_manifest
from data_pipelines.pipeline import _Shards, eval_batches, train_batches
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from data_pipelines.stretches import Places, blocks, run_lengths
from data_pipelines.windows import quantise

# Seconds of the stretches of two recordings; a window lasts 400 s and a block 300 s at 2 Hz.
STRETCHES = {"A": (1000, 399, 400, 400), "B": (300,), "C": (1250,)}
STRIDE, WINDOW = 300, 800  # samples


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folder, and the quantised stretches of at least a window by the order of the recordings."""
    folder, rng = tmp_path_factory.mktemp("stretches"), np.random.default_rng(0)
    (folder / "csv").mkdir()
    recordings, quantised = {}, []
    for name, lengths in STRETCHES.items():
        (folder / "csv" / f"{name}.csv").write_text("x")
        signal = rng.normal(0, 1, (2 * sum(lengths), 9)).astype(np.float32)
        ends = 2 * np.cumsum(lengths)
        gaps = np.searchsorted(ends, np.arange(len(signal)), side="right")
        time = 500_000 * np.arange(len(signal)) + 60_000_000 * gaps
        channels = tuple(f"{place}_{axis}" for place in ("back", "thigh", "wrist") for axis in "xyz")
        recordings[name] = Recording(name, name, signal, time, channels=channels, rate_hz=2)
        counts, _ = quantise(signal[:, 3:6], 1 / 4096)
        quantised.append([counts[:, e - 2 * n : e] for e, n in zip(ends, lengths, strict=True) if n >= 400])
    how = Cut(sensors=("thigh",), rate_hz=2, window_s=400, stride_s=150)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_pipelines.sources.read", lambda source: recordings[source.name])
        prepare(folder / "csv", "harth", folder / "out", PrepareSettings(how), workers=1, progress=False)
    return folder / "out", quantised


def expected_windows(quantised):
    """(recording, stretch, first sample, last possible start) of every window, by counting."""
    found = []
    for index, stretches in enumerate(quantised):
        for number, counts in enumerate(stretches):
            last = counts.shape[1] - WINDOW
            starts = list(range(0, last + 1, STRIDE))
            found += [(index, number, start, min(start + STRIDE - 1, last)) for start in starts]
    return found


def test_manifest_and_numbers(prepared):
    folder, quantised = prepared
    entries = read_manifest(folder)["recordings"]
    assert [entry["stretches"] for entry in entries] == [[[2000, 1], [800, 2]], [], [[2500, 1]]]
    assert [entry["windows"] for entry in entries] == [5 + 1 + 1, 0, 6]
    assert len(expected_windows(quantised)) == 13


def test_every_window_at_every_start(prepared):
    """Bit for bit, over the borders of blocks, at all the starts that draws can give."""
    folder, quantised = prepared
    shards = _Shards(folder, np.arange(13))
    for number, (index, stretch, first, last) in enumerate(expected_windows(quantised)):
        for draw in {0, 1, (last - first) // 2, last - first, last - first + 1}:
            batch = shards.read([number], [draw])
            start = first + draw % (last - first + 1)
            expected = quantised[index][stretch][:, start : start + WINDOW]
            np.testing.assert_array_equal(batch["acceleration"][0], expected)
            assert batch["scale"][0] == np.float32(1 / 4096)


def test_evaluation_keeps_to_the_unmoved_starts(prepared):
    folder, quantised = prepared
    with eval_batches(folder, batch=13, indices=np.arange(13)) as batches:
        (batch,) = batches
    for counts, (index, stretch, first, _) in zip(batch["acceleration"], expected_windows(quantised), strict=True):
        np.testing.assert_array_equal(counts, quantised[index][stretch][:, first : first + WINDOW])


def test_random_starts_are_read_and_differ_from_epoch_to_epoch(prepared):
    folder, quantised = prepared
    places = expected_windows(quantised)
    seen = []
    order = {"global_batch": 13, "seed": 2, "indices": np.arange(13)}
    with train_batches(folder, **order) as plain, train_batches(folder, **order, random_start=True) as moved:
        for _ in range(3):
            unmoved, batch = next(plain), next(moved)
            starts = {}
            for there, here in zip(unmoved["acceleration"], batch["acceleration"], strict=True):
                number = next(
                    k for k, (i, s, a, _) in enumerate(places)
                    if np.array_equal(quantised[i][s][:, a : a + WINDOW], there)
                )  # fmt: skip
                index, stretch, first, last = places[number]
                starts[number] = next(
                    start for start in range(first, last + 1)
                    if np.array_equal(quantised[index][stretch][:, start : start + WINDOW], here)
                )  # fmt: skip
            assert len(starts) == 13
            seen.append(tuple(starts[k] for k in range(13)))
    assert len(set(seen)) == 3


def test_starts_are_spread_evenly_over_what_they_may_be():
    """Window 0 of a stretch of 2 windows may start at 0 to 99, window 1 at 100 to 149."""
    places = Places(manifest_of([[350, 1]], window=200, stride=100, block=200))
    draws = np.random.default_rng(0).integers(0, 2**64, 6_000, np.uint64).tolist()
    for number, first, width in ((0, 0, 100), (1, 100, 51)):
        found = []
        for draw in draws:
            place = places.find(number, draw)
            found.append(place.records[0] * 200 + place.offset)
        counts = np.bincount(np.asarray(found) - first, minlength=width)
        assert len(counts) == width and counts.min() > 25 and (counts.max() < 100 if width == 100 else 180)
        assert abs(np.mean(found) - first - (width - 1) / 2) < 2


def manifest_of(stretches, window, stride, block):
    settings = {"window_samples": window, "stride_samples": stride, "block_samples": block}
    windows = sum(count * ((samples - window) // stride + 1) for samples, count in stretches)
    recording = {"windows": windows, "stretches": stretches}
    return {"settings": settings, "channels": ["x"], "recordings": [{"windows": 0, "stretches": []}, recording]}


def test_a_million_equal_stretches_weigh_nothing():
    places = Places(manifest_of([[15_000, 1_000_000], [15_001, 2]], 15_000, 15_000, 15_000))
    assert places.windows == 1_000_002 and places.records == [1_000_004]
    assert places.find(999_999) == (0, range(999_999, 1_000_000), 0)
    assert places.find(1_000_001) == (0, range(1_000_002, 1_000_003), 0)
    assert places.find(1_000_001, 3) == (0, range(1_000_002, 1_000_004), 1)
    assert sum(v.nbytes for v in vars(places).values() if isinstance(v, np.ndarray)) < 1_000


def test_blocks_and_runs_by_hand():
    assert blocks(slice(7, 30), 10) == [slice(7, 17), slice(17, 27), slice(27, 30)]
    assert blocks(slice(0, 20), 10) == [slice(0, 10), slice(10, 20)]
    assert run_lengths([5, 5, 3, 5]) == [[5, 2], [3, 1], [5, 1]] and run_lengths([]) == []


@pytest.mark.parametrize("sampling", ["uniform", "movement"])
def test_random_starts_and_movement_do_not_depend_on_hosts(prepared, sampling):
    folder, _ = prepared

    def digest(processes, start_step=0):
        hosts = [
            train_batches(
                folder, global_batch=8, seed=5, indices=np.arange(13), start_step=start_step, random_start=True,
                sampling=sampling, rows=rows,
            )
            for rows in np.arange(8).reshape(processes, -1)
        ]  # fmt: skip
        try:
            steps = [np.concatenate([next(host)["acceleration"] for host in hosts]) for _ in range(4 - start_step)]
        finally:
            for host in hosts:
                host.close()
        return [hashlib.sha256(step.tobytes()).hexdigest() for step in steps]

    whole = digest(1)
    assert whole == digest(2) == digest(4) and len(set(whole)) == 4
    assert whole[2:] == digest(4, start_step=2)
