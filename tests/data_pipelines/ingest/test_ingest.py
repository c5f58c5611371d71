"""From raw files to windows: what comes out is the signal that went in, whichever format it came in."""

import dataclasses
import json

import numpy as np
import pytest

from data_pipelines.ingest import pairs, people, run
from data_pipelines.ingest.one import attempt, ingest_one
from data_pipelines.manifest import read_manifest
from data_pipelines.readers import declared
from data_pipelines.shard_reading import read_shard
from data_pipelines.shards import SHARDS
from data_pipelines.verify import verify
from selfpab_jax.signals.stft import magnitude_spectrogram
from tests.data_pipelines import cwa_writer
from tests.data_pipelines.ingest.conftest import (
    SETTINGS,
    START,
    TABLE,
    Signal,
    contents,
    signal,
    write_csv,
    write_cwa,
)

START_US = int(np.datetime64(START, "us").astype(np.int64))
PLAIN = dataclasses.replace(SETTINGS, calibrate=False, align=False)


def one_person(folder, **orientation) -> people.Person:
    rows = [f'{p}.cwa,p,{p},"{orientation.get(p, "")}"\n' for p in ("back", "thigh")]
    (folder / "pairs.csv").write_text(TABLE + "".join(rows))
    return pairs.read(folder, folder / "pairs.csv", SETTINGS.cut.sensors).people[0]


def ingested(person, out, settings=PLAIN):
    (out / SHARDS).mkdir(parents=True)
    sidecar, written = ingest_one(person, settings, out)
    assert written
    return sidecar, read_shard(out / SHARDS / f"{person.name}.array_record")


def both(folder, **how) -> dict[str, Signal]:
    signals = {place: signal(place, seed=3) for place in ("back", "thigh")}
    for place, one in signals.items():
        write_cwa(folder / f"{place}.cwa", one, **how.get(place, {}))
    return signals


def test_the_windows_hold_the_signal_at_the_times_of_the_grid(tmp_path):
    signals = both(tmp_path)
    sidecar, shard = ingested(one_person(tmp_path), tmp_path / "out")
    entry = sidecar["entry"]
    assert entry["windows"] == 12 and shard.counts.shape == (6, 36_000) and shard.stretches == [slice(0, 36_000)]
    assert (shard.time % 20_000 == 0).all() and (np.diff(shard.time) == 20_000).all()
    at = (shard.time - START_US) / 1e6
    assert -0.02 < at[0] < 0.04  # all that both sensors have, but the rest of a window
    for number, one in enumerate(signals.values()):
        walking = at // 120 % 3 == 0
        walking &= np.minimum(at % 120, 120 - at % 120) > 1  # no jump of posture nearby
        for axis in range(3):
            expected = np.interp(at, one.seconds, one.acceleration[:, axis])
            error = shard.counts[3 * number + axis] / 4096 - expected
            # The device's 1/256 g, the sensor's noise between two samples and 1.9 Hz cut by straight lines.
            assert np.sqrt((error[walking] ** 2).mean()) < 0.008, (number, axis)


def test_cwa_and_csv_of_one_signal_give_equal_features(tmp_path):
    """Equal within the quantisation of the packed file, 1/256 g."""
    signals = both(tmp_path)
    texts = tmp_path / "csv"
    texts.mkdir()
    for place, one in signals.items():
        write_csv(texts / f"{place}.csv", one)
    (texts / "pairs.csv").write_text("file,person,place\nback.csv,p,back\nthigh.csv,p,thigh\n")
    columns = declared.parse("time=time,x=x,y=y,z=z,unit=g,rate=50")
    person = pairs.read(texts, texts / "pairs.csv", SETTINGS.cut.sensors).people[0]
    _, of_csv = ingested(person, tmp_path / "of_csv", dataclasses.replace(PLAIN, columns=columns))
    _, of_cwa = ingested(one_person(tmp_path), tmp_path / "of_cwa")
    assert (of_csv.time == of_cwa.time).all()
    difference = (of_csv.counts.astype(int) - of_cwa.counts) / 4096
    assert np.abs(difference).max() < 1 / 128 and np.sqrt((difference**2).mean()) < 1 / 256
    features = [magnitude_spectrogram(shard.counts.astype(np.float32) / 4096) for shard in (of_csv, of_cwa)]
    # The magnitude of 50 windowed samples of evenly distributed rounding is 1/256 / sqrt(12) * sqrt(sum of w^2).
    rounding = 1 / 256 / np.sqrt(12) * np.sqrt(50 * 3 / 8)
    error = np.sqrt(((features[0] - features[1]) ** 2).mean())
    assert error < 1.2 * rounding < 0.02 * np.sqrt((features[0] ** 2).mean())


