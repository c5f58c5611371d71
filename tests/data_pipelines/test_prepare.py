"""Preparing: what lands on disk equals a direct computation, for every layout."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader

from data_pipelines import moments, windows
from data_pipelines.labelled import load_labelled
from data_pipelines.manifest import read_manifest, read_movement, read_normalization
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.readers import har_csv
from data_pipelines.shards import Cut
from data_pipelines.verify import verify
from selfpab_jax.signals.stft import CHANNELS, N_FRAMES

# --- windows -------------------------------------------------------------------------------------------


def test_segments_by_hand():
    stamps = np.array([0, 20_000, 40_000, 5_040_000, 5_060_000, 10_060_001])
    assert windows.segments(stamps, 5) == [slice(0, 5), slice(5, 6)]
    assert windows.segments(stamps, 4.9) == [slice(0, 3), slice(3, 5), slice(5, 6)]
    assert windows.count_joined(stamps, 5, 50) == 1 and windows.count_joined(stamps, 5, 25) == 1
    assert windows.count_joined(stamps, 5, 0.25) == 0  # a step of 5 s is no gap at 4 s a sample
    assert windows.segments(stamps[:0], 5) == []


def test_cut_by_hand():
    assert windows.cut(14_999, 15_000, 15_000).tolist() == []
    assert windows.cut(30_000, 15_000, 15_000).tolist() == [0, 15_000]
    assert windows.cut(30_000, 15_000, 7_500).tolist() == [0, 7_500, 15_000]
    assert windows.cut(90, 30, 40).tolist() == [0, 40]


def test_quantise_by_hand():
    signal = np.float32([[1, -1.00013, 0.00011], [8, -8, 8.001], [0.5, -9, 0]])
    counts, clipped = windows.quantise(signal, 1 / 4096)
    assert counts.tolist() == [[4096, 32767, 2048], [-4097, -32768, -32768], [0, 32767, 0]]
    assert clipped == 2


def test_block_bytes_round_trip():
    counts = np.random.default_rng(0).integers(-32768, 32768, (6, 15_000)).astype(np.int16)
    record = windows.encode_block(counts, 1 / 4096, 2**40)
    assert len(record) == 180_032
    assert record[:4] == b"SPAB" and record[32] == counts[0, 0] & 255 and record[32 + 90_000] == counts[0, 0] >> 8 & 255
    back, scale, start = windows.decode_block(record)
    np.testing.assert_array_equal(back, counts)
    assert back.dtype == np.int16 and (scale, start) == (1 / 4096, 2**40)
    for broken, words in (
        (b"", "0 bytes is no block"),
        (record[:-1], "claims version 1"),
        (b"X" * 99, "no block"),
    ):
        with pytest.raises(ValueError, match=words):
            windows.decode_block(broken)


def test_blocks_are_joined_where_they_follow_each_other():
    counts = np.arange(60, dtype=np.int16).reshape(2, 30)
    records = [windows.encode_block(counts[:, i : i + 10], 0.5, 7 + i) for i in (0, 10, 20)]
    joined, scale = windows.join_blocks(records, 5, 20)
    np.testing.assert_array_equal(joined, counts[:, 5:25])
    assert scale == 0.5
    for wrong, words in (
        (records[::2], "from sample 27 on at 0.5 g per count, expected 2 channels from sample 17 on"),
        ([records[0], windows.encode_block(counts[:1, 10:20], 0.5, 17)], "found 1 channels"),
        ([records[0], windows.encode_block(counts[:, 10:20], 0.25, 17)], "at 0.25 g per count"),
        (records[:2], "found 20 samples, expected at least 25"),
    ):
        with pytest.raises(ValueError, match=words):
            windows.join_blocks(wrong, 5, 20)


# --- what is on disk -----------------------------------------------------------------------------------


def test_manifest_counts(prepared):
    manifest = read_manifest(prepared)
    by_name = {entry["name"]: entry for entry in manifest["recordings"]}
    # 30,000 samples at stride 7,500: 0, 7500, 15000. S2: [16,000] gives 1, [40,000] gives 4, [2,000] none.
    assert [by_name[name]["windows"] for name in ("S1", "S2", "S3")] == [3, 5, 0]
    assert [by_name[name]["joined_gaps"] for name in ("S1", "S2", "S3")] == [1, 0, 0]
    assert [by_name[name]["splits"] for name in ("S1", "S2", "S3")] == [0, 2, 0]
    assert [by_name[name]["dropped_s"] for name in ("S1", "S2", "S3")] == [0, 20 + 50 + 40, 180]
    assert (manifest["windows"], manifest["subjects"]) == (8, 3)
    assert manifest["hours"] == pytest.approx(97_000 / 180_000, abs=1e-5)
    assert manifest["activities"] == {"1": "walking", "6": "standing", "7": "sitting"}
    assert manifest["settings"]["stride_s"] == 150 and manifest["settings"]["max_gap_s"] == 5
    assert manifest["sample_rate_hz"] == 50 and manifest["channels"] == list(CHANNELS)
    assert manifest["settings"]["window_samples"] == 15_000 and manifest["settings"]["sensors"] == ["back", "thigh"]
    assert str(prepared.parent) not in (prepared / "manifest.json").read_text()
    verify(prepared)


def test_shards_hold_the_recording(prepared, recordings):
    """Each sample of a stretch once, in blocks of 5 minutes, though windows overlap by half."""
    recording = har_csv.read(recordings / "S2.csv")
    reader = ArrayRecordReader(str(prepared / "shards" / "S2.array_record"))
    assert "group_size:1," in reader.writer_options_string() + ","
    found = [windows.decode_block(record) for record in reader.read_all()]
    reader.close()
    assert [start for _, _, start in found] == [0, 15_000, 16_000, 31_000, 46_000]
    assert [counts.shape[1] for counts, _, _ in found] == [15_000, 1_000, 15_000, 15_000, 10_000]
    for counts, scale, start in found:
        expected = recording.acceleration[start : start + counts.shape[1]].T
        np.testing.assert_allclose(counts * np.float32(scale), expected, atol=0.5001 / 4096)
    entries = read_manifest(prepared)["recordings"]
    assert [entry["stretches"] for entry in entries] == [[[30_000, 1]], [[16_000, 1], [40_000, 1]], []]


def test_movement_of_every_window(prepared, recordings):
    """Standard deviation of each whole second by float64 NumPy, mean over the 300 s and the axes."""
    expected = []
    for name, begin, end in (("S1", 0, 30_000), ("S2", 0, 16_000), ("S2", 16_000, 56_000)):
        signal = np.rint(har_csv.read(recordings / f"{name}.csv").acceleration[begin:end].astype(np.float64) * 4096)
        for start in range(0, end - begin - 14_999, 7_500):
            seconds = signal[start : start + 15_000].reshape(300, 50, 6) / 4096
            expected.append(seconds.std(axis=1).mean())
    found = read_movement(prepared)
    assert found.dtype == np.float32 and len(found) == 8
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_moments_equal_a_direct_computation(prepared, recordings):
    """Frames of windowed stretches, once each, by float64 NumPy from the quantised signal."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(50) / 50)
    frames = []
    for name, begin, end in (("S1", 0, 30_000), ("S2", 0, 15_000), ("S2", 16_000, 16_000 + 37_500)):
        signal = har_csv.read(recordings / f"{name}.csv").acceleration[begin:end].astype(np.float64)
        signal = np.rint(signal * 4096) / 4096
        for first in range(0, len(signal) - 49, 25):
            spectrum = np.abs(np.fft.rfft(signal[first : first + 50] * hann[:, None], axis=0))
            frames.append(spectrum.T.reshape(156))
    direct = np.array(frames)
    stored = read_normalization(prepared)
    assert stored["frames"] == len(direct) == 1199 + 599 + 1499
    for kind, values in (("linear", direct), ("log", np.log1p(direct))):
        np.testing.assert_allclose(stored[f"{kind}_mean"], values.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(stored[f"{kind}_std"], values.std(axis=0), rtol=1e-5)
        assert stored[f"{kind}_mean"].dtype == stored[f"{kind}_std"].dtype == np.float32


def test_moments_merge_like_one_array():
    counts = np.random.default_rng(5).integers(-4096, 4096, (6, 40_000)).astype(np.int16)
    whole = moments.of_stretch(counts, 1 / 4096)
    frames = (40_000 - 50) // 25 + 1
    halves = [
        moments.of_stretch(counts[:, : 799 * 25 + 50], 1 / 4096),
        moments.of_stretch(counts[:, 800 * 25 :], 1 / 4096),
    ]
    merged = moments.merge([moments.empty(), *halves])
    assert whole.frames == merged.frames == frames
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.squares, whole.squares, rtol=1e-12)
    again = moments.Moments.from_json(json.loads(json.dumps(whole.to_json())))
    np.testing.assert_array_equal(again.squares, whole.squares)
    assert moments.covered(np.array([0, 75, 150, 400]), 150) == [slice(0, 300), slice(400, 550)]
    assert N_FRAMES == 599


