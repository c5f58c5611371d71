"""Embeddings of a recording: shapes, times, agreement with a direct computation, mistakes."""

import json
import re

import numpy as np
import pytest

from data_pipelines.manifest import REQUIRED, VERSION, manifest_hash
from data_pipelines.shard_reading import read_shard
from data_pipelines.shards import Cut, store, write_sidecar
from launch import features, ingest
from launch.config_file import load_config
from launch.methods import build
from selfpab_jax.evaluate.features import recording_features
from selfpab_jax.evaluate.stitch import average_windows, window_starts
from selfpab_jax.models.functional import split
from selfpab_jax.signals.stft import FRAMES, HOP, N_FFT, n_frames
from selfpab_jax.train.checkpoint import Checkpoints
from tests.data_pipelines.ingest.conftest import signal as measured
from tests.data_pipelines.ingest.conftest import write_csv, write_cwa

PIECES = (800, 555)  # samples before and after a gap of a minute
START = np.datetime64("2021-03-24T14:42:03.840", "us")
TIME = START + np.concatenate([np.arange(800), np.arange(555) + 800 + 3000]) * np.timedelta64(20_000, "us")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(run folder of a tiny encoder with two checkpoints, its method as restored from the first, the best)."""
    folder = tmp_path_factory.mktemp("run")
    config = json.loads(load_config("configs/selfpab.py:smoke").to_json())
    rng = np.random.default_rng(0)
    moments = {f"{kind}_{name}": rng.uniform(1, 2, 156) for kind in ("linear", "log") for name in ("mean", "std")}
    np.savez(folder / "normalization.npz", **moments)
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"settings": {"max_gap_s": 5.0, "scale_g": 1 / 4096, "window_samples": 15_000}}
    (folder / "data_manifest.json").write_text(json.dumps(settings))
    method, other = build(config | {"seed": 1}, moments), build(config | {"seed": 2}, moments)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step, (metric, model) in enumerate([(0.1, method.model), (0.2, other.model)], start=1):
            _, params, extra = split(model)
            checkpoints.save(step, {"params": params, "model_state": extra}, {}, metric=metric, wait=True)
    return folder, method


@pytest.fixture(scope="module")
def acceleration():
    values = np.random.default_rng(1).normal(0, 0.3, (sum(PIECES), 6)) + (np.arange(6) % 3 == 0)
    return np.round(values * 4096) / 4096  # exact in counts


@pytest.fixture(scope="module")
def recording(tmp_path_factory, acceleration):
    """A csv file without labels."""
    path = tmp_path_factory.mktemp("recording") / "anyone.csv"
    lines = ["timestamp,back_x,back_y,back_z,thigh_x,thigh_y,thigh_z"]
    times = np.datetime_as_string(TIME)
    lines += [
        f"{t.replace('T', ' ')},{','.join(map(repr, row))}" for t, row in zip(times, acceleration.tolist(), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def call(run, recording, out, *flags) -> dict[str, np.ndarray]:
    assert features.main([f"--run={run[0]}", f"--input={recording}", f"--out={out}", *flags]) == 0
    with np.load(out, allow_pickle=False) as file:
        return dict(file)


def direct(method, acceleration) -> list[np.ndarray]:
    """Layer outputs [T, n, D] of each piece at its own length, so without padding or mask."""
    pieces = np.split(acceleration.astype(np.float32), [PIECES[0]])
    return [np.stack([layer[0] for layer in method.encode(method.model, p.T[None])], axis=1) for p in pieces]


def test_all_layers_equal_a_direct_computation(run, recording, acceleration, tmp_path, capsys):
    found = call(run, recording, tmp_path / "new" / "f.npz", "--layers=all")
    expected = np.concatenate(direct(run[1], acceleration))
    assert found["features"].shape == (31 + 21, 3, 16) and found["features"].dtype == np.float32
    np.testing.assert_allclose(found["features"], expected, rtol=1e-4, atol=1e-4)
    assert found["layers"].tolist() == [0, 1, 2]
    assert (float(found["token_seconds"]), float(found["hop_seconds"])) == (1.0, 0.5)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["f.npz"]  # nothing half-written
    printed = capsys.readouterr()
    assert "52 tokens of 0.01 h in 2 stretches; layers 0, 1, 2; 16 features each" in printed.out
    assert "step 1\n" in printed.err


def test_times_are_the_middles_of_the_frames(run, recording, tmp_path):
    time = call(run, recording, tmp_path / "f.npz")["time"]
    assert time.dtype == np.int64
    expected = START + np.timedelta64(500_000, "us") + np.arange(31) * np.timedelta64(500_000, "us")
    assert (time[:31].astype("M8[us]") == expected).all()
    assert time[31] - time[0] == (800 + 3000) * 20_000  # the frames of the second piece begin with it


def test_layers_and_checkpoint_can_be_chosen(run, recording, acceleration, tmp_path):
    every = call(run, recording, tmp_path / "all.npz", "--layers=all")["features"]
    last = call(run, recording, tmp_path / "last.npz", "--layers=last")
    np.testing.assert_array_equal(last["features"], every[:, 2:])
    some = call(run, recording, tmp_path / "some.npz", "--layers=0,2")
    np.testing.assert_array_equal(some["features"], every[:, [0, 2]])
    latest = call(run, recording, tmp_path / "latest.npz", "--which=latest", "--layers=all")["features"]
    assert np.abs(latest - every).max() > 0.1


def test_hunt4_files_and_folders(run, tmp_path):
    subject = tmp_path / "4711"
    subject.mkdir()
    rng = np.random.default_rng(3)
    for hour in ("09", "10"):
        snippet = rng.normal(0, 0.1, (15_010, 6)) + (np.arange(6) % 3 == 0)
        np.savez(subject / f"2018-03-14_{hour}.npz", snippet)
    one = call(run, subject / "2018-03-14_10.npz", tmp_path / "one.npz")
    both = call(run, subject, tmp_path / "both.npz")
    assert one["features"].shape == (599, 1, 16) and both["features"].shape == (2 * 599, 1, 16)
    np.testing.assert_allclose(both["features"][599:], one["features"], rtol=1e-4, atol=1e-5)
    assert one["time"][0] == np.datetime64("2018-03-14T10:00:00.5", "us").astype(np.int64)


def test_raw_files_of_two_formats_give_equal_features(run, tmp_path, capsys):
    """.cwa and .csv of one signal -> ingest -> features; they differ by the 1/256 g of the packed file."""
    signals = {place: measured(place, seed=3) for place in ("back", "thigh")}
    found = {}
    for kind in ("cwa", "csv"):
        raw = tmp_path / kind
        raw.mkdir()
        for place, signal in signals.items():
            write_cwa(raw / f"{place}.cwa", signal) if kind == "cwa" else write_csv(raw / f"{place}.csv", signal)
        (raw / "pairs.csv").write_text(f"file,person,place\nback.{kind},p,back\nthigh.{kind},p,thigh\n")
        columns = [] if kind == "cwa" else ["--columns=time=time,x=x,y=y,z=z,unit=g,rate=50"]
        flags = [f"--input={raw}", f"--pairs={raw / 'pairs.csv'}", f"--out={tmp_path / kind / 'out'}", "--window=60"]
        assert ingest.main([*flags, "--workers=1", *columns]) == 0
        shard = tmp_path / kind / "out" / "shards" / "p.array_record"
        found[kind] = call(run, shard, tmp_path / f"{kind}.npz")
        # 12.3 minutes in windows of one.
        printed = r"1439 tokens of 0.20 h in 1 stretch; 0.0[01] h more are in no window of the shard; layers 2"
        assert re.search(printed, capsys.readouterr().out)
    assert (found["cwa"]["time"] == found["csv"]["time"]).all()
    assert found["cwa"]["features"].shape == (12 * 120 - 1, 1, 16)
    error = np.sqrt(((found["cwa"]["features"] - found["csv"]["features"]) ** 2).mean())
    assert 0 < error < 0.01 * found["csv"]["features"].std()
    other = [
        f"--run={run[0]}",
        f"--out={tmp_path / 'f.npz'}",
        f"--input={tmp_path / 'cwa30' / 'shards' / 'p.array_record'}",
    ]
    assert ingest.main([*flags[:2], f"--out={tmp_path / 'cwa30'}", "--window=60", "--rate=30", *columns]) == 0
    assert features.main(other) == 2
    assert "samples a second: found 30, expected 50" in capsys.readouterr().err


def test_overlapping_windows_are_averaged():
    counts = np.random.default_rng(2).integers(-4096, 4096, (6, 1000)).astype(np.int16)
    frames, stride, scale = 12, 5, 1 / 4096

    def encode(acceleration, valid):  # depends on the place inside the window, so that overlaps differ
        first = acceleration[:, :2, : frames * HOP : HOP].transpose(0, 2, 1)  # [B, T, 2]
        return [first, first * np.arange(frames)[:, None]]

    segments = [slice(0, 620), slice(620, 660), slice(660, 1000)]  # the second is too short for a frame
    found, first = recording_features(encode, counts, scale, segments, FRAMES, length=frames, stride=stride, batch=2)
    expected = []
    for segment in (segments[0], segments[2]):
        length = n_frames(segment.stop - segment.start)
        starts = window_starts(length, frames, stride)
        place = starts[:, None] + np.arange(frames)  # [W, T]
        values = counts[:2, segment][:, np.minimum(place, length - 1) * HOP].transpose(1, 2, 0) * scale  # [W, T, 2]
        both = np.concatenate([values, values * np.arange(frames)[:, None]], axis=2)
        expected.append(average_windows(both, starts, place < length, length))
    np.testing.assert_allclose(found.reshape(len(found), 4), np.concatenate(expected), rtol=1e-6)
    assert first[[0, 1, 22, 23]].tolist() == [0, 25, 550, 660] and first[-1] + N_FFT <= 1000


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x.cwa", "x.cwa is a raw sensor file: run `selfpab ingest`, then name OUT/shards/NAME.array_record of it"),
        ("X.CWA.GZ", "X.CWA.GZ is a raw sensor file: run `selfpab ingest`"),
        ("x.bin", "x.bin is a raw sensor file: run `selfpab ingest`"),
        ("raw", "raw is an ingested folder: name one of its recordings, raw/shards/NAME.array_record"),
        ("harth", "harth is a folder of selfpab prepare, which keeps no times: name the recording that it was made of"),
        ("files", "files is a folder of raw sensor files: run `selfpab ingest`, then name OUT/shards/NAME.array"),
    ],
)
def test_what_is_to_be_ingested_first(name, sentence, run, tmp_path, capsys):
    given = tmp_path / name
    if "." in name:
        given.write_bytes(b"MD")
    else:
        given.mkdir()
        if name == "files":
            (given / "p.cwa").write_bytes(b"MD")
        else:
            manifest = dict.fromkeys(REQUIRED) | {"version": VERSION, "layout": name}
            (given / "manifest.json").write_text(json.dumps(manifest | {"hash": manifest_hash(manifest)}))
    assert features.main([f"--run={run[0]}", f"--input={given}", f"--out={tmp_path / 'f.npz'}"]) == 2
    said = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert sentence in said and not (tmp_path / "f.npz").exists()


def test_a_shard_without_a_window(run, tmp_path, capsys):
    cut = Cut()
    (tmp_path / "shards").mkdir()
    stored = store("p", np.zeros((6, 900), np.int16), [], cut, tmp_path)
    entry = stored["entry"] | {"start_us": 0, "clipped": 0, "dropped": {"short": 18.0}}
    write_sidecar(tmp_path, "p", cut.recorded(), "", {"entry": entry})
    path = tmp_path / "shards" / "p.array_record"
    shard = read_shard(path)
    assert shard.counts.shape == (6, 0) and shard.counts.dtype == np.int16
    assert shard.time.shape == (0,) and shard.stretches == [] and shard.dropped_s == 18
    assert features.main([f"--run={run[0]}", f"--input={path}", f"--out={tmp_path / 'f.npz'}"]) == 2
    assert f"error: {path}: there is no window in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"input": "no.csv"}, "--input: found no no.csv"),
        ({"out": "f.txt"}, "--out is f.txt, expected a name that ends in .npz"),
        ({"stride": "600"}, "--stride is 600, expected 1 to 599 tokens"),
        ({"layers": "7"}, "layers is '7', expected all, last or numbers from 0 (embedding) to 2"),
        ({"run": "configs"}, "configs: no config.json in it, expected a run folder of `selfpab pretrain`"),
        ({"layout": "hunt4"}, "the name is no date and hour, expected YYYY-MM-DD_HH.npz"),
    ],
)
def test_mistakes_are_one_sentence(changed, sentence, run, recording, tmp_path, capsys):
    flags = {"run": run[0], "input": recording, "out": tmp_path / "f.npz"} | changed
    assert features.main([f"--{name}={value}" for name, value in flags.items()]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed and printed.splitlines()[-1].startswith("selfpab features: error: ")
    assert not list(tmp_path.iterdir())
