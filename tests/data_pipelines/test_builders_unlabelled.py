"""The TFDS builders of the cohorts that no one may download: a folder given by hand in, the same recordings out."""

import gzip

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import BUILDERS, UNLABELLED, build, labelled_from_tfds
from data_pipelines.builders.store import LAYOUTS
from data_pipelines.ingest import ukbiobank
from data_pipelines.labelled import load_set
from tests.data_pipelines import cwa_writer


def read_back(folder):
    """Info, and the examples by name, of a TFDS version folder."""
    builder = tfds.builder_from_directory(str(folder))
    source = builder.as_data_source(split="train")
    return builder.info, {e["name"].decode(): e for e in map(source.__getitem__, range(len(source)))}


def write_ukb(folder, name, hz=100, rows=900):
    """A csv.gz with 1 Hz around 1 g on z, and a pause of a minute before its last third, where x changes sign."""
    seconds = np.arange(rows) / hz
    z = 1 + 0.2 * np.sin(2 * np.pi * seconds)
    late = np.arange(rows) >= 2 * rows // 3
    x = np.where(late, -0.5, 0.5)
    clock = np.rint((seconds + 60 * late) * 1000).astype("timedelta64[ms]")
    times = np.datetime64("2014-05-07T13:29:50.430", "ms") + clock
    lines = [f"{str(t).replace('T', ' ')},{u},-0.25,{v:.6f}" for t, u, v in zip(times, x, z, strict=True)]
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join(["time,x,y,z", *lines]).encode() + b"\n"))


