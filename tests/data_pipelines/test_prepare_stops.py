"""Preparing again: stopping or parallel work changes no byte, damage is noticed and wrong use refused."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import data_pipelines.prepare
from data_pipelines.labelled import load_labelled
from data_pipelines.manifest import manifest_hash, read_manifest, read_movement, read_normalization
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from data_pipelines.verify import verify
from launch import prepare as launch_prepare

REPO = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def copy_of(folder: Path, to: Path) -> Path:
    for name, content in contents(folder).items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
    return to


# --- repeating, stopping, damage -----------------------------------------------------------------------


def test_parallel_equals_serial(prepared, recordings, tmp_path, prepare_harth):
    prepare_harth(recordings, tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == contents(prepared)


def test_resume_redoes_only_what_is_damaged_or_missing(prepared, recordings, tmp_path, prepare_harth):
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
    prepare_harth(recordings, out)
    assert contents(out) == contents(prepared)
    assert kept.stat().st_mtime_ns == states[kept]
    assert damaged.stat().st_mtime_ns != states[damaged]
    assert (out / "labelled" / "S3.npz").stat().st_mtime_ns != states[out / "labelled" / "S3.npz"]


def test_changed_source_is_redone_and_changes_the_hash(prepared, recordings, tmp_path, prepare_harth):
    folder = copy_of(recordings, tmp_path / "csv")
    out = tmp_path / "out"
    first = prepare_harth(folder, out)
    assert first == read_manifest(prepared)  # another place and time of change, the same data: the same hash
    text = (folder / "S1.csv").read_text().split("\n")
    text[5] = text[5].replace(",-", ",-0", 1)[:-1] + "7"
    (folder / "S1.csv").write_text("\n".join(text))
    second = prepare_harth(folder, out)
    assert second["hash"] != first["hash"] and second["hash"] == manifest_hash(second)


def test_stopped_half_way_leaves_nothing_partial(recordings, tmp_path, that_gets_stuck):
    """SIGTERM while workers write: no half-written file, no manifest; the same command completes it."""
    folder = copy_of(recordings, tmp_path / "csv")
    for k in range(5):
        (folder / f"T{k}.csv").write_bytes((recordings / "S2.csv").read_bytes())
    out = tmp_path / "out"
    flags = ["--input", folder, "--layout", "harth", "--out", out, "--stride", "3", "--workers", "2"]
    command = [sys.executable, that_gets_stuck("prepare", 1), *map(str, flags)]
    process = subprocess.Popen(command, cwd=REPO, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while len(list(out.glob("shards/*.stuck.partial"))) < 2 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    done = sorted(path.stem for path in out.glob("shards/*.json"))
    assert len(done) == 2 and not (out / "manifest.json").exists()
    assert not list(out.rglob("*.partial"))
    states = {name: (out / "shards" / f"{name}.array_record").stat().st_mtime_ns for name in done}
    assert launch_prepare.main(list(map(str, flags))) == 0
    verify(out)
    assert all((out / "shards" / f"{n}.array_record").stat().st_mtime_ns == t for n, t in states.items())


def test_workers_end_with_a_killed_parent(recordings, tmp_path, that_gets_stuck):
    out = tmp_path / "out"
    flags = ["--input", recordings, "--layout", "harth", "--out", out, "--stride", "1", "--workers", "2"]
    command = [sys.executable, that_gets_stuck("prepare", 0), *map(str, flags)]
    process = subprocess.Popen(command, cwd=REPO, stderr=subprocess.DEVNULL, start_new_session=True)
    limit = time.monotonic() + 60
    while len(list(out.glob("shards/*.stuck.partial"))) < 2 and process.poll() is None and time.monotonic() < limit:
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


@pytest.mark.parametrize("name", ["shards/S1.array_record", "labelled/S2.npz", "normalization.npz", "movement.npz"])
def test_damage_is_noticed(prepared, tmp_path, name):
    out = copy_of(prepared, tmp_path / "out")
    content = bytearray((out / name).read_bytes())
    content[len(content) // 2] ^= 4
    (out / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"1 of 11 files are damaged: {name} \\(its checksum differs\\)"):
        verify(out)
    if name.startswith("labelled"):
        with pytest.raises(ValueError, match="S2.npz: damaged"):
            load_labelled(out)
    if name.startswith("norm"):
        with pytest.raises(ValueError, match="normalization.npz: damaged"):
            read_normalization(out)
    if name.startswith("move"):
        with pytest.raises(ValueError, match="movement.npz: damaged"):
            read_movement(out)


def test_broken_manifests(prepared, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no manifest.json"):
        read_manifest(tmp_path)
    good = json.loads((prepared / "manifest.json").read_text())
    for content, words in (
        ("{", "not readable as JSON"),
        ("[]", "holds a list, expected an object"),
        (json.dumps(good | {"version": 9}), "version is 9, expected 2"),
        (json.dumps({k: v for k, v in good.items() if k != "hours"}), "field hours is missing"),
        (json.dumps(good | {"windows": 7}), "hash does not match"),
    ):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(ValueError, match=words):
            read_manifest(tmp_path)


# --- wrong use -----------------------------------------------------------------------------------------


def test_other_settings_and_foreign_folders(prepared, recordings, tmp_path, prepare_harth):
    other = PrepareSettings(Cut(stride_s=300, max_gap_s=2))
    with pytest.raises(FileExistsError, match=r"max_gap_s 5.0 \(now 2\), stride_s 150 \(now 300\)"):
        prepare(recordings, "harth", prepared, other, workers=1, progress=False)
    fewer = tmp_path / "csv"
    fewer.mkdir()
    (fewer / "S1.csv").write_bytes((recordings / "S1.csv").read_bytes())
    with pytest.raises(FileExistsError, match=r"recordings that are not in the input \(S2, S3\)"):
        prepare_harth(fewer, prepared)
    with pytest.raises(FileExistsError, match=r"exists and holds S1.csv"):
        prepare_harth(recordings, fewer)


def test_all_bad_recordings_are_named(recordings, tmp_path, prepare_harth):
    folder = copy_of(recordings, tmp_path / "csv")
    (folder / "S1.csv").write_text("")
    (folder / "S3.csv").write_text("timestamp,label\n")
    with pytest.raises(
        ValueError, match=r"2 of 3 recordings cannot be used: \(1\) .*S1.csv.*empty.*; \(2\) .*S3.csv.*back_x"
    ):
        prepare_harth(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_recording_with_which_a_process_died_is_named(recordings, tmp_path, prepare_harth, monkeypatch):
    def died():
        raise ChildProcessError("a worker process died")

    def outcomes(function, jobs, _):
        for number, job in enumerate(jobs):
            yield number, died if number == 1 else partial(function, *job)

    monkeypatch.setattr(data_pipelines.prepare, "outcomes", outcomes)
    with pytest.raises(ValueError, match="^S2: a worker process died"):
        prepare_harth(recordings, tmp_path / "out")
    assert (tmp_path / "out" / "shards" / "S3.json").exists()


def test_no_window_at_all(recordings, prepare_harth, tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "S3.csv").write_bytes((recordings / "S3.csv").read_bytes())
    with pytest.raises(ValueError, match="no window of 300 s: the longest stretch .* lasts 180 s, expected 300 s"):
        prepare_harth(tmp_path / "csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_there_goes_where_no_window_is_left(recordings, prepare_harth, tmp_path):
    folder, out = copy_of(recordings, tmp_path / "csv"), tmp_path / "out"
    prepare_harth(folder, out)
    for name in ("S1", "S2"):
        (folder / f"{name}.csv").write_bytes((folder / "S3.csv").read_bytes())
    with pytest.raises(ValueError, match="3 recordings give no window of 300 s"):
        prepare_harth(folder, out)
    assert not out.exists()


def test_one_preparation_at_a_time(recordings, tmp_path, prepare_harth):
    (tmp_path / "out").mkdir()
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(OSError, match="being written by another process"):
        prepare_harth(recordings, tmp_path / "out")
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
        ("--layout harth --input . --out o --sensors thigh,back", "sensors are thigh, back, expected some of"),
        ("--layout harth --input . --out o --rate 0", "rate_hz is 0, expected a whole number of Hz from 1 to 200"),
        ("--layout harth --input . --out o --window 0.5", "window_s is 0.5, expected a number of seconds, at least 1"),
        ("--layout harth --input . --out o --nonwear -1", "nonwear_min is -1.0, expected minutes"),
        ("--layout ukbiobank --input . --out o", "nothing in layout ukbiobank found, expected files like"),
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