def test_an_orientation_of_the_table_turns_and_auto_finds_it(tmp_path):
    signals = {place: signal(place, seed=3) for place in ("back", "thigh")}
    _, upright = ingested(one_person_with(tmp_path / "upright", signals), tmp_path / "a")
    turned = {place: Signal(one.seconds, one.acceleration * [-1, -1, 1]) for place, one in signals.items()}
    person = one_person_with(tmp_path / "turned", turned, back="-x,-y,z", thigh="auto")
    sidecar, shard = ingested(person, tmp_path / "b")
    assert np.abs(shard.counts.astype(int) - upright.counts).max() <= 32  # the device rounds to both sides of zero
    assert sidecar["sensors"]["back"]["orientation"]["status"] == "as stated"
    assert sidecar["sensors"]["thigh"]["orientation"]["status"] == "upside down"


def one_person_with(folder, signals, **orientation):
    folder.mkdir()
    for place, one in signals.items():
        write_cwa(folder / f"{place}.cwa", one)
    return one_person(folder, **orientation)


def test_lost_blocks_and_missing_partners_are_gaps_counted_by_their_reason(tmp_path):
    signals = both(tmp_path, back={"lost_blocks": range(100, 110)})  # 10 blocks of 120 samples: 23.9 s
    late = Signal(signals["thigh"].seconds, signals["thigh"].acceleration)
    write_cwa(tmp_path / "thigh.cwa", Signal(late.seconds, late.acceleration[:-3012]))  # ends a minute earlier
    sidecar, _ = ingested(one_person(tmp_path), tmp_path / "out")
    entry = sidecar["entry"]
    assert entry["dropped"]["no partner"] == pytest.approx(60 + 1200 / 50.2, abs=0.1)
    assert entry["dropped"]["gap"] == 0 and entry["splits"] == 1
    assert sum(entry["dropped"].values()) + 60 * entry["windows"] == pytest.approx(entry["recorded_s"], abs=1e-6)
    assert [source["bad_blocks"] for source in entry["source"]] == [{}, {}]  # there is no trace of lost ones
    report = sidecar["sensors"]["back"]["report"]
    assert (report["gaps"], report["blocks"]) == (1, 299) and report["missing_s"] == pytest.approx(
        1200 / 50.2, abs=0.03
    )


def test_blocks_that_cannot_be_read_are_counted_by_reason(tmp_path):
    both(tmp_path)
    content = bytearray((tmp_path / "thigh.cwa").read_bytes()[:-100])  # and so ends within a block
    for block in (20, 40):
        content[cwa_writer.HEADER_BYTES + 512 * block + 100] ^= 1
    (tmp_path / "thigh.cwa").write_bytes(content)
    sidecar, _ = ingested(one_person(tmp_path), tmp_path / "out")
    found = {source["place"]: source["bad_blocks"] for source in sidecar["entry"]["source"]}
    assert found == {"back": {}, "thigh": {"checksum": 2, "truncated": 1}}


def test_gain_and_offset_are_corrected_where_the_recording_allows_it(tmp_path):
    """Thirty still postures, each for 40 s, of a sensor with known errors."""
    rng = np.random.default_rng(5)
    down = rng.normal(size=(90, 3))
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    true = np.repeat(down, 20 * 50, axis=0) + rng.normal(0, 0.003, (90 * 20 * 50, 3))
    gain, offset = np.array([1.04, 0.97, 1.02]), np.array([0.05, -0.04, 0.03])
    error = {}
    for name, settings in (("before", PLAIN), ("after", dataclasses.replace(PLAIN, calibrate=True))):
        write_cwa(tmp_path / "w.cwa", Signal(np.zeros(0), (true - offset) / gain), packed=False, hardware="AX6")
        wrist = dataclasses.replace(settings, cut=dataclasses.replace(settings.cut, sensors=("wrist",)))
        person = people.one_file_each(tmp_path, "wrist")[0]
        sidecar, shard = ingested(person, tmp_path / name / "out", wrist)
        length = np.linalg.norm(shard.counts / 4096, axis=0)
        error[name] = np.median(np.abs(length - 1))
    assert error["before"] > 0.03 and error["after"] < 0.003
    calibration = sidecar["sensors"]["wrist"]["calibration"]
    assert calibration["status"] == "calibrated"
    np.testing.assert_allclose(calibration["gain"], gain, atol=0.003)
    np.testing.assert_allclose(calibration["offset"], offset, atol=0.003)