def test_ukb_accelerometer_at_30_hz(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, hz in (("1000012_90001_0_0", 100), ("1000012_90001_1_0", 30)):
        write_ukb(raw, name, hz, 9 * hz)
    folder = build("ukb_accelerometer", raw, tmp_path / "tfds")
    assert folder == tmp_path / "tfds" / "ukb_accelerometer" / "1.0.0"
    info, examples = read_back(folder)
    assert info.metadata["sample_rate_hz"] == 30 and info.metadata["channels"] == ["wrist_x", "wrist_y", "wrist_z"]
    assert "field 90001" in info.metadata["licence"] and "doi" in info.citation
    assert sorted(examples) == ["1000012_90001_0_0", "1000012_90001_1_0"]
    first = np.datetime64("2014-05-07T13:29:50.430", "us").astype(int)
    seconds = np.arange(270) / 30
    for example in examples.values():
        assert example["subject"] == b"1000012" and "label" not in example
        assert example["acceleration"].dtype == np.int16 and example["acceleration"].shape == (3, 270)
        g = example["acceleration"] * float(example["scale"])
        np.testing.assert_allclose(g[0], np.repeat([0.5, -0.5], [180, 90]), atol=1e-3)  # nothing leads over the pause
        np.testing.assert_allclose(g[1], -0.25, atol=1e-3)
        inside = np.concatenate([np.arange(20, 160), np.arange(200, 250)])  # the filter holds the ends' values
        np.testing.assert_allclose(g[2, inside], 1 + 0.2 * np.sin(2 * np.pi * seconds[inside]), atol=2e-3)
        assert example["time"].dtype == np.int64
        expected = first + 1e6 * seconds + 60e6 * (np.arange(270) >= 180)  # the pause stays
        np.testing.assert_allclose(example["time"], expected, rtol=0, atol=1001)


def test_ukb_accelerometer_from_cwa(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    seconds = np.arange(2000) / 99
    signal = np.stack([0.5 + 0 * seconds, -0.25 + 0 * seconds, 1 + 0.2 * np.sin(2 * np.pi * seconds)], axis=1)
    start = "2014-05-07T13:29:50.500"
    path = cwa_writer.write(raw / "1000012_90001_0_0.cwa", signal, rate_hz=100, true_rate_hz=99, start=start)
    (raw / "1000013_90001_0_0.cwa.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    _, examples = read_back(build("ukb_accelerometer", raw, tmp_path / "tfds"))
    assert sorted(examples) == ["1000012_90001_0_0", "1000013_90001_0_0"]
    first, second = (examples[name] for name in sorted(examples))
    assert (first["subject"], second["subject"]) == (b"1000012", b"1000013")
    np.testing.assert_array_equal(first["acceleration"], second["acceleration"])
    at = (first["time"] - np.datetime64(start, "us").astype(int)) / 1e6
    g = first["acceleration"] * float(first["scale"])
    assert len(at) == pytest.approx(2000 / 99 * 30, abs=8)  # regular at the nominal rate, by the true clock
    np.testing.assert_allclose(g[:2], np.broadcast_to([[0.5], [-0.25]], g[:2].shape), atol=2e-3)
    inside = slice(20, -20)
    np.testing.assert_allclose(g[2, inside], 1 + 0.2 * np.sin(2 * np.pi * at[inside]), atol=4e-3)


def test_of_a_csv_and_a_cwa_file_the_csv_one_is_read(tmp_path):
    write_ukb(tmp_path, "1000012_90001_0_0")
    for name in ("1000012_90001_0_0.cwa", "1000013_90001_0_0.cwa"):
        cwa_writer.write(tmp_path / name, np.zeros((240, 3)), rate_hz=100, start="2014-05-07T13:29:50")
    found = ukbiobank.recording_files(tmp_path)
    assert [path.name for path in found.values()] == ["1000012_90001_0_0.csv.gz", "1000013_90001_0_0.cwa"]


def test_a_cwa_file_that_is_cut_while_it_is_read(tmp_path, monkeypatch):
    path = cwa_writer.write(tmp_path / "1.cwa", np.ones((2400, 3)), rate_hz=100, start="2014-05-07T13:29:50")
    survey = ukbiobank.survey

    def then_cut(*given):
        found = survey(*given)
        path.write_bytes(path.read_bytes()[:5120])
        return found

    monkeypatch.setattr(ukbiobank, "survey", then_cut)
    with pytest.raises(ValueError, match="1.cwa: changed while it was read"):
        ukbiobank.read(path)


def test_hunt4_as_recorded(tmp_path):
    rng = np.random.default_rng(0)
    written = {}
    for subject in ("11.7z", "12"):
        (tmp_path / "raw" / subject).mkdir(parents=True)
        written[subject[:2]] = rng.normal(0, 0.6, (15_000, 6))
        for hour in ("08", "09"):
            np.savez(tmp_path / "raw" / subject / f"2018-03-14_{hour}.npz", written[subject[:2]])
    folder = build("hunt4", tmp_path / "raw", tmp_path / "tfds")
    info, examples = read_back(folder)
    assert info.metadata["sample_rate_hz"] == 50 and len(info.metadata["channels"]) == 6
    assert "HUNT Research Centre" in info.metadata["licence"] and info.features["acceleration"].shape == (6, None)
    assert sorted(examples) == ["11", "12"]
    for name, example in examples.items():
        g = example["acceleration"].T * float(example["scale"])
        np.testing.assert_allclose(g, np.tile(written[name], (2, 1)), atol=0.51 / 4096)
        assert example["time"][15_000] - example["time"][0] == 3_600_000_000 and example["subject"] == name.encode()
    with pytest.raises(ValueError, match="1.0.0: these recordings have no labels, choose a labelled data set"):
        labelled_from_tfds(folder)
    with pytest.raises(FileExistsError, match="already exists"):
        build("hunt4", tmp_path / "raw", tmp_path / "tfds")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hunt4", "hunt4: on application to the HUNT Research Centre.*give the folder .*files like 2018-03-14_09.npz"),
        ("ukb_accelerometer", "ukb_accelerometer: on application to UK Biobank.*files like 1000001_90001_0_0.cwa or"),
    ],
)
def test_nothing_is_downloaded(tmp_path, monkeypatch, name, sentence):
    monkeypatch.setattr(tfds.download.DownloadManager, "download", None)
    with pytest.raises(FileNotFoundError, match=sentence) as caught:
        build(name, None, tmp_path / "tfds")
    assert "these data cannot be downloaded" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="input folder .*nothing does not exist, expected a folder with"):
        build(name, tmp_path / "nothing", tmp_path / "tfds")
    (tmp_path / "raw").mkdir()
    with pytest.raises(FileNotFoundError, match="raw: nothing in layout (hunt4|ukbiobank) found, expected"):
        build(name, tmp_path / "raw", tmp_path / "tfds")
    assert not list(tmp_path.rglob("*array_record*"))
    with pytest.raises(ValueError, match=f"data set is '{name}', expected one of harth"):
        load_set(name, tmp_path)


def test_a_tfds_folder_among_the_subjects_is_refused(tmp_path):
    (tmp_path / "hunt4" / "11").mkdir(parents=True)
    with pytest.raises(ValueError, match="hunt4/1.0.0 lies inside the recordings .*hunt4: choose another data_dir"):
        build("hunt4", tmp_path / "hunt4", tmp_path)
    assert [path.name for path in (tmp_path / "hunt4").iterdir()] == ["11"]


def test_every_name_has_a_layout():
    assert {LAYOUTS.get(name, name) for name in UNLABELLED} == {"hunt4", "ukbiobank"} <= set(sources.LAYOUTS)
    assert not set(BUILDERS) & set(UNLABELLED)
    assert {name: builder.name for name, builder in (BUILDERS | UNLABELLED).items()} == {
        name: name for name in [*BUILDERS, *UNLABELLED]
    }
