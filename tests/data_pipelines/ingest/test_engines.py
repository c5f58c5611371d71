"""One result whatever runs it: processes, tasks, a pipeline; killed in between or not."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_pipelines.ingest import one, people, processing, run
from data_pipelines.ingest.one import attempt
from data_pipelines.locks import locked
from tests.data_pipelines.ingest.conftest import SETTINGS, contents

PROJECT = Path(__file__).parents[3]


class Deadly(people.Person):
    """A person whose files end the process that looks at them, and leave the draft `subject` behind."""

    def stamp(self) -> str:
        Path(self.subject).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def in_this_process(people, settings, out):
    """The engine without any processes, for what a test puts in place of something here."""
    for person in people:
        yield attempt(person, settings, out)


@pytest.fixture(scope="module")
def whole(persons, tmp_path_factory) -> Path:
    """What an undisturbed run in one process leaves."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    return out


def test_processes(persons, whole, tmp_path):
    run.ingest(persons, SETTINGS, tmp_path / "out", run.local(2), progress=False)
    assert contents(tmp_path / "out") == contents(whole)


def test_a_second_call_changes_no_byte(persons, whole, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        _, found = run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    assert not any(one.written for one in found)
    assert contents(out) == contents(whole)


def test_beam(persons, whole, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra beam, an environment of its own)")
    from data_pipelines.ingest.beam import beam

    _, found = run.ingest(persons, SETTINGS, tmp_path / "out", beam([]), progress=False)
    assert contents(tmp_path / "out") == contents(whole)
    assert [one.name for one in found if one.reason] == ["broken"]


def test_without_beam_the_way_out_is_said(monkeypatch):
    from data_pipelines.ingest.beam import beam

    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match="Apache Beam is not installed: pip install"):
        beam([])


@pytest.mark.parametrize("tasks", [2, 3, 9])
def test_tasks_of_an_array_share_the_work(persons, whole, tmp_path, tasks):
    out, manifests, done = tmp_path / "out", [], []
    for number in range(tasks):
        manifest, found = run.share(persons, SETTINGS, out, run.local(1), number, tasks)
        manifests.append(manifest)
        done += [one.name for one in found]
    assert sorted(done) == [one.name for one in persons]
    last = min(tasks, len(persons)) - 1  # as soon as all is done
    assert [manifest is None for manifest in manifests] == [number < last for number in range(tasks)]
    assert contents(out) == contents(whole)


def test_a_task_leaves_the_manifest_to_one_that_is_still_at_work(persons, tmp_path):
    out = tmp_path / "out"

    def slow(people, settings, folder):
        """In the middle of it another task does its share, and all of this one's too."""
        other, _ = run.share(persons, SETTINGS, out, run.local(1), 0, 1)
        assert other is None
        yield from run.local(1)(people, settings, folder)

    manifest, _ = run.share(persons, SETTINGS, out, slow, 0, 2)
    assert manifest["subjects"] == 3


def test_alone_and_as_a_task_exclude_each_other(persons, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(run, "PATIENCE_S", 0)

    def meanwhile(people, settings, folder):
        with pytest.raises(OSError, match="by another process"):
            run.share(persons, SETTINGS, out, run.local(1), 0, 2)
        with pytest.raises(OSError, match="by another process"):
            run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
        yield from run.local(1)(people, settings, folder)

    run.ingest(persons, SETTINGS, out, meanwhile, progress=False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [1, 2])
def test_killed_in_the_middle_and_run_again(cohort, whole, tmp_path, that_gets_stuck, how, after):
    out = tmp_path / "out"
    flags = [f"--input={cohort / 'raw'}", f"--pairs={cohort / 'pairs.csv'}", f"--out={out}", "--window=60"]
    command = [sys.executable, "-m", "launch", "ingest", *flags, "--workers=1"]
    stuck = [sys.executable, that_gets_stuck("ingest", after), *command[4:]]
    started = subprocess.Popen(stuck, cwd=PROJECT, stderr=subprocess.PIPE)
    shards = out / "shards"
    end = time.monotonic() + 60
    while len(list(shards.glob("*.json"))) < after or not list(shards.glob("*.stuck.partial")):
        assert time.monotonic() < end and started.poll() is None, started.stderr.read()
        time.sleep(0.01)
    started.send_signal(how)
    _, said = started.communicate(timeout=60)
    assert started.returncode == (-9 if how == signal.SIGKILL else 130), said
    assert bool(list(shards.glob("*.partial"))) == (how == signal.SIGKILL)
    assert not (out / "manifest.json").exists()
    again = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, env=os.environ)
    assert again.returncode == 0, again.stderr
    assert f"4 recordings: {3 - after} written, 1 failed" in again.stdout
    assert contents(out) == contents(whole)


