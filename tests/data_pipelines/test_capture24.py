"""Capture-24: the reader, its label sets, the benchmark's windows and split, and the TFDS data set."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import build, each_from_tfds, labelled_from_tfds
from data_pipelines.contract import Recording
from data_pipelines.labelled import load_labelled, load_set
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.readers import capture24
from data_pipelines.readers.capture24 import DICTIONARY, benchmark_split, label_sets, read, windows_10s
from data_pipelines.shards import Cut

START = np.datetime64("2016-11-13T02:18:00", "us")
SLEEP, OFFICE, WALK, OTHER = (
    "7030 sleeping;MET 0.95",
    "11580 office, general;MET 1.5",
    "17160 walking;MET 3.5",
    "9 rest",
)
DICTIONARY_LINES = [
    "annotation,label:WillettsSpecific2018,label:Walmsley2020,label:Doherty2018",
    f"{SLEEP},sleep,sleep,sleep",
    f'"{OFFICE}",sitting,sedentary,sedentary',
    f"{WALK},walking,light,walking",
    f"{OTHER},,sedentary,",  # two of its three sets leave it out
]
DAY = [SLEEP] * 100 + [""] * 20 + [WALK] * 80 + [OFFICE] * 60 + [OTHER] * 40  # 3 s


def lines(annotations=DAY) -> list[str]:
    """Header and one row for each annotation, 100 Hz, z at 0.95 g."""
    times = START + np.arange(len(annotations)) * np.timedelta64(10, "ms")
    cells = [f'"{a}"' if "," in a else a for a in annotations]
    return ["time,x,y,z,annotation"] + [
        f"{str(t).replace('T', ' ')},0.1,-0.{i % 10},0.95,{a}"
        for i, (t, a) in enumerate(zip(times, cells, strict=True))
    ]


def write(folder: Path, content: list[str] | None = None, name: str = "P001", dictionary=DICTIONARY_LINES) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / DICTIONARY).write_text("\n".join(dictionary) + "\n")
    path = folder / f"{name}.csv.gz"
    path.write_bytes(gzip.compress(("\n".join(lines() if content is None else content) + "\n").encode()))
    return path


def with_cell(content: list[str], row: int, column: int, value: str) -> list[str]:
    """Copy of the lines with one cell of a data row (from 1) replaced."""
    cells = content[row].split(",")
    cells[column] = value
    return [*content[:row], ",".join(cells), *content[row + 1 :]]


# The codes of each stretch of DAY are places of the labels in alphabetical order.
CODES = {
    "Walmsley2020": ([2, -1, 0, 1, 1], ["light", "sedentary", "sleep"]),
    "Doherty2018": ([1, -1, 2, 0, -1], ["sedentary", "sleep", "walking"]),
    "WillettsSpecific2018": ([1, -1, 2, 0, -1], ["sitting", "sleep", "walking"]),
    "annotation": ([2, -1, 1, 0, 3], [OFFICE, WALK, SLEEP, OTHER]),
}


@pytest.mark.parametrize("block", [1 << 23, 2000])  # in one piece and in several, each with a dictionary of its own
@pytest.mark.parametrize("label_set", CODES)
def test_round_trip(tmp_path, monkeypatch, label_set, block):
    monkeypatch.setattr(capture24, "BLOCK_BYTES", block)
    recording = read(write(tmp_path), label_set)
    codes, names = CODES[label_set]
    assert (recording.subject, recording.name, recording.rate_hz) == ("P001", "P001", 100)
    assert recording.channels == ("wrist_x", "wrist_y", "wrist_z")
    assert recording.acceleration.dtype == np.float32 and recording.acceleration.shape == (300, 3)
    np.testing.assert_array_equal(recording.acceleration[13], np.float32([0.1, -0.3, 0.95]))
    np.testing.assert_array_equal(recording.time, START.astype(int) + 10_000 * np.arange(300))
    assert recording.label.dtype == np.int16
    np.testing.assert_array_equal(recording.label, np.repeat(codes, [100, 20, 80, 60, 40]))
    assert recording.activities == dict(enumerate(names))


def test_the_benchmarks_label_set_is_read_unless_another_is_chosen(tmp_path):
    path = write(tmp_path)
    np.testing.assert_array_equal(read(path).label, read(path, "Walmsley2020").label)
    assert list(label_sets(tmp_path)) == ["WillettsSpecific2018", "Walmsley2020", "Doherty2018", "annotation"]


@pytest.mark.parametrize("block", [1 << 23, 2000])
def test_rows_without_acceleration_become_gaps(tmp_path, monkeypatch, block):
    monkeypatch.setattr(capture24, "BLOCK_BYTES", block)
    content = lines()
    for row, column, value in [(50, 1, ""), (51, 2, "NaN"), (51, 3, "nan"), (290, 3, "")]:
        content = with_cell(content, row, column, value)
    with pytest.warns(UserWarning, match=r"P001.csv.gz: 3 of 300 rows have no acceleration, they become gaps") as told:
        recording = read(write(tmp_path, content))
    assert len(told) == 1
    whole, kept = read(write(tmp_path)), np.delete(np.arange(300), [49, 50, 289])
    np.testing.assert_array_equal(recording.time, whole.time[kept])
    np.testing.assert_array_equal(recording.label, whole.label[kept])
    np.testing.assert_array_equal(recording.acceleration, whole.acceleration[kept])


BROKEN = {
    "missing column": (
        lambda rows: [rows[0].replace("annotation", "label"), *rows[1:]],
        "column annotation is missing in line 1, found: time, x, y, z, label; expected time, x, y, z, annotation",
    ),
    "no number": (lambda rows: with_cell(rows, 207, 2, "abc"), r"y of row 207 \(line 208\) is 'abc', expected a numb"),
    "infinite": (lambda rows: with_cell(with_cell(rows, 9, 1, ""), 207, 3, "inf"), "wrist_z of row 207 is inf"),
    "no time": (
        lambda rows: with_cell(rows, 207, 0, "13.11.2016 02:18"),
        r"time of row 207 \(line 208\) is '13.11.2016 02:18', expected a time like 2016-11-13 02:18:00.010000",
    ),
    "empty time": (lambda rows: with_cell(rows, 207, 0, ""), r"time of row 207 \(line 208\) is empty or NaN"),
    "backwards": (
        lambda rows: [*with_cell(rows, 9, 1, ""), rows[5]],
        r"timestamp of row 301 \(line 302\) goes back by 2.95 s",
    ),
    "slow": (lambda rows: [rows[0], *rows[1::2], *rows[2:3]][:-1], "sampling rate is 50 Hz .* expected 100 Hz"),
    "unknown annotation": (
        lambda rows: with_cell(rows, 157, 4, "7031 dozing"),
        r"annotation of row 157 \(line 158\) is '7031 dozing', expected one of the 4 in annotation-label-dict",
    ),
    "m/s^2": (lambda rows: [row.replace(",0.95", ",9.6") for row in rows], "the wrist sensor seems to be in m/s.2"),
    "too short": (lambda rows: rows[:100], "only 99 rows, expected at least 100"),
    "all lost": (
        lambda rows: [row.replace(",0.95", ",") for row in rows],
        "300 of 300 rows have no acceleration, expected at least 100 that do",
    ),
    "cut off": (lambda rows: [*rows, rows[-1][:10]], r"row 301 \(line 302\) has 1 columns, the header 5"),
}


@pytest.mark.parametrize("block", [1 << 23, 2000])  # row numbers count on from piece to piece
@pytest.mark.parametrize("case", BROKEN)
def test_broken_rows(tmp_path, monkeypatch, case, block):
    monkeypatch.setattr(capture24, "BLOCK_BYTES", block)
    damage, sentence = BROKEN[case]
    path = write(tmp_path, damage(lines()))
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


PACKED = gzip.compress("\n".join(lines(DAY * 20)).encode(), mtime=0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"time,x,y,z,annotation\n", "not a readable gzip file"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (PACKED[: len(PACKED) // 2], "cannot be unpacked"),
        (PACKED[:-12] + bytes(4) + PACKED[-8:], "cannot be unpacked"),
    ],
)
def test_damaged_files(tmp_path, content, sentence):
    path = write(tmp_path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path)


@pytest.mark.parametrize(
    ("dictionary", "sentence"),
    [
        (["code,label:Walmsley2020", "1,sleep"], "column annotation is missing in line 1"),
        (["annotation,Walmsley2020", "1,sleep"], "no column label:<name of a label set> in line 1"),
        ([*DICTIONARY_LINES, f"{WALK},running,,"], "annotation '17160 walking;MET 3.5' has more than one row"),
        (
            ["annotation,label:Doherty2018", f"{WALK},walking"],
            "label set is 'Walmsley2020', expected one of Doherty2018",
        ),
    ],
)
def test_broken_dictionary(tmp_path, dictionary, sentence):
    path = write(tmp_path, dictionary=dictionary)
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith(f"{tmp_path / DICTIONARY}: ") and "\n" not in str(caught.value)


def test_files_of_a_folder(tmp_path):
    folder = tmp_path / "capture24"
    for name in ("P151", "P002"):
        write(folder, name=name)
    for name in ("metadata.csv", "._P003.csv.gz", "P4.csv.gz", "P005.csv"):
        (folder / name).touch()
    for given in (tmp_path, folder):  # the folder itself, and the one that it was unpacked into
        found = sources.find("capture24", given)
        assert [source.name for source in found] == ["P002", "P151"]
        assert sources.files_of(found[0]) == [folder / "P002.csv.gz", folder / DICTIONARY]
    before = sources.stamp(found[0])
    (folder / DICTIONARY).write_text("annotation,label:Walmsley2020\n")
    assert sources.stamp(found[0]) != before  # other labels, another recording
    (folder / DICTIONARY).unlink()
    for act in (lambda: sources.find("capture24", tmp_path), lambda: read(folder / "P002.csv.gz")):
        with pytest.raises(FileNotFoundError, match="capture24: annotation-label-dictionary.csv is missing, expected"):
            act()
    with pytest.raises(FileNotFoundError, match="nothing in layout capture24 found, expected files P001.csv.gz to P15"):
        (tmp_path / "empty").mkdir()
        sources.find("capture24", tmp_path / "empty")


def recording_of(label, time=None) -> Recording:
    label = np.asarray(label, np.int16)
    time = 1_003_450_000 + 10_000 * np.arange(len(label)) if time is None else time
    return Recording("P001", "P001", np.zeros((len(label), 3), np.float32), time, label, rate_hz=100)


def test_windows_have_the_most_frequent_label_that_is_not_missing():
    label = np.concatenate(
        [
            np.repeat([3, 1], [501, 499]),
            np.repeat([-1, 2, 0], [600, 250, 150]),  # missing ones have no vote
            np.repeat([2, 1], [500, 500]),  # the lower code of two as frequent
            np.repeat([-1], [1000]),  # left out
            np.repeat([-1, 1], [999, 1]),
            np.repeat([1], [999]),  # not whole
        ]
    )
    starts, labels = windows_10s(recording_of(label))
    assert starts.tolist() == [0, 1000, 2000, 4000] and labels.tolist() == [3, 2, 1, 1]
    assert starts.dtype == np.int64 and labels.dtype == np.int16


def test_windows_lie_on_the_clock_of_the_first_sample():
    """A lost sample costs its window only; what comes after a pause lies on the same grid of 10 s."""
    whole = recording_of(np.repeat([0, 1, 2, 3, 4], 1000))
    kept = np.delete(np.arange(5000), [1500, *range(2990, 3010)])
    cut = dataclasses.replace(
        whole, time=whole.time[kept], label=whole.label[kept], acceleration=whole.acceleration[kept]
    )
    starts, labels = windows_10s(cut)
    assert starts.tolist() == [0, 4000 - 21] and labels.tolist() == [0, 4]
    late = dataclasses.replace(whole, time=whole.time + np.where(np.arange(5000) < 1000, 0, 5_000_000))
    starts, labels = windows_10s(late)
    assert starts.tolist() == [0, 1500, 2500, 3500] and labels.tolist() == [0, 1, 2, 3]  # ties at the middles
    for none in (recording_of([]), recording_of([1] * 999), recording_of([-1] * 2000)):
        starts, labels = windows_10s(none)
        assert len(starts) == len(labels) == 0 and labels.dtype == np.int16
    with pytest.raises(ValueError, match="P001: holds no labels"):
        windows_10s(dataclasses.replace(whole, label=None))


def test_benchmark_split():
    assert benchmark_split(["P151", "P001", "P100", "P101"]) == (["P001", "P100"], ["P151", "P101"])
    assert [len(part) for part in benchmark_split(f"P{n:03d}" for n in range(1, 152))] == [100, 51]
    with pytest.raises(ValueError, match="subject is P152, expected P001 to P151"):
        benchmark_split(["P001", "P152"])


def test_prepare(tmp_path):
    write(tmp_path / "capture24")
    how = Cut(sensors=("wrist",), rate_hz=30, window_s=1, stride_s=1)
    prepare(tmp_path, "capture24", tmp_path / "out", PrepareSettings(how), workers=1, progress=False)
    (one,) = load_labelled(tmp_path / "out")
    assert one.rate_hz == 30 and one.activities == {0: "light", 1: "sedentary", 2: "sleep"}
    np.testing.assert_array_equal(one.label, np.repeat([2, -1, 0, 1], [30, 6, 24, 30]))


def test_build_and_read_back(tmp_path):
    """Both splits, every label set, at the rate recorded."""
    for name in ("P101", "P100"):
        write(tmp_path / "raw" / "capture24", name=name)
    folder = build("capture24", tmp_path / "raw", tmp_path / "tfds")
    assert folder == tmp_path / "tfds" / "capture24" / "1.0.0"
    info = tfds.builder_from_directory(str(folder)).info
    assert {split: info.splits[split].num_examples for split in info.splits} == {"train": 1, "test": 1}
    assert info.metadata["sample_rate_hz"] == 100 and info.metadata["licence"] == "CC BY 4.0"
    read_back = labelled_from_tfds(folder)
    assert [r.name for r in read_back] == ["P100", "P101"]
    raw = read(tmp_path / "raw" / "capture24" / "P100.csv.gz")
    for r in read_back:
        np.testing.assert_allclose(r.counts.T * r.scale_g, raw.acceleration, atol=0.51 / 4096)
        np.testing.assert_array_equal(r.time, raw.time)
        assert (r.rate_hz, r.channels) == (100, raw.channels)
    for label_set, (codes, names) in {**CODES, None: CODES["Walmsley2020"]}.items():
        for r in each_from_tfds(folder, label_set=label_set):
            np.testing.assert_array_equal(r.label, np.repeat(codes, [100, 20, 80, 60, 40]))
            assert r.label.dtype == np.int16 and r.activities == dict(enumerate(names))
    with pytest.raises(ValueError, match="label set is 'Walmsley', expected one of WillettsSpecific2018, Walmsley2020"):
        labelled_from_tfds(folder, label_set="Walmsley")


def test_a_part_of_the_people_can_be_built(tmp_path):
    """Nobody of the training split, in the folder in which the files lie."""
    write(tmp_path / "capture24", name="P120")
    (one,) = load_set("capture24", tmp_path)
    assert one.subject == "P120" and one.activities[2] == "sleep"
