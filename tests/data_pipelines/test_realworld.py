"""RealWorld (2016): zips in its layout in, one recording a person out, and its TFDS builder."""

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines.builders import build, labelled_from_tfds
from data_pipelines.prepare import prepare
from data_pipelines.readers import realworld
from data_pipelines.readers.realworld import read, recording_files, subject_folders

G = 9.80665
START_MS = 1_435_993_000_000  # in July 2015; a multiple of 20
HEADER = "id,attr_time,attr_x,attr_y,attr_z"
UPRIGHT = {"waist": (1.0, 0.0, 0.0), "thigh": (0.0, 1.0, 0.0)}  # what the phones read in standing, g


def table(time_ms, signal_g) -> bytes:
    """A csv file: times [S] in ms, signal [3] or [S, 3] in g, written in m/s^2."""
    signal = np.broadcast_to(np.asarray(signal_g, float) * G, (len(time_ms), 3))
    rows = (f"{i},{t},{','.join(map(repr, v))}" for i, (t, v) in enumerate(zip(time_ms, signal.tolist(), strict=True)))
    return "\n".join([HEADER, *rows, ""]).encode()


def steady(seconds: float = 3, start_s: float = 0) -> np.ndarray:
    """Times of 50 Hz in ms."""
    return START_MS + round(start_s * 1000) + 20 * np.arange(round(seconds * 50))


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def both(activity: str, time_ms: np.ndarray, part: str = "") -> dict[str, bytes]:
    """The members of a zip: the two positions that are read, one that is not, and the readMe."""
    members = {f"acc_{activity}{part}_{place}.csv": table(time_ms, up) for place, up in UPRIGHT.items()}
    return members | {f"acc_{activity}{part}_chest.csv": b"not read", "readMe": b"> entries: 1"}


def write(root: Path, members: dict[str, bytes] | bytes, name: str = "acc_standing_csv.zip", subject: int = 1) -> Path:
    """The subject's folder, after one more zip in it."""
    folder = root / f"proband{subject}"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / name).write_bytes(members if isinstance(members, bytes) else packed(members))
    return folder


def test_units_axes_and_names(tmp_path):
    time = steady()
    waist, thigh = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    folder = write(
        tmp_path,
        {"acc_walking_waist.csv": table(time, waist), "acc_walking_thigh.csv": table(time, thigh)},
        "acc_walking_csv.zip",
    )
    recording = read(folder)
    assert (recording.subject, recording.name, recording.rate_hz) == ("proband1", "proband1", 50)
    assert recording.channels == ("back_x", "back_y", "back_z", "thigh_x", "thigh_y", "thigh_z")
    # Waist: x up, z forward. Thigh: y up, z forward.
    expected = np.float32([-0.1, -0.2, 0.3, -0.5, -0.4, -0.6])
    np.testing.assert_allclose(recording.acceleration, np.tile(expected, (150, 1)), rtol=1e-6)
    assert recording.acceleration.dtype == np.float32 and recording.label.dtype == np.int16
    np.testing.assert_array_equal(recording.time, time * 1000)
    assert set(recording.label) == {8}
    names = ["climbing down", "climbing up", "jumping", "lying", "running", "sitting", "standing", "walking"]
    assert recording.activities == dict(enumerate(names, start=1))