def test_a_defect_in_one_recording_stops_no_other(persons, tmp_path, monkeypatch):
    def broken(*_):
        raise IndexError("index 7 is out of bounds")

    (tmp_path / "failed").mkdir()
    monkeypatch.setattr(processing, "survey", broken)
    outcome = attempt(persons[0], SETTINGS, tmp_path)
    assert outcome.reason == "unexpected IndexError (index 7 is out of bounds)"
    assert "Traceback" in (tmp_path / "failed" / "a.json").read_text()
    monkeypatch.setenv("SELFPAB_DEBUG", "1")
    with pytest.raises(IndexError):
        attempt(persons[0], SETTINGS, tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_dies_with_one_recording_stops_no_other(persons, whole, tmp_path, workers):
    out, bad = tmp_path / "out", [one.name for one in persons].index("b")
    with_bad = list(persons)
    draft = out / "shards" / "b.array_record.elsewhere-7.partial"
    with_bad[bad] = Deadly(**vars(persons[bad]) | {"subject": str(draft)})
    manifest, found = run.ingest(with_bad, SETTINGS, out, run.local(workers), progress=False)
    assert {one.name: one.reason for one in found if one.reason}["b"].startswith("a worker process died with it, ")
    assert [entry["name"] for entry in manifest["recordings"]] == ["a", "c"]
    assert [one["name"] for one in manifest["failed"]] == ["b", "broken"] and not draft.exists()
    run.ingest(persons, SETTINGS, out, run.local(workers), progress=False)
    assert contents(out) == contents(whole)


def test_a_task_outlives_its_only_recording(persons, tmp_path):
    out = tmp_path / "out"
    share = [Deadly(**vars(persons[0]) | {"subject": str(tmp_path / "draft")}), *persons[1:2]]
    assert run.share(share, SETTINGS, out, run.local(1), 1, 2)[0] is None
    manifest, found = run.share(share, SETTINGS, out, run.local(1), 0, 2)
    assert [one.name for one in found if one.reason] == ["a"] and manifest["windows"] == 12


def test_a_full_disk_is_nobodys_failure(persons, whole, tmp_path, monkeypatch):
    out, store = tmp_path / "out", one.store

    def full(name, *rest):
        if name == "b":
            raise OSError(errno.ENOSPC, "No space left on device", str(out / "shards" / "b.array_record"))
        return store(name, *rest)

    monkeypatch.setattr(one, "store", full)
    with pytest.raises(OSError, match="No space left"):
        run.ingest(persons, SETTINGS, out, in_this_process, progress=False)
    assert not (out / "manifest.json").exists() and not (out / "failed" / "b.json").exists()
    monkeypatch.setattr(one, "store", store)
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    assert contents(out) == contents(whole)


def alone(folder, cohort):
    """The settings and the person of a folder with one file."""
    folder.mkdir()
    (folder / "a.cwa").write_bytes((cohort / "raw" / "a_back.cwa").read_bytes())
    settings = dataclasses.replace(SETTINGS, cut=dataclasses.replace(SETTINGS.cut, sensors=("wrist",)))
    return settings, people.one_file_each(folder, "wrist")


@pytest.mark.parametrize("how", ["touched", "longer"])
def test_a_file_that_changes_while_it_is_read_is_no_recording(cohort, tmp_path, monkeypatch, how):
    settings, found = alone(tmp_path / "raw", cohort)
    path, survey, whole = tmp_path / "raw" / "a.cwa", processing.survey, (cohort / "raw" / "a_back.cwa").read_bytes()
    path.write_bytes(whole if how == "touched" else whole[: len(whole) // 2])

    def changed(*given):
        result = survey(*given)
        os.utime(path, ns=(1, 1)) if how == "touched" else path.write_bytes(whole)
        return result

    monkeypatch.setattr(processing, "survey", changed)
    with pytest.raises(ValueError, match="changed while it was read: run the same command again"):
        run.ingest(found, settings, tmp_path / "out", in_this_process, progress=False)
    monkeypatch.setattr(processing, "survey", survey)
    for written in (True, False):
        _, outcomes = run.ingest(found, settings, tmp_path / "out", in_this_process, progress=False)
        assert outcomes[0].written == written


def test_a_file_that_vanishes_is_its_persons_failure(cohort, tmp_path, monkeypatch):
    settings, found = alone(tmp_path / "raw", cohort)
    survey = processing.survey

    def gone(*given):
        result = survey(*given)
        (tmp_path / "raw" / "a.cwa").unlink()
        return result

    monkeypatch.setattr(processing, "survey", gone)
    with pytest.raises(ValueError, match="none of the 1 recordings can be used; the first, a: .*a.cwa"):
        run.ingest(found, settings, tmp_path / "out", in_this_process, progress=False)


def test_beginning_an_array_takes_nothing_away_for_a_passing_error(persons, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)

    def stale(person):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(people.Person, "stamp", stale)
    with pytest.raises(OSError, match="Stale file handle"):
        run.begin(persons, SETTINGS, out)
    assert (out / "shards" / "a.json").exists()


def test_a_worker_that_writes_elsewhere_is_noticed(persons, tmp_path):
    out = tmp_path / "out"

    def elsewhere(people, settings, folder):
        yield from run.local(1)(people[:1], settings, folder)

    manifest, _ = run.ingest(persons, SETTINGS, out, elsewhere, progress=False)
    assert [entry["name"] for entry in manifest["recordings"]] == ["a"]
    assert all("does every worker see" in one["reason"] for one in manifest["failed"]) and len(manifest["failed"]) == 3
    assert [one["subject"] for one in manifest["failed"]] == ["b", "broken", "c"]
    assert manifest["failed"][2]["files"][1] == {"file": "c_thigh.cwa", "place": "thigh"}


def test_an_array_begins_with_what_is_not_done(persons, whole, tmp_path):
    out = tmp_path / "out"
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    sidecar = out / "shards" / "c.json"
    sidecar.write_text(sidecar.read_text().replace('"stamp": "', '"stamp": "0'))  # of another file
    (out / "shards" / "b.array_record.elsewhere-7.partial").touch()
    run.begin(persons, SETTINGS, out)
    left = {"movement.npz", "normalization.npz", "shards/c.array_record"}
    left |= {f"shards/{name}.{end}" for name in "ab" for end in ("json", "array_record")}
    assert set(contents(out)) == left
    first, _ = run.share(persons, SETTINGS, out, run.local(1), 0, 2)
    assert first is None  # broken and c are not done, whatever lies there from before
    second, found = run.share(persons, SETTINGS, out, run.local(1), 1, 2)
    assert second is not None and contents(out) == contents(whole)


def test_a_task_waits_for_the_one_that_writes_the_manifest(persons, tmp_path):
    out = tmp_path / "out"
    run.begin(persons, SETTINGS, out)
    with ThreadPoolExecutor(1) as pool:
        with locked(out):
            waiting = pool.submit(run.share, persons, SETTINGS, out, run.local(1), 0, 1)
            time.sleep(1)
            assert not waiting.done() and not list((out / "shards").iterdir())
        assert waiting.result(timeout=30)[0]["subjects"] == 3
