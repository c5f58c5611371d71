"""The TFDS builders: a small published-layout folder in, the same recordings out, without TensorFlow."""

import shutil
import sys
import warnings

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import BUILDERS, build, download, labelled_from_tfds
from data_pipelines.labelled import load_set
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.readers.har_csv import ACTIVITIES
from data_pipelines.shards import Cut
from launch import prepare as launch_prepare
from selfpab_jax.signals.stft import CHANNELS


def write_csv(path, samples=600, gap_s=10, label=(1, 6), seed=0):
    rng = np.random.default_rng(seed)
    gravity = np.array([-1, 0, 0, -1, 0, 0])
    acceleration = (gravity + rng.normal(0, 0.1, (samples, 6))).round(6)
    time = np.datetime64("2020-01-01T10:00:00") + np.arange(samples) * np.timedelta64(20, "ms")
    time[samples // 2 :] += np.timedelta64(gap_s, "s")
    codes = np.repeat(label, samples // 2)
    lines = ["timestamp," + ",".join(CHANNELS) + ",label"]
    for t, a, code in zip(time, acceleration, codes, strict=True):
        lines.append(f"{str(t).replace('T', ' ')}," + ",".join(map(str, a)) + f",{code}")
    path.write_text("\n".join(lines) + "\n")
    return acceleration, codes


@pytest.mark.parametrize(("name", "version"), [("harth", "1.2.0"), ("har70plus", "1.0.0")])
def test_build_and_read_back(tmp_path, name, version):
    source = tmp_path / "csv" / name  # the public archives hold one folder
    source.mkdir(parents=True)
    written = {subject: write_csv(source / f"{subject}.csv", seed=i) for i, subject in enumerate(("S006", "S008"))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = build(name, source.parent, tmp_path / "tfds")
        recordings = labelled_from_tfds(folder)
    assert folder == tmp_path / "tfds" / name / version
    assert [r.subject for r in recordings] == ["S006", "S008"]
    for r in recordings:
        acceleration, codes = written[r.subject]
        assert r.counts.dtype == np.int16 and r.counts.shape == (6, 600)
        np.testing.assert_allclose(r.counts.T * r.scale_g, acceleration, atol=0.51 / 4096)
        np.testing.assert_array_equal(r.label, codes)
        assert r.time.dtype == np.int64 and r.time[0] == 1_577_872_800_000_000
        assert r.time[1] - r.time[0] == 20_000
        assert r.segments == (slice(0, 300), slice(300, 600))
        assert r.activities == ACTIVITIES[name]
    info = tfds.builder_from_directory(str(folder)).info
    assert info.metadata["sample_rate_hz"] == 50 and info.metadata["licence"] == "CC BY 4.0"
    assert "doi" in info.citation and "uci.edu" in info.homepage
    assert list(folder.glob("*array_record*"))
    assert "tensorflow" not in sys.modules


def test_every_name_is_known_in_every_place():
    assert set(BUILDERS) <= set(sources.LAYOUTS)
    assert set(launch_prepare.LAYOUTS) == set(sources.LAYOUTS) | {"synthetic"}


def test_a_longer_gap_can_be_joined(tmp_path):
    write_csv(tmp_path / "501.csv", gap_s=10)
    folder = build("har70plus", tmp_path, tmp_path / "tfds")
    assert labelled_from_tfds(folder, max_gap_s=11)[0].segments == (slice(0, 600),)
    with pytest.raises(ValueError, match="label set is 'Walmsley2020', this data set has a single one: leave it out"):
        labelled_from_tfds(folder, label_set="Walmsley2020")


def test_build_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(ValueError, match="data set is 'mobiact', expected one of harth, har70plus, pamap2, usc_had"):
        build("mobiact", tmp_path, tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match="nothing does not exist, expected a folder with csv files"):
        build("harth", tmp_path / "nothing", tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match="nothing in layout usc_had found, expected folders Subject1 to"):
        build("usc_had", tmp_path, tmp_path / "tfds")
    for folder in ("harth", "har70plus"):
        (tmp_path / "both" / folder).mkdir(parents=True)
        write_csv(tmp_path / "both" / folder / "S006.csv", samples=60)
    with pytest.raises(ValueError, match="there are csv files in .*har70plus, .*harth; expected one folder of them"):
        build("harth", tmp_path / "both", tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match=r"dataset_info\.json"):
        labelled_from_tfds(tmp_path)


def test_a_bad_file_is_named_and_leaves_nothing_behind(tmp_path):
    source = tmp_path / "csv"
    source.mkdir()
    write_csv(source / "501.csv", label=(1, 13))  # HAR70+ has no cycling
    with pytest.raises(ValueError, match=r"501\.csv: label 13 of"):
        build("har70plus", source, tmp_path / "tfds")
    assert not list((tmp_path / "tfds").rglob("*array_record*"))


def test_a_set_by_its_name(tmp_path, capsys):
    """The published files are built once, beside themselves; a newer version and a prepared folder come first."""
    folder = tmp_path / "har70plus"
    folder.mkdir()
    write_csv(folder / "501.csv")
    (first,) = load_set("har70plus", tmp_path)
    assert capsys.readouterr().err.startswith(f"building har70plus from {folder}\n")
    assert (folder / "1.0.0" / "dataset_info.json").is_file() and (folder / "501.csv").is_file()
    write_csv(folder / "502.csv", seed=1)  # too late: a version is there
    (second,) = load_set("har70plus", tmp_path)
    np.testing.assert_array_equal(second.counts, first.counts)
    assert "building" not in capsys.readouterr().err
    (folder / "1.0.0").rename(folder / "0.9.0")
    assert len(labelled_from_tfds(build("har70plus", folder, tmp_path))) == 2
    (folder / "1.0.0").rename(folder / "0.10.0")
    (folder / "1.0.0.incompleteXYZ").mkdir()
    shutil.copy(folder / "0.9.0" / "dataset_info.json", folder / "1.0.0.incompleteXYZ")
    assert len(load_set("har70plus", tmp_path)) == 2  # 0.10.0, not 0.9.0
    settings = PrepareSettings(Cut(window_s=1, stride_s=1))
    prepare(folder, "harth", tmp_path / "other" / "har70plus", settings, workers=1, progress=False)
    prepared = load_set("har70plus", tmp_path / "other")
    assert [r.name for r in prepared] == ["501", "502"] and prepared[0].rate_hz == 50
    (tmp_path / "other" / "har70plus").rename(tmp_path / "other" / "pamap2")
    with pytest.raises(ValueError, match="pamap2 was prepared from harth, expected pamap2"):
        load_set("pamap2", tmp_path / "other")


def test_a_set_that_is_not_there(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="data set is 'hart', expected one of harth, har70plus"):
        load_set("hart", tmp_path)
    (tmp_path / "harth").mkdir()
    (tmp_path / "harth" / "readme.txt").write_text("")
    with pytest.raises(FileNotFoundError, match="nothing in layout harth found"):
        load_set("harth", tmp_path)
    monkeypatch.setattr(download.tfds.download.DownloadManager, "download", lambda *_: 1 / 0)
    for name in ("har70plus", "usc_had"):
        (tmp_path / "usc_had" / "incomplete.XYZ_1.0.0").mkdir(exist_ok=True, parents=True)
        (tmp_path / "usc_had" / ".DS_Store").touch()
        with pytest.raises(OSError, match=r"^http.*zip cannot be downloaded \(ZeroDivisionError: division by zero\)"):
            load_set(name, tmp_path)
        assert f"building {name} from its public download" in capsys.readouterr().err


def test_a_version_is_not_built_twice(tmp_path):
    write_csv(tmp_path / "S006.csv")
    folder = build("harth", tmp_path, tmp_path / "tfds")
    with pytest.raises(FileExistsError, match="already exists"):
        build("harth", tmp_path, tmp_path / "tfds")
    (folder / "metadata.json").unlink()
    with pytest.raises(ValueError, match="not written by this project"):
        labelled_from_tfds(folder)