def test_two_clocks_on_one_grid(tmp_path):
    """Jittering, unequal, shifted and unsorted samples of a straight line give that line on multiples of 20 ms."""
    rng = np.random.default_rng(0)
    waist_ms = START_MS + 20 * np.arange(200) + rng.integers(-6, 7, 200)
    thigh_ms = START_MS + 507 + 20 * np.arange(300) + rng.integers(-6, 7, 300)

    def line(time_ms):
        return np.stack([1 + 0.1 * (time_ms - START_MS) / 1000, np.zeros(len(time_ms)), 0.2 * np.ones(len(time_ms))], 1)

    unsorted = rng.permutation(waist_ms)
    members = {
        "acc_walking_waist.csv": table(unsorted, line(unsorted)),
        "acc_walking_thigh.csv": table(thigh_ms, line(thigh_ms)),
    }
    recording = read(write(tmp_path, members, "acc_walking_csv.zip"))
    first, last = -(-thigh_ms[0] // 20), waist_ms[-1] // 20
    np.testing.assert_array_equal(recording.time, np.arange(first, last + 1) * 20_000)
    expected = 1 + 0.1 * (recording.time / 1000 - START_MS) / 1000
    np.testing.assert_allclose(-recording.acceleration[:, 0], expected, atol=1e-6)  # x of the waist
    np.testing.assert_allclose(-recording.acceleration[:, 4], expected, atol=1e-6)  # x of the thigh


def test_of_equal_times_the_first_counts_and_order_does_not_matter(tmp_path):
    time = np.repeat(steady(), 2)
    signal = np.tile([[1.0, 0, 0], [5.0, 5, 5]], (150, 1))
    swapped = np.r_[20:40, 0:20, 40:300]
    members = both("standing", steady()) | {"acc_standing_waist.csv": table(time[swapped], signal[swapped])}
    recording = read(write(tmp_path, members))
    np.testing.assert_array_equal(recording.time, steady() * 1000)
    np.testing.assert_allclose(recording.acceleration, np.tile([-1, 0, 0, -1, 0, 0], (150, 1)), atol=1e-6)


def test_gaps_of_either_phone_stay(tmp_path):
    time = steady(10)
    waist = np.delete(time, np.r_[100:124])  # 25 steps: 0.5 s, bridged
    thigh = np.delete(time, np.r_[300:325])  # 26 steps
    members = {"acc_lying_waist.csv": table(waist, [0, 0, 1]), "acc_lying_thigh.csv": table(thigh, [0, 0, 1])}
    recording = read(write(tmp_path, members, "acc_lying_csv.zip"))
    np.testing.assert_array_equal(recording.time, np.delete(time, np.r_[300:325]) * 1000)


def test_activities_are_joined_in_order_of_time(tmp_path):
    """The one that began first keeps a time that two activities claim."""
    write(tmp_path, both("walking", steady(3)), "acc_walking_csv.zip")
    write(tmp_path, both("climbingdown", steady(3, start_s=60)), "acc_climbingdown_csv.zip")
    folder = write(tmp_path, both("standing", steady(3, start_s=2)))
    recording = read(folder)
    assert (np.diff(recording.time) > 0).all()
    np.testing.assert_array_equal(recording.label, np.repeat([8, 7, 1], [150, 100, 150]))
    assert recording.time[250] - recording.time[0] == 60_000_000


def test_parts_nested_zips_and_unpacked_files(tmp_path):
    """The variants of the published archive: zips in a zip, parts, a part number without a first part."""
    inner = {
        "acc_climbingup_1_csv.zip": packed(both("climbingup", steady(3))),
        "acc_climbingup_2_csv.zip": packed(both("climbingup", steady(3, start_s=60), "_2")),
    }
    write(tmp_path, inner, "acc_climbingup_csv.zip")
    write(tmp_path, both("walking", steady(3, start_s=100), "_2"), "acc_walking_csv.zip")
    write(tmp_path, both("running", steady(3, start_s=120)), "acc_running_1_csv.zip")
    write(tmp_path, both("running", steady(3, start_s=130), "_2"), "acc_running_2_csv.zip")
    folder = write(tmp_path, {"gyr_running_waist.csv": b""}, "gyr_running_csv.zip")
    (folder / "data" / "acc_sitting_csv").mkdir()
    sitting = {"waist": (1, 0, 0), "thigh": (0, 0, 1)}
    for place, up in sitting.items():
        (folder / "data" / "acc_sitting_csv" / f"acc_sitting_{place}.csv").write_bytes(table(steady(3, 200), up))
    recording = read(folder)
    np.testing.assert_array_equal(recording.label, np.repeat([2, 8, 5, 6], [300, 150, 300, 150]))
    starts = (recording.time[::150] // 1000 - START_MS) / 1000
    np.testing.assert_array_equal(starts, [0, 60, 100, 120, 130, 200])
    assert [path.name for path in recording_files(folder)] == [
        "acc_climbingup_csv.zip",
        "acc_running_1_csv.zip",
        "acc_running_2_csv.zip",
        "acc_sitting_thigh.csv",
        "acc_sitting_waist.csv",
        "acc_walking_csv.zip",
    ]


def test_parts_may_differ_between_the_phones(tmp_path):
    """One phone was started anew, the other ran on."""
    members = both("walking", steady(6)) | {
        "acc_walking_thigh.csv": table(steady(2), UPRIGHT["thigh"]),
        "acc_walking_2_thigh.csv": table(steady(2, start_s=4), UPRIGHT["thigh"]),
    }
    recording = read(write(tmp_path, members, "acc_walking_csv.zip"))
    np.testing.assert_array_equal(recording.time, np.r_[steady(2), steady(2, start_s=4)] * 1000)


def test_what_lacks_a_position_is_left_out(tmp_path):
    jumping = both("jumping", steady(3, start_s=9))
    del jumping["acc_jumping_thigh.csv"]
    folder = write(tmp_path, jumping, "acc_jumping_csv.zip")
    with (
        pytest.warns(UserWarning, match="proband1: jumping is left out, as it has no file of the thigh"),
        pytest.raises(ValueError, match="proband1: holds no activity with both waist and thigh"),
    ):
        read(folder)
    write(tmp_path, both("standing", steady()))
    with pytest.warns(UserWarning, match="jumping is left out"):
        assert set(read(folder).label) == {7}
    apart = {"acc_lying_waist.csv": table(steady(), [1, 0, 0]), "acc_lying_thigh.csv": table(steady(3, 60), [1, 0, 0])}
    write(tmp_path, apart, "acc_jumping_csv.zip")
    with pytest.warns(UserWarning) as told:
        read(folder)
    assert any("lying is left out" in str(w.message) and "share no time" in str(w.message) for w in told)


def test_subjects(tmp_path):
    assert subject_folders(tmp_path) == {}
    for subject in (10, 2, 1):
        write(tmp_path / "realworld2016_dataset", both("standing", steady()), subject=subject)
    assert list(subject_folders(tmp_path)) == ["proband1", "proband2", "proband10"]
    (tmp_path / "__MACOSX" / "proband1").mkdir(parents=True)
    assert subject_folders(tmp_path) == subject_folders(tmp_path / "realworld2016_dataset")
    write(tmp_path / "copy", both("standing", steady()), subject=2)
    with pytest.raises(ValueError, match="proband2 name the same subject, keep one"):
        subject_folders(tmp_path)


def _changed(old: bytes, new: bytes) -> dict[str, bytes]:
    members = both("standing", steady())
    assert old in members["acc_standing_waist.csv"]
    return members | {"acc_standing_waist.csv": members["acc_standing_waist.csv"].replace(old, new, 1)}


def _flipped() -> bytes:
    content = bytearray(packed(both("standing", steady())))
    content[200] ^= 255
    return bytes(content)


_T = str(START_MS + 20).encode()
BROKEN = {
    "no zip": (b"PK but no zip", "not a readable zip file .*copy it again"),
    "cut off": (packed(both("standing", steady()))[:-30], "not a readable zip file"),
    "flipped byte": (_flipped(), "not a readable zip file"),
    "damaged inner zip": (
        {"acc_standing_1_csv.zip": b"PK"},
        "acc_standing_csv.zip/acc_standing_1_csv.zip: not a readable zip file",
    ),
    "zips in zips in zips": (
        {"acc_standing_csv.zip": packed({"acc_standing_csv.zip": packed(both("standing", steady()))})},
        "acc_standing_csv.zip/acc_standing_csv.zip: holds a further zip, acc_standing_csv.zip",
    ),
    "missing column": (
        _changed(b"attr_y", b"attr_why"),
        "waist.csv: column attr_y is missing in line 1, found: id, attr",
    ),
    "column twice": (_changed(b"id", b"attr_y"), "column attr_y is missing"),
    "empty": ({"acc_standing_waist.csv": b""}, "column attr_time is missing in line 1, found: nothing"),
    "header only": ({"acc_standing_waist.csv": f"{HEADER}\n".encode()}, "the file has no rows"),
    "no number": (
        _changed(_T + b",", _T + b",abc"),
        r"attr_x of row 2 \(line 3\) is 'abc.*', expected a number in m/s",
    ),
    "empty cell": (_changed(_T, b""), r"attr_time of row 2 \(line 3\) is empty or NaN"),
    "infinite": (_changed(_T + b"," + repr(G).encode(), _T + b",inf"), "attr_x of row 2 is inf"),
    "seconds": (
        _changed(_T, _T[:-3]),
        r"attr_time of row 2 \(line 3\) is 1435993000, expected milliseconds since 1970",
    ),
    "nanoseconds": (_changed(_T, _T + b"000000"), "expected milliseconds since 1970"),
    "ragged": (_changed(b"\n1,", b"\n1,1,"), r"row 2 \(line 3\) has 6 columns, the header 5"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path, case):
    content, sentence = BROKEN[case]
    folder = write(tmp_path, content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read(folder)
    message = str(caught.value)
    assert message.startswith(str(folder / "data" / "acc_standing_csv.zip")) and "\n" not in message


def test_an_absurd_size_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(realworld, "MAX_MEMBER_BYTES", 1_000)
    with pytest.raises(ValueError, match=r"acc_standing_thigh.csv would unpack to \d+ bytes, expected at most 1000"):
        read(write(tmp_path, both("standing", steady())))


def test_values_that_are_no_acceleration_in_metres(tmp_path):
    members = {f"acc_standing_{place}.csv": table(steady(), np.multiply(up, 1000)) for place, up in UPRIGHT.items()}
    with pytest.raises(ValueError, match="proband1: standing: the back sensor seems to be in raw counts"):
        read(write(tmp_path, members))


def test_a_phone_worn_upside_down_is_noticed(tmp_path):
    members = both("standing", steady()) | {"acc_standing_waist.csv": table(steady(), [-1, 0, 0])}
    with pytest.warns(UserWarning, match="proband1: while standing the back sensor reads"):
        read(write(tmp_path, members))


def test_build_and_read_back(tmp_path):
    source = tmp_path / "realworld2016_dataset"
    for subject in (1, 12):
        write(source, both("standing", steady(10)), subject=subject)
        write(source, both("climbingup", steady(5, start_s=60)), "acc_climbingup_csv.zip", subject)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = build("realworld", tmp_path, tmp_path / "tfds")
        first, second = labelled_from_tfds(folder)
    assert folder == tmp_path / "tfds" / "realworld" / "1.0.0"
    assert (first.subject, second.subject, first.rate_hz) == ("proband1", "proband12", 50)
    assert first.counts.shape == (6, 750) and first.segments == (slice(0, 500), slice(500, 750))
    np.testing.assert_allclose(first.counts.T * first.scale_g, np.tile([-1, 0, 0, -1, 0, 0], (750, 1)), atol=1e-3)
    np.testing.assert_array_equal(first.label, np.repeat([7, 2], [500, 250]))
    assert first.activities == realworld.ACTIVITIES and first.time[0] == START_MS * 1000
    info = tfds.builder_from_directory(str(folder)).info
    assert "research" in info.metadata["licence"] and "Sztyler" in info.citation and "uni-mannheim" in info.homepage


def test_prepare(tmp_path):
    folder = write(tmp_path / "raw", both("standing", steady(310)))
    write(tmp_path / "raw", both("walking", steady(3, start_s=400)), "acc_walking_csv.zip")
    manifest = prepare(tmp_path / "raw", "realworld", tmp_path / "out", workers=1, progress=False)
    (entry,) = manifest["recordings"]
    assert (entry["name"], entry["windows"], entry["source"]["files"]) == (folder.name, 1, 2)