def test_who_fails_is_listed_and_stops_nobody(cohort, persons, tmp_path):
    manifest, found = run.ingest(persons, SETTINGS, tmp_path / "out", run.local(1), progress=False)
    assert [entry["name"] for entry in manifest["recordings"]] == ["a", "b", "c"] and manifest["subjects"] == 3
    [failed] = manifest["failed"]
    assert failed["name"] == failed["subject"] == "broken" and "broken_thigh.cwa" in failed["reason"]
    assert failed["files"] == [{"file": f"broken_{place}.cwa", "place": place} for place in ("back", "thigh")]
    assert [one.name for one in found if one.reason] == ["broken"]
    verify(tmp_path / "out")
    assert read_manifest(tmp_path / "out") == manifest
    assert sorted(contents(tmp_path / "out")) == [
        "failed/broken.json",
        "manifest.json",
        "movement.npz",
        "normalization.npz",
        *(f"shards/{name}.{end}" for name in "abc" for end in ("array_record", "json")),
    ]


def test_a_rerun_does_only_what_is_missing_and_mends_what_failed(cohort, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for path in (cohort / "raw").iterdir():
        (raw / path.name).write_bytes(path.read_bytes())
    persons = pairs.read(raw, cohort / "pairs.csv", SETTINGS.cut.sensors).people
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    before = {path: path.stat().st_mtime_ns for path in (out / SHARDS).iterdir()}
    write_cwa(raw / "broken_thigh.cwa", signal("thigh", 3))
    (out / SHARDS / "b.json").unlink()
    manifest, found = run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    assert [one.name for one in found if one.written] == ["b", "broken"]
    assert manifest["failed"] == [] and not (out / "failed").exists() and manifest["subjects"] == 4
    for name in ("a.array_record", "a.json", "c.array_record", "c.json"):
        assert (out / SHARDS / name).stat().st_mtime_ns == before[out / SHARDS / name]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: dataclasses.replace(p, sensors=p.sensors[:1]), "no file of the thigh sensor"),
        (lambda p: dataclasses.replace(p, folder=p.folder / "no"), "a_back.cwa and a_thigh.cwa not in "),
    ],
)
def test_reasons(persons, tmp_path, change, words):
    (tmp_path / "failed").mkdir()
    outcome = attempt(change(persons[0]), SETTINGS, tmp_path)
    assert words in outcome.reason and not outcome.written
    note = json.loads((tmp_path / "failed" / "a.json").read_text())
    assert (note["name"], note["subject"], note["reason"]) == ("a", "a", outcome.reason)
    assert note["files"][0] == {"file": "a_back.cwa", "place": "back"}


def test_raw_files_that_are_gone_undo_nothing(cohort, persons, tmp_path):
    out = tmp_path / "out"
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    before = contents(out)
    gone = [dataclasses.replace(person, folder=tmp_path / "unmounted") for person in persons]
    manifest, found = run.ingest(gone, SETTINGS, out, run.local(1), progress=False)
    assert not any(one.written for one in found) and manifest["subjects"] == 3
    after = contents(out)
    assert {name for name in after if after[name] != before[name]} == {"manifest.json", "failed/broken.json"}
    back, thigh = gone[0].sensors
    other = dataclasses.replace(gone[0], sensors=(dataclasses.replace(back, file="x.cwa"), thigh))
    assert "a_back.cwa" not in (reason := attempt(other, SETTINGS, out).reason) and "x.cwa and a_thigh.cwa" in reason
    turned = dataclasses.replace(gone[0], sensors=(dataclasses.replace(back, orientation="-x,-y,z"), thigh))
    assert "a_back.cwa and a_thigh.cwa not in" in attempt(turned, SETTINGS, out).reason
    somebody = dataclasses.replace(gone[0], subject="z")
    assert "not in" in attempt(somebody, SETTINGS, out).reason


