"""Preparing other layouts, sensors, rates and window lengths than those of HARTH."""

import numpy as np
import pytest

from data_pipelines import synthetic
from data_pipelines.contract import Recording
from data_pipelines.labelled import load_labelled
from data_pipelines.manifest import read_manifest, read_movement, read_normalization
from data_pipelines.pipeline import eval_batches, train_batches
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from data_pipelines.verify import verify
from launch import prepare as launch_prepare
from selfpab_jax.signals.stft import N_FRAMES


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


def test_wrist_at_30_hz(tmp_path):
    """The synthetic cohort through another sensor, rate and window: prepared, read, and its labels with it."""
    how = Cut(sensors=("wrist",), rate_hz=30, window_s=60, stride_s=30)
    settings = PrepareSettings(how, subjects=2, hours=0.2)
    manifest = prepare(None, "synthetic", tmp_path / "out", settings, workers=1, progress=False)
    assert manifest["channels"] == ["wrist_x", "wrist_y", "wrist_z"] and manifest["sample_rate_hz"] == 30
    assert manifest["hours"] == pytest.approx(2 * 0.2, abs=1e-3)
    verify(tmp_path / "out")
    assert {name: value.item() for name, value in read_normalization(tmp_path / "out").items()} == {"frames": 0}
    everything = np.arange(manifest["windows"])
    with train_batches(
        tmp_path / "out", global_batch=4, seed=0, indices=everything, random_start=True, sampling="movement"
    ) as batches:
        batch = next(batches)
    assert batch["acceleration"].shape == (4, 3, 1_800) and batch["acceleration"].dtype == np.int16
    gravity = np.linalg.norm((batch["acceleration"] * batch["scale"][:, None, None]).mean(axis=2), axis=1)
    assert (gravity > 0.3).all() and (gravity < 1.3).all()  # the mean magnitude of a worn sensor
    one = load_labelled(tmp_path / "out")[0]
    raw = synthetic.recording(0, hours=0.2)
    assert (one.channels, one.rate_hz) == (("wrist_x", "wrist_y", "wrist_z"), 30)
    assert one.counts.shape == (3, len(one.label)) and len(one.label) == pytest.approx(0.6 * len(raw.time), abs=9)
    wrist = raw.acceleration[:, [raw.channels.index(name) for name in one.channels]]
    np.testing.assert_allclose(one.counts.mean(axis=1) * one.scale_g, wrist.mean(axis=0), atol=0.002)


def test_non_wear_is_in_no_window(tmp_path, monkeypatch):
    """10 minutes of movement, 30 of stillness, 10 of movement: windows and statistics skip the stillness."""
    rng = np.random.default_rng(0)
    signal = rng.normal(0, 0.2, (50 * 60 * 50, 6)).astype(np.float32)
    signal[30_000:120_000] = np.float32([0, 0, 1, 0, 0, 1])
    time = np.arange(len(signal)) * 20_000
    label = np.ones(len(signal), np.int16)
    recording = Recording("A", "A", signal, time, label, {1: "walking"})
    monkeypatch.setattr("data_pipelines.sources.read", lambda source: recording)
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "A.csv").write_text("x")

    def entry_of(out, **settings):
        settings = PrepareSettings(Cut(stride_s=60, **settings))
        return prepare(tmp_path / "csv", "harth", out, settings, workers=1, progress=False)["recordings"][0]

    still = entry_of(tmp_path / "worn", nonwear_min=20)
    assert still["stretches"] == [[30_000, 2]] and still["windows"] == 2 * 6
    assert still["nonwear_s"] == still["dropped_s"] == 1_800
    assert read_movement(tmp_path / "worn").min() > 0.19
    assert read_normalization(tmp_path / "worn")["frames"] == 2 * 1_199
    assert len(load_labelled(tmp_path / "worn")[0].label) == len(signal)
    with eval_batches(tmp_path / "worn", batch=1, indices=np.array([6])) as batches:
        (batch,) = batches
    np.testing.assert_array_equal(batch["acceleration"][0], np.rint(signal[120_000:135_000].T * np.float32(4096)))
    for out, minutes in (("all", 0), ("longer", 40)):
        whole = entry_of(tmp_path / out, nonwear_min=minutes)
        assert (whole["stretches"], whole["windows"], whole["nonwear_s"]) == ([[150_000, 1]], 46, 0)
    recording.acceleration[:] = 1
    with pytest.raises(ValueError, match="lasts 0 s, expected 300 s: .* keep non-wear with --nonwear 0"):
        entry_of(tmp_path / "still", nonwear_min=20)


def test_ukbiobank(tmp_path, capsys):
    """A csv of 20 s at 100 Hz: the wrist alone, cut into windows of 4 s, by the command line."""
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 0.3, (2_000, 3)).round(4) + [0, 0, 1]
    stamps = np.datetime64("2014-05-07T13:29:50.430", "ms") + 10 * np.arange(2_000)
    rows = [f"{str(t).replace('T', ' ')},{x:.4f},{y:.4f},{z:.4f}" for t, (x, y, z) in zip(stamps, signal, strict=True)]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "1000001_90001_0_0.csv").write_text("\n".join(["time,x,y,z", *rows]) + "\n")
    flags = f"--layout ukbiobank --input {tmp_path / 'raw'} --out {tmp_path / 'out'} --rate 100 --window 4 --workers 1"
    assert launch_prepare.main(flags.split()) == 0
    assert "windows (4 s)       5" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "out")
    assert manifest["channels"] == ["wrist_x", "wrist_y", "wrist_z"] and manifest["subjects"] == 1
    assert manifest["recordings"][0]["stretches"] == [[2_000, 1]] and manifest["settings"]["stride_s"] == 4
    with eval_batches(tmp_path / "out", batch=5, indices=np.arange(5)) as batches:
        (batch,) = batches
    found = batch["acceleration"].transpose(0, 2, 1).reshape(2_000, 3) / 4096
    np.testing.assert_allclose(found, signal, atol=0.51 / 4096)
    flags = flags.replace("/out", "/other")
    assert launch_prepare.main([*flags.split(), "--sensors", "thigh"]) == 2
    assert "holds no thigh sensor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sensors": ()}, "sensors are none, expected some of back, thigh, wrist"),
        ({"sensors": ("thigh", "back")}, "each once and in this order"),
        ({"sensors": ("back", "back")}, "each once"),
        ({"sensors": ("hip",)}, "sensors are hip"),
        ({"rate_hz": 0}, "rate_hz is 0, expected a whole number of Hz from 1 to 200"),
        ({"rate_hz": 201}, "rate_hz is 201"),
        ({"rate_hz": 30.5}, "rate_hz is 30.5"),
        ({"window_s": 0.9}, "window_s is 0.9, expected a number of seconds, at least 1"),
        ({"window_s": float("nan")}, "window_s is nan"),
        ({"window_s": 1.001}, "no whole number of samples: choose a multiple of 1/50 s"),
        ({"stride_s": 0.01}, "stride_s is 0.01, expected a positive number of seconds, at least 0.02"),
        ({"nonwear_min": -1}, "nonwear_min is -1, expected minutes, or 0 to keep everything"),
        ({"nonwear_min": float("nan")}, "nonwear_min is nan"),
        ({"scale_g": 2}, "scale_g is 2"),
    ],
)
def test_settings_that_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        Cut(**change)


def test_sizes_of_a_setting():
    assert [(c.window, c.stride, c.block) for c in (Cut(), Cut(rate_hz=30, window_s=3000, stride_s=0.5))] == [
        (15_000, 15_000, 15_000),
        (90_000, 15, 9_000),
    ]
