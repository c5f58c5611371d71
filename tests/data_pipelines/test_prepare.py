"""Preparing: what lands on disk equals a direct computation; stopping or parallel work changes no byte."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader

from data_pipelines import moments, windows
from data_pipelines.labelled import load_labelled
from data_pipelines.manifest import manifest_hash, read_manifest, read_normalization, verify
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.readers import har_csv
from data_pipelines.shards import Cut
from launch import prepare as launch_prepare
from selfpab_jax.signals.stft import CHANNELS, N_FRAMES

SETTINGS = PrepareSettings(Cut(stride_s=150))
REPO = Path(__file__).parents[2]


def write_csv(path: Path, stretches: list[tuple[float, int]], seed: int = 0) -> Path:
    """A csv of stretches (seconds of gap before, samples) of noise around -1 g, labels in turn by minute."""
    rng = np.random.default_rng(seed)
    clock = 1_600_000_000_000_000
    lines = ["timestamp," + ",".join(CHANNELS) + ",label"]
    for gap_s, samples in stretches:
        clock += round(gap_s * 1e6)
        values = rng.normal(0, 0.3, (samples, 6)).round(5)
        values[:, ::3] -= 1
        stamps = (clock + 20_000 * np.arange(samples)).astype("datetime64[us]")
        labels = np.array([1, 6, 7])[np.arange(samples) // 3000 % 3]
        rows = zip(stamps, values.tolist(), labels.tolist(), strict=True)
        lines += [f"{str(t).replace('T', ' ')},{','.join(map(str, v))},{k}" for t, v, k in rows]
        clock += 20_000 * samples
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("csv")
    write_csv(folder / "S1.csv", [(0, 20_000), (3, 10_000)], 1)  # joined: 30,000 samples
    write_csv(folder / "S2.csv", [(0, 16_000), (30, 40_000), (6, 2_000)], 2)  # split twice
    write_csv(folder / "S3.csv", [(0, 9_000)], 3)  # too short for a window
    return folder


@pytest.fixture(scope="module")
def prepared(recordings, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(recordings, "harth", out, SETTINGS, workers=1, progress=False)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def copy_of(folder: Path, to: Path) -> Path:
    for name, content in contents(folder).items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
    return to


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


# --- repeating, stopping, damage -----------------------------------------------------------------------


def test_parallel_equals_serial(prepared, recordings, tmp_path):
    prepare(recordings, "harth", tmp_path / "out", SETTINGS, workers=2, progress=False)
    assert contents(tmp_path / "out") == contents(prepared)


def test_resume_redoes_only_what_is_damaged_or_missing(prepared, recordings, tmp_path):
    out = copy_of(prepared, tmp_path / "out")
    (out / "manifest.json").unlink()
    kept = out / "shards" / "S1.array_record"
    damaged = out / "shards" / "S2.array_record"
    content = bytearray(damaged.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)
    (out / "shards" / "S3.json").unlink()
    (out / "shards" / "S2.array_record.partial").write_bytes(b"half")
    states = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    prepare(recordings, "harth", out, SETTINGS, workers=1, progress=False)
    assert contents(out) == contents(prepared)
    assert kept.stat().st_mtime_ns == states[kept]
    assert damaged.stat().st_mtime_ns != states[damaged]
    assert (out / "labelled" / "S3.npz").stat().st_mtime_ns != states[out / "labelled" / "S3.npz"]


def test_changed_source_is_redone_and_changes_the_hash(prepared, recordings, tmp_path):
    folder = copy_of(recordings, tmp_path / "csv")
    out = tmp_path / "out"
    first = prepare(folder, "harth", out, SETTINGS, workers=1, progress=False)
    assert first == read_manifest(prepared)  # another place and time of change, the same data: the same hash
    text = (folder / "S1.csv").read_text().split("\n")
    text[5] = text[5].replace(",-", ",-0", 1)[:-1] + "7"
    (folder / "S1.csv").write_text("\n".join(text))
    second = prepare(folder, "harth", out, SETTINGS, workers=1, progress=False)
    assert second["hash"] != first["hash"] and second["hash"] == manifest_hash(second)


def test_stopped_half_way_leaves_nothing_partial(prepared, recordings, tmp_path):
    """SIGTERM while workers write: no half-written file, no manifest; the same command completes it."""
    folder = copy_of(recordings, tmp_path / "csv")
    for k in range(5):
        (folder / f"T{k}.csv").write_bytes((recordings / "S2.csv").read_bytes())
    out = tmp_path / "out"
    flags = ["--input", folder, "--layout", "harth", "--out", out, "--stride", "3", "--workers", "2"]
    command = [sys.executable, "-m", "launch.prepare", *map(str, flags)]
    process = subprocess.Popen(command, cwd=REPO, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not list(out.glob("shards/*.json")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    done = sorted(path.stem for path in out.glob("shards/*.json"))
    assert 0 < len(done) < 8 and not (out / "manifest.json").exists()
    assert not list(out.rglob("*.partial"))
    states = {name: (out / "shards" / f"{name}.array_record").stat().st_mtime_ns for name in done}
    assert launch_prepare.main(list(map(str, flags))) == 0
    verify(out)
    assert all((out / "shards" / f"{n}.array_record").stat().st_mtime_ns == t for n, t in states.items())


def test_workers_end_with_a_killed_parent(recordings, tmp_path):
    out = tmp_path / "out"
    flags = ["--input", recordings, "--layout", "harth", "--out", out, "--stride", "1", "--workers", "2"]
    command = [sys.executable, "-m", "launch.prepare", *map(str, flags)]
    process = subprocess.Popen(command, cwd=REPO, stderr=subprocess.DEVNULL, start_new_session=True)
    limit = time.monotonic() + 60
    while not list(out.glob("shards/*")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while (left := _processes_of_session(process.pid)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not left and not (out / "manifest.json").exists()


def _processes_of_session(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_workers_do_not_import_jax():
    code = "import sys, data_pipelines.prepare, data_pipelines.shards; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 0


@pytest.mark.parametrize("name", ["shards/S1.array_record", "labelled/S2.npz", "normalization.npz"])
def test_damage_is_noticed(prepared, tmp_path, name):
    out = copy_of(prepared, tmp_path / "out")
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 4
    (out / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"1 of 7 files do not match their checksum \\({name}\\)"):
        verify(out)
    if name.startswith("labelled"):
        with pytest.raises(ValueError, match="S2.npz: damaged"):
            load_labelled(out)
    if name.startswith("norm"):
        with pytest.raises(ValueError, match="normalization.npz: damaged"):
            read_normalization(out)


def test_broken_manifests(prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no manifest.json"):
        read_manifest(tmp_path)
    good = json.loads((prepared / "manifest.json").read_text())
    for content, words in (
        ("{", "not readable as JSON"),
        ("[]", "version is list"),
        (json.dumps(good | {"version": 9}), "version is 9, expected 1"),
        (json.dumps({k: v for k, v in good.items() if k != "hours"}), "field hours is missing"),
        (json.dumps(good | {"windows": 7}), "hash does not match"),
    ):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(ValueError, match=words):
            read_manifest(tmp_path)


# --- wrong use -------------------------------------------------------------------------------------------


def test_other_settings_and_foreign_folders(prepared, recordings, tmp_path):
    other = PrepareSettings(Cut(stride_s=300, max_gap_s=2))
    with pytest.raises(FileExistsError, match=r"max_gap_s 5.0 \(now 2\), stride_s 150 \(now 300\)"):
        prepare(recordings, "harth", prepared, other, workers=1, progress=False)
    fewer = tmp_path / "csv"
    fewer.mkdir()
    (fewer / "S1.csv").write_bytes((recordings / "S1.csv").read_bytes())
    with pytest.raises(FileExistsError, match=r"recordings that are not in the input \(S2, S3\)"):
        prepare(fewer, "harth", prepared, SETTINGS, workers=1, progress=False)
    with pytest.raises(FileExistsError, match=r"exists and holds S1.csv"):
        prepare(recordings, "harth", fewer, SETTINGS, workers=1, progress=False)


def test_all_bad_recordings_are_named(recordings, tmp_path):
    folder = copy_of(recordings, tmp_path / "csv")
    (folder / "S1.csv").write_text("")
    (folder / "S3.csv").write_text("timestamp,label\n")
    with pytest.raises(
        ValueError, match=r"2 of 3 recordings cannot be used: \(1\) .*S1.csv.*empty.*; \(2\) .*S3.csv.*back_x"
    ):
        prepare(folder, "harth", tmp_path / "out", SETTINGS, workers=1, progress=False)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_no_window_at_all(tmp_path):
    write_csv(tmp_path / "csv" / "S3.csv", [(0, 9_000)])
    with pytest.raises(ValueError, match="no 5-minute window: the longest stretch .* lasts 180 s"):
        prepare(tmp_path / "csv", "harth", tmp_path / "out", SETTINGS, workers=1, progress=False)


def test_one_preparation_at_a_time(recordings, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(OSError, match="being prepared by another process"):
        prepare(recordings, "harth", tmp_path / "out", SETTINGS, workers=1, progress=False)
    os.close(handle)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--layout harth --out o", "--input=DIR is missing"),
        ("--layout synthetic --input x --out o", "--input has no meaning"),
        ("--layout harth --input x --out o --seed 3", "--seed has a meaning for --layout synthetic only"),
        ("--layout harth --input nowhere --out o", "input folder nowhere does not exist"),
        ("--layout csv --input x --out o", "invalid choice: 'csv'"),
        ("--layout harth --input . --out o", "nothing in layout harth found, expected csv files"),
        ("--layout harth --input . --out o --max-gap 0", "max_gap_s is 0.0, expected at least 0.1"),
        ("--layout harth --input . --out o --stride nan", "stride_s is nan"),
        ("--layout harth --input . --out o --workers 0", "workers is 0, expected at least 1"),
        ("--layout synthetic --out o --subjects 99", "subjects is 99, expected 1 to 10"),
        ("--layout harth --input . --out o --strid 1", "unknown flag --strid; did you mean --stride"),
    ],
)
def test_wrong_flags(flags, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch_prepare.main(flags.split()) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("selfpab prepare: error: ") and words in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


# --- the other layouts -----------------------------------------------------------------------------------


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
    assert manifest["recordings"][0]["source"]["files"] == 2 and manifest["activities"] == {}
    verify(tmp_path / "out")
    with pytest.raises(ValueError, match="layout hunt4 has no labels"):
        load_labelled(tmp_path / "out")


def test_settings_are_recorded_whole():
    cut_fields = {field.name for field in dataclasses.fields(Cut)}
    assert cut_fields <= set(SETTINGS.recorded("harth")) and "seed" not in SETTINGS.recorded("harth")


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