def only_a(cohort, tmp_path):
    """raw/ with the files of person a, what ingest made of them, and that person."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for place in ("back", "thigh"):
        (raw / f"a_{place}.cwa").write_bytes((cohort / "raw" / f"a_{place}.cwa").read_bytes())
    (tmp_path / "pairs.csv").write_text(TABLE + "a_back.cwa,a,back,\na_thigh.cwa,a,thigh,\n")
    persons = pairs.read(raw, tmp_path / "pairs.csv", SETTINGS.cut.sensors).people
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    return raw, out, persons


def test_one_file_gone_and_the_other_changed(cohort, tmp_path):
    raw, out, persons = only_a(cohort, tmp_path)
    (raw / "a_back.cwa").unlink()
    assert attempt(persons[0], SETTINGS, out) == ("a", False, 12, "")
    (raw / "a_thigh.cwa").write_bytes((cohort / "raw" / "b_thigh.cwa").read_bytes())
    (out / "failed").mkdir()
    assert "a_back.cwa not in" in attempt(persons[0], SETTINGS, out).reason


def test_two_recordings_in_one_file_are_refused(tmp_path):
    write_cwa(tmp_path / "w.cwa", signal("back", 0, minutes=60))
    content = (tmp_path / "w.cwa").read_bytes()
    write_cwa(tmp_path / "w.cwa", signal("back", 0, minutes=90), session=2)
    second = (tmp_path / "w.cwa").read_bytes()[cwa_writer.HEADER_BYTES :]
    (tmp_path / "w.cwa").write_bytes(content + second)
    wrist = dataclasses.replace(PLAIN, cut=dataclasses.replace(PLAIN.cut, sensors=("wrist",)))
    with pytest.raises(ValueError, match=r"w.cwa: 2,259 of 3,765 blocks are of another session"):
        ingested(people.one_file_each(tmp_path, "wrist")[0], tmp_path / "out", wrist)


def test_who_breaks_loses_what_was_made_of_other_bytes(cohort, tmp_path):
    raw, out, persons = only_a(cohort, tmp_path)
    (raw / "a_thigh.cwa").write_bytes(b"broken now")
    with pytest.raises(ValueError, match="none of the 1 recordings can be used; the first, a: a_thigh.cwa: "):
        run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    assert list(contents(out)) == ["failed/a.json", "movement.npz", "normalization.npz"]


def test_a_line_lost_from_the_table_takes_no_shard_away(cohort, tmp_path):
    _, out, persons = only_a(cohort, tmp_path)
    alone = [dataclasses.replace(one, sensors=one.sensors[:1]) for one in persons]
    with pytest.raises(ValueError, match="none of the 1 recordings can be used; the first, a: no file of the thigh"):
        run.ingest(alone, SETTINGS, out, run.local(1), progress=False)
    _, found = run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    assert not found[0].written


def test_notes_of_people_who_are_no_longer_there_go(persons, tmp_path):
    out = tmp_path / "out"
    run.ingest(persons, SETTINGS, out, run.local(1), progress=False)
    run.ingest([one for one in persons if one.name != "broken"], SETTINGS, out, run.local(1), progress=False)
    assert not (out / "failed").exists()


def test_nothing_but_short_says_so_and_leaves_room_for_other_settings(persons, tmp_path):
    long = dataclasses.replace(SETTINGS, cut=dataclasses.replace(SETTINGS.cut, window_s=900.0, stride_s=900.0))
    with pytest.raises(ValueError, match=r"is left out \(.*short 2,21\d s\): choose a shorter --window"):
        run.ingest(persons, long, tmp_path / "out", run.local(1), progress=False)
    assert list(contents(tmp_path / "out")) == ["failed/broken.json"]
    manifest, _ = run.ingest(persons, SETTINGS, tmp_path / "out", run.local(1), progress=False)
    assert manifest["windows"] == 36


@pytest.mark.parametrize("start", ["2020-03-02T12:00:00", "2024-03-02T12:00:00"])
def test_sensors_that_share_no_time(tmp_path, start):
    both(tmp_path)
    cwa_writer.write(tmp_path / "thigh.cwa", signal("thigh", 3).acceleration, rate_hz=50, start=start)
    with pytest.raises(ValueError, match="share no time by their clocks"):
        ingested(one_person(tmp_path), tmp_path / "out")
