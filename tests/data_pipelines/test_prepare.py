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
from data_pipelines.manifest import read_manifest, read_normalization, verify
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.readers import har_csv
from data_pipelines.shards import Cut
from launch import prepare as launch_prepare
from selfpab_jax.signals.stft import N_FRAMES

# --- windows -------------------------------------------------------------------------------------------


def test_segments_by_hand():
    stamps = np.array([0, 20_000, 40_000, 5_040_000, 5_060_000, 10_060_001])
    assert windows.segments(stamps, 5) == [slice(0, 5), slice(5, 6)]
    assert windows.segments(stamps, 4.9) == [slice(0, 3), slice(3, 5), slice(5, 6)]
    assert windows.count_joined(stamps, 5) == 1
    assert windows.segments(stamps[:0], 5) == []


def test_cut_by_hand():
    assert windows.cut(14_999, 15_000).tolist() == []
    assert windows.cut(30_000, 15_000).tolist() == [0, 15_000]
    assert windows.cut(30_000, 7_500).tolist() == [0, 7_500, 15_000]


def test_quantise_by_hand():
    signal = np.float32([[1, -1.00013, 0.00011], [8, -8, 8.001], [0.5, -9, 0]])
    counts, clipped = windows.quantise(signal, 1 / 4096)
    assert counts.tolist() == [[4096, 32767, 2048], [-4097, -32768, -32768], [0, 32767, 0]]
    assert clipped == 2


def test_window_bytes_round_trip():
    counts = np.random.default_rng(0).integers(-32768, 32768, (6, 15_000)).astype(np.int16)
    record = windows.encode_window(counts, 1 / 4096, 2**40)
    assert len(record) == windows.RECORD_BYTES == 180_032
    assert record[:4] == b"SPAB" and record[32] == counts[0, 0] & 255 and record[32 + 90_000] == counts[0, 0] >> 8 & 255
    back, scale, start = windows.decode_window(record)
    np.testing.assert_array_equal(back, counts)
    assert back.dtype == np.int16 and (scale, start) == (1 / 4096, 2**40)
    for broken, words in (
        (b"", "0 bytes is no window"),
        (record[:-1], "claims version 1"),
        (b"X" * 99, "no window"),
    ):
        with pytest.raises(ValueError, match=words):
            windows.decode_window(broken)


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
    assert str(prepared.parent) not in (prepared / "manifest.json").read_text()
    verify(prepared)


def test_shards_hold_the_recording(prepared, recordings):
    recording = har_csv.read(recordings / "S2.csv")
    reader = ArrayRecordReader(str(prepared / "shards" / "S2.array_record"))
    assert "group_size:1," in reader.writer_options_string() + ","
    found = [windows.decode_window(record) for record in reader.read_all()]
    reader.close()
    assert [start for _, _, start in found] == [0, *(16_000 + 7_500 * k for k in range(4))]
    for counts, scale, start in found:
        expected = recording.acceleration[start : start + 15_000].T
        np.testing.assert_allclose(counts * np.float32(scale), expected, atol=0.5001 / 4096)


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
    assert moments.covered(np.array([0, 7_500, 15_000, 40_000])) == [slice(0, 30_000), slice(40_000, 55_000)]
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
    assert labelled[1].segments == (slice(0, 16_000), slice(16_000, 56_000), slice(56_000, 58_000))


# --- the other layouts ---------------------------------------------------------------------------------


def test_synthetic_and_summary(tmp_path, capsys):
    flags = f"--layout synthetic --out {tmp_path / 'out'} --subjects 2 --hours 0.2 --seed 3 --workers 1"
    assert launch_prepare.main(flags.split()) == 0
    text = capsys.readouterr().out
    assert "subjects            2" in text and text.strip().endswith("/out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest["settings"]["seed"] == 3 and len(load_labelled(tmp_path / "out")) == 2
    settings = PrepareSettings(seed=4, subjects=2, hours=0.2)
    with pytest.raises(FileExistsError, match=r"seed 3 \(now 4\)"):
        prepare(None, "synthetic", tmp_path / "out", settings, workers=1, progress=False)


def test_hunt4(tmp_path):
    rng = np.random.default_rng(0)
    for subject in ("11.7z", "12"):
        (tmp_path / "raw" / subject).mkdir(parents=True)
        for hour in ("08", "09"):
            np.savez(tmp_path / "raw" / subject / f"2018-03-14_{hour}.npz", rng.normal(0, 0.6, (15_010, 7)))
    manifest = prepare(tmp_path / "raw", "hunt4", tmp_path / "out", workers=1, progress=False)
    assert [(e["name"], e["windows"], e["splits"]) for e in manifest["recordings"]] == [
        ("11", 2, 1),
        ("12", 2, 1),
    ]
    # No frame straddles the hour between two snippets.
    assert int(read_normalization(tmp_path / "out")["frames"]) == 2 * 2 * N_FRAMES
    assert manifest["recordings"][0]["source"]["files"] == 2 and manifest["activities"] == {}
    verify(tmp_path / "out")
    with pytest.raises(ValueError, match="layout hunt4 has no labels"):
        load_labelled(tmp_path / "out")


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
