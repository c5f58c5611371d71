"""USC-HAD's published layout, written by hand: trials in order, quirks of the fields, axes, and the builder."""

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds

from data_pipelines.builders import build, labelled_from_tfds
from data_pipelines.manifest import read_manifest
from data_pipelines.readers import usc_had
from launch import prepare as launch_prepare


def signal(samples=400, seed=0):
    """[N, 6]: standing, x up and y a little down, in g; rotation in degrees a second."""
    rng = np.random.default_rng(seed)
    rest = np.array([0.98, -0.15, 0.1, 0, 0, 0])
    return rest + rng.normal(0, [0.02] * 3 + [30] * 3, (samples, 6))


def write(folder, activity, trial, readings, number="activity_number", said=None):
    """One published file: its fields are texts, and the activity's number may be spelt in two ways."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"a{activity}t{trial}.mat"
    fields = {"title": "USC Human Motion Database", "subject": "1", "trial": str(trial), "sensor_readings": readings}
    scipy.io.savemat(path, fields | {number: str(activity if said is None else said)})
    return path


def test_trials_follow_each_other(tmp_path):
    folder = tmp_path / "Subject3"
    trials = {(10, 1): signal(150, 1), (9, 2): signal(200, 2), (9, 1): signal(300, 3)}
    for (activity, trial), readings in trials.items():
        write(folder, activity, trial, readings, "activity_numbr" if trial == 2 else "activity_number")
    (folder / "notes.txt").write_text("")
    recording = usc_had.read(folder)
    assert (recording.subject, recording.name, recording.rate_hz) == ("Subject3", "Subject3", 100)
    assert recording.channels == ("thigh_x", "thigh_y", "thigh_z")
    x, y, z = np.concatenate([trials[9, 1], trials[9, 2], trials[10, 1]])[:, :3].T
    assert recording.acceleration.dtype == np.float32
    np.testing.assert_allclose(recording.acceleration, np.stack([-x, -z, -y], axis=1), atol=1e-6)
    np.testing.assert_array_equal(recording.label, np.repeat([9, 10], [500, 150]))
    assert recording.activities[10] == "sleeping" and len(recording.activities) == 12
    step = np.diff(recording.time)
    assert recording.time[0] == 0
    np.testing.assert_array_equal(np.flatnonzero(step != 10_000), [299, 499])
    np.testing.assert_array_equal(step[[299, 499]], 60_000_000)


def test_where_the_folders_are_found(tmp_path):
    root = tmp_path / "USC-HAD" / "USC-HAD"
    for number in (2, 10):
        write(root / f"Subject{number}", 9, 1, signal())
    (root / "Subject4").mkdir()
    (root / "Subject5").write_text("a file")
    (root / "1.0.0").mkdir()
    for folder in (tmp_path, root):
        assert list(usc_had.subject_folders(folder)) == ["Subject10", "Subject2"]
    write(tmp_path / "copy" / "Subject2", 9, 1, signal())
    with pytest.raises(ValueError, match="Subject2 are of the same person, keep one of them"):
        usc_had.subject_folders(tmp_path)
    with pytest.raises(ValueError, match="Subject4: holds no trial, expected files like a1t1.mat"):
        usc_had.read(root / "Subject4")


@pytest.mark.parametrize("kept", [0, 100, 2_000], ids=["empty", "header cut", "data cut"])
def test_a_damaged_file(tmp_path, kept):
    path = write(tmp_path, 9, 1, signal())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a9t1\.mat: not a readable MATLAB file \(.*copy it again$") as caught:
        usc_had.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_fields_that_do_not_fit(tmp_path):
    path = write(tmp_path, 9, 1, signal(), "activity_numbr", said=8)
    with pytest.warns(UserWarning, match=r"a9t1\.mat: activity_numbr is '8', the name says 9, which is taken"):
        assert set(usc_had.read(tmp_path).label) == {9}
    for said in ("09", 9.0, "9 "):
        write(tmp_path, 9, 1, signal(), said=said)
        assert set(usc_had.read(tmp_path).label) == {9}
    write(tmp_path, 9, 1, signal()[:, :5])
    with pytest.raises(ValueError, match=r"sensor_readings is float64 \[400, 5\], expected numbers \[N, 6\]"):
        usc_had.read(tmp_path)
    scipy.io.savemat(path, {"activity_number": "9"})
    with pytest.raises(ValueError, match="sensor_readings is missing"):
        usc_had.read(tmp_path)
    write(tmp_path, 9, 1, signal() * 9.81)
    with pytest.raises(ValueError, match="thigh sensor seems to be in m/s"):
        usc_had.read(tmp_path)
    readings = signal()
    readings[5, 1] = np.nan
    write(tmp_path, 9, 1, readings)
    with pytest.raises(ValueError, match="thigh_y of row 6 is nan"):
        usc_had.read(tmp_path)
    write(tmp_path, 9, 1, np.empty((0, 6)))
    with pytest.raises(ValueError, match="sensor_readings is empty"):
        usc_had.read(tmp_path)
    path.unlink()
    write(tmp_path, 13, 1, signal())
    with pytest.raises(ValueError, match=r"a13t1\.mat: activity 13 of the name is unknown, expected 1 to 12"):
        usc_had.read(tmp_path)


def test_a_file_that_does_not_say_its_activity(tmp_path):
    scipy.io.savemat(tmp_path / "a9t1.mat", {"sensor_readings": signal()})
    np.testing.assert_array_equal(usc_had.read(tmp_path).label, np.full(400, 9))


def test_a_sensor_worn_upside_down_is_warned_of(tmp_path):
    write(tmp_path / "Subject1", 9, 1, signal() * [-1, 1, -1, 1, 1, 1])
    with pytest.warns(UserWarning, match="^Subject1: while standing the thigh sensor .* up is [+]x"):
        usc_had.read(tmp_path / "Subject1")


def test_build(tmp_path):
    for subject in ("Subject1", "Subject12"):
        write(tmp_path / "USC-HAD" / subject, 9, 1, signal())
        write(tmp_path / "USC-HAD" / subject, 11, 1, signal(300))
    folder = build("usc_had", tmp_path, tmp_path / "tfds")
    recordings = labelled_from_tfds(folder)
    assert folder == tmp_path / "tfds" / "usc_had" / "1.0.0"
    assert [r.subject for r in recordings] == ["Subject1", "Subject12"]
    for r in recordings:
        assert (r.channels, r.rate_hz, r.scale_g) == (usc_had.CHANNELS, 50, 1 / 4096)
        assert r.counts.shape == (3, 350) and r.segments == (slice(0, 200), slice(200, 350))
        np.testing.assert_array_equal(r.label, np.repeat([9, 11], [200, 150]))
        np.testing.assert_allclose(r.counts.mean(axis=1) / 4096, [-0.98, -0.1, 0.15], atol=0.01)
    assert tfds.builder_from_directory(str(folder)).info.metadata["licence"] == "research use, see homepage"


def test_prepare_takes_the_thigh(tmp_path):
    for activity in (1, 9):
        write(tmp_path / "raw" / "Subject1", activity, 1, signal(1_000))
    flags = f"--layout usc_had --input {tmp_path / 'raw'} --out {tmp_path / 'out'} --window 4 --workers 1"
    assert launch_prepare.main(flags.split()) == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest["channels"] == ["thigh_x", "thigh_y", "thigh_z"]
    assert manifest["recordings"][0]["windows"] == 4 and manifest["recordings"][0]["source"]["files"] == 2
