"""Opportunity: files in its layout (250 columns, milli-g, lost packets) in, recordings out, and its TFDS builder."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines.builders import build, labelled_from_tfds
from data_pipelines.prepare import prepare
from data_pipelines.readers import opportunity
from data_pipelines.readers.opportunity import read, recording_files, session_files

HIP, KNEE, BACK, SHANK, LOCOMOTION = 5, 2, 17, 20, 244  # first columns, counted from 1
HOUR_US = 3_600_000_000


def session(rows: int = 90, label: int = 0) -> np.ndarray:
    """[rows, 250]: the clock of 30 Hz in whole milliseconds; every other column holds its own number."""
    data = np.tile(np.arange(1.0, 251), (rows, 1))
    data[:, 0] = np.rint(np.arange(rows) * 1000 / 30)
    data[:, LOCOMOTION - 1] = label
    return data


def worn(rows: int = 90, label: int = 1, seed: int = 0) -> np.ndarray:
    """A session in which HIP and RKN^ read 1000 milli-g on y, as in standing, with noise."""
    data = session(rows, label)
    noise = np.random.default_rng(seed).integers(-20, 20, (rows, 6))
    data[:, KNEE - 1 : HIP + 2] = [0, 1000, 0, 0, 1000, 0] + noise
    return data


def text(data: np.ndarray) -> str:
    return "".join(" ".join("NaN" if v != v else f"{v:g}" for v in row) + "\n" for row in data)


def write(folder: Path, data: np.ndarray | str, name: str = "S1-ADL1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.dat").write_text(data if isinstance(data, str) else text(data))
    return folder / f"{name}.dat"


def test_columns_units_and_axes(tmp_path):
    recording = read(write(tmp_path, session()))
    assert (recording.subject, recording.name, recording.rate_hz) == ("S1", "S1", 30)
    assert recording.channels == ("back_x", "back_y", "back_z", "thigh_x", "thigh_y", "thigh_z")
    # HIP is (5, 6, 7) milli-g, y up and z to the right; RKN^ (2, 3, 4), y up and z forward.
    assert recording.acceleration.dtype == np.float32
    expected = np.float32([-0.006, -0.007, 0.005, -0.003, -0.002, -0.004])
    np.testing.assert_allclose(recording.acceleration, np.tile(expected, (90, 1)), rtol=1e-6)
    np.testing.assert_array_equal(recording.time[:4], [0, 33_000, 67_000, 100_000])
    assert recording.label.dtype == np.int16 and set(recording.label) == {-1}
    assert recording.activities == {1: "standing", 2: "walking", 4: "sitting", 5: "lying"}
    blanks = read(write(tmp_path / "blanks", text(session()).replace("\n", " \n")))
    np.testing.assert_array_equal(blanks.acceleration, recording.acceleration)


def test_labels_and_a_clock_that_does_not_begin_at_zero(tmp_path):
    data = session()
    data[:, 0] += 5_000
    data[:, LOCOMOTION - 1] = np.repeat([0, 2, 5], 30)
    data[45, LOCOMOTION - 1] = np.nan
    recording = read(write(tmp_path, data))
    assert recording.time[0] == 0 and recording.time[-1] == 2_967_000
    expected = np.repeat([-1, 2, 5], 30)
    expected[45] = -1
    np.testing.assert_array_equal(recording.label, expected)


def test_short_losses_are_bridged_and_long_ones_become_gaps(tmp_path):
    data = session(300)
    data[:, HIP - 1] = np.arange(300)  # x of HIP rises by 1 milli-g a row
    data[:, HIP] = np.nan_to_num(data[:, HIP])
    data[50:53, HIP - 1 : HIP + 2] = np.nan  # 4 steps
    data[100:114, HIP] = np.nan  # one axis only; 15 steps of 33.3 ms are 0.5 s
    data[150:165, KNEE - 1 : KNEE + 2] = np.nan  # 16 steps: too long
    data[:2, KNEE - 1 : KNEE + 2] = np.nan  # nothing before it
    data[298:, HIP - 1] = np.nan  # nothing after it
    data[200:220, BACK - 1 :] = np.nan  # sensors that are not read
    data[200:220, LOCOMOTION - 1] = 0
    recording = read(write(tmp_path, data))
    rows = np.r_[2:150, 165:298]
    np.testing.assert_array_equal(recording.time, np.rint(rows * 1000 / 30).astype(int) * 1000)
    back_z = recording.acceleration[:, 2]  # x of HIP
    # Lines in time, whose whole milliseconds are up to 0.5 ms (0.015 of a step) from the row's.
    np.testing.assert_allclose(back_z, rows / 1000, atol=0.02e-3)
    bridged = (rows >= 50) & (rows < 53)
    assert not np.array_equal(back_z[bridged], np.float32(rows[bridged] / 1000)) and np.isfinite(back_z).all()


def test_sessions_of_a_person_are_one_recording(tmp_path):
    folder = tmp_path / "OpportunityUCIDataset" / "dataset"
    for name, label in (
        ("S2-Drill", 5),
        ("S2-ADL1", 0),
        ("S2-ADL3", 2),
        ("S3-ADL1", 0),
        ("S10-ADL1", 0),
        ("S2-ADL6", 0),
    ):
        write(folder, session(label=label), name)
    (folder / "column_names.txt").write_text("Columns\n")
    found = recording_files(tmp_path)
    assert found == recording_files(folder) == {"S2": folder / "S2-ADL1.dat", "S3": folder / "S3-ADL1.dat"}
    assert [path.stem for path in session_files(found["S2"])] == ["S2-ADL1", "S2-ADL3", "S2-Drill"]
    recording = read(found["S2"])
    assert recording.subject == "S2" and (np.diff(recording.time) > 0).all()
    np.testing.assert_array_equal(recording.label, np.repeat([-1, 2, 5], 90))
    np.testing.assert_array_equal(recording.time[::90], np.arange(3) * HOUR_US)
    write(tmp_path / "copy", session(), "S3-Drill")
    with pytest.raises(ValueError, match="are of the same subject, keep one of these folders"):
        recording_files(tmp_path)


def test_a_session_longer_than_an_hour(tmp_path):
    rows = 30 * 3600 + 2
    line = text(session(1)).split(" ", 1)[1]
    write(tmp_path, "".join(f"{round(i * 1000 / 30)} {line}" for i in range(rows - 2, rows)), "S1-ADL2")
    clock = np.r_[0:60, rows - 30 : rows]  # a long gap inside
    path = write(tmp_path, "".join(f"{round(i * 1000 / 30)} {line}" for i in clock))
    with pytest.raises(ValueError, match="S1-ADL2.dat: only 2 rows, expected at least 30"):
        read(path)
    write(tmp_path, session(), "S1-ADL2")
    recording = read(path)
    assert recording.time[89] > HOUR_US and recording.time[90] == 2 * HOUR_US


def test_a_sensor_that_is_lost_all_the_time(tmp_path):
    lost = session()
    lost[:, KNEE - 1] = np.nan
    path = write(tmp_path, lost)
    write(tmp_path, session(label=2), "S1-ADL2")
    with pytest.warns(
        UserWarning, match=r"S1-ADL1.dat: left out, as the thigh sensor \(columns 2 to 4\) is NaN in all 90"
    ):
        recording = read(path)
    assert set(recording.label) == {2} and len(recording.time) == 90
    (tmp_path / "S1-ADL2.dat").unlink()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="none of the 1 files of S1 has values of both"):
        read(path)


def with_cell(row: int, column: int, value: str):
    def damage(lines: list[str]) -> list[str]:
        cells = lines[row - 1].split(" ")
        cells[column - 1] = value
        return [*lines[: row - 1], " ".join(cells), *lines[row:]]

    return damage


BROKEN = {
    "249 columns": (lambda lines: [line.rsplit(" ", 1)[0] for line in lines], "row 1 has 249 columns, expected 250"),
    "251 columns": (lambda lines: [line + " 1" for line in lines], "row 1 has 251 columns, expected 250"),
    "cut off": (lambda lines: [*lines[:-1], lines[-1][:40]], r"row 90 has \d+ columns, expected 250"),
    "no number": (with_cell(7, HIP + 1, "abc"), "column 6 of row 7 is 'abc', expected a number or NaN"),
    "infinite": (with_cell(7, KNEE, "inf"), "column 2 of row 7 is inf"),
    "unknown label": (
        with_cell(7, LOCOMOTION, "3"),
        r"label 3 \(column 244\) of row 7 is unknown, Locomotion has 0, 1, 2, 4, 5",
    ),
    "fraction as label": (with_cell(7, LOCOMOTION, "1.5"), "label 1.5 .* of row 7 is unknown"),
    "no clock": (with_cell(7, 1, "NaN"), "column 1 of row 7 is nan, expected milliseconds"),
    "clock stands still": (with_cell(7, 1, "167"), "the timestamp of row 7 repeats the one before"),
    "clock goes back": (with_cell(7, 1, "3"), "the timestamp of row 7 goes back by 0.164 s"),
    "another rate": (lambda lines: lines[::2], r"sampling rate is 14.\d+ Hz .* expected 30 Hz"),
    "too short": (lambda lines: lines[:29], "only 29 rows, expected at least 30"),
    "not in milli-g": (
        lambda lines: text(np.where(np.isin(np.arange(250), range(1, 7)), worn() * 1000, worn())).splitlines(),
        "back sensor seems to be in raw counts",
    ),
    "empty": (lambda lines: [], "cannot be read as csv: Empty CSV file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path, case):
    damage, sentence = BROKEN[case]
    lines = damage(text(session()).splitlines())
    path = write(tmp_path, "".join(line + "\n" for line in lines))
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_files_that_are_none_of_its(tmp_path):
    with pytest.raises(ValueError, match="the name is no file of Opportunity"):
        read(tmp_path / "S5-ADL1.dat")
    with pytest.raises(FileNotFoundError, match="S1-ADL1.dat does not exist"):
        read(tmp_path / "S1-ADL1.dat")


def test_a_sensor_worn_upside_down_is_noticed(tmp_path):
    data = worn()
    data[:, KNEE] *= -1
    with pytest.warns(UserWarning, match="S1: while standing the thigh sensor reads"):
        read(write(tmp_path, data))


def test_build_and_read_back(tmp_path):
    """Two people through the builder: at 50 Hz, gravity where HUNT4 has it, a gap between their sessions."""
    source = tmp_path / "OpportunityUCIDataset" / "dataset"
    for i, name in enumerate(("S1-ADL1", "S1-Drill", "S4-ADL2")):
        write(source, worn(300, label=1, seed=i), name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = build("opportunity", tmp_path, tmp_path / "tfds")
        first, second = labelled_from_tfds(folder)
    assert folder == tmp_path / "tfds" / "opportunity" / "1.0.0"
    assert (first.subject, second.subject, first.rate_hz) == ("S1", "S4", 50)
    assert first.counts.shape == (6, 1000) and first.segments == (slice(0, 500), slice(500, 1000))
    np.testing.assert_allclose(first.counts.mean(axis=1) * first.scale_g, [-1, 0, 0, -1, 0, 0], atol=0.005)
    assert set(first.label) == {1} and first.activities == opportunity.ACTIVITIES
    assert first.time[0] == 0 and first.time[500] == HOUR_US
    assert first.scale_g * 32_767 > 15  # HIP goes beyond 8 g
    info = tfds.builder_from_directory(str(folder)).info
    assert info.metadata["licence"] == "CC BY 4.0" and "Roggen" in info.citation and "uci.edu" in info.homepage


def test_prepare(tmp_path):
    write(tmp_path / "raw", worn(30 * 310), "S1-ADL1")
    manifest = prepare(tmp_path / "raw", "opportunity", tmp_path / "out", workers=1, progress=False)
    (entry,) = manifest["recordings"]
    assert (entry["name"], entry["windows"], entry["source"]["files"]) == ("S1", 1, 1)
    assert manifest["activities"] == {"1": "standing"} and manifest["sample_rate_hz"] == 50