def test_labelled_holds_everything(prepared, recordings):
    labelled = load_labelled(prepared)
    assert [one.name for one in labelled] == ["S1", "S2", "S3"]
    for one in labelled:
        recording = har_csv.read(recordings / f"{one.name}.csv")
        np.testing.assert_array_equal(one.label, recording.label)
        np.testing.assert_array_equal(one.time, recording.time)
        np.testing.assert_allclose(one.counts.T * one.scale_g, recording.acceleration, atol=0.5001 / 4096)
        assert one.counts.dtype == np.int16 and one.activities == {1: "walking", 6: "standing", 7: "sitting"}
        assert (one.channels, one.rate_hz) == (recording.channels, 50)
    assert labelled[1].segments == (slice(0, 16_000), slice(16_000, 56_000), slice(56_000, 58_000))


def test_settings_are_recorded_whole():
    cut_fields = {field.name for field in dataclasses.fields(Cut)}
    recorded = PrepareSettings().recorded("harth")
    assert cut_fields <= set(recorded) and "seed" not in recorded


def test_real_recordings(real_data, tmp_path):
    """One published recording of each data set: expanded to csv, prepared, and equal to the source."""
    pyarrow_parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pandas")
    for layout, subject in (("harth", "S023"), ("har70plus", "505")):
        expand = [
            sys.executable,
            real_data / "expand_csv.py",
            tmp_path,
            "--dataset",
            layout,
            "--subjects",
            subject,
        ]
        subprocess.run(list(map(str, expand)), check=True, stdout=subprocess.DEVNULL)
        out = tmp_path / f"{layout}_prepared"
        manifest = prepare(tmp_path / layout, "harth", out, workers=1, progress=False)
        (one,) = load_labelled(out)
        table = pyarrow_parquet.read_table(real_data / layout / f"{subject}.parquet")
        kept = table["label"].to_numpy() >= 0
        np.testing.assert_array_equal(one.time, table["t_us"].to_numpy()[kept])
        np.testing.assert_array_equal(one.label, table["label"].to_numpy()[kept])
        assert one.subject == subject and manifest["windows"] > 3 and manifest["recordings"][0]["clipped"] == 0
        assert set(one.activities) == set(np.unique(one.label).tolist())
    for place, rows in (("back", slice(0, 3)), ("thigh", slice(3, 6))):
        out = tmp_path / f"{place}_30"
        cut = Cut(sensors=(place,), rate_hz=30, window_s=60, stride_s=60)
        prepare(tmp_path / "har70plus", "harth", out, PrepareSettings(cut), workers=1, progress=False)
        (slow,) = load_labelled(out)
        assert (slow.channels, slow.rate_hz) == (tuple(f"{place}_{axis}" for axis in "xyz"), 30)
        assert len(slow.segments) == len(one.segments)
        for a, b in zip(one.segments, slow.segments, strict=True):  # both begin at the same sample
            minutes = min((a.stop - a.start) // 3000, (b.stop - b.start) // 1800)
            fast = one.counts[rows, a][:, : minutes * 3000].reshape(3, minutes, 3000) / 4096
            found = slow.counts[:, b][:, : minutes * 1800].reshape(3, minutes, 1800) / 4096
            np.testing.assert_allclose(found.mean(axis=2), fast.mean(axis=2), atol=2e-3)  # g
            assert (found.std(axis=2) <= fast.std(axis=2) * 1.01).all()  # nothing is added
            at = np.searchsorted(one.time[a], slow.time[b][: minutes * 1800])
            same = one.label[a][np.minimum(at, a.stop - a.start - 1)] == slow.label[b][: minutes * 1800]
            assert same.mean() > 0.995 if minutes else True  # but for the samples next to a change
