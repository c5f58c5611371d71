"""The TFDS builders: a small published-layout folder in, the same recordings out, without TensorFlow."""

import sys
import warnings

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines.builders import build, labelled_from_tfds
from data_pipelines.readers.har_csv import ACTIVITIES
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


def test_a_longer_gap_can_be_joined(tmp_path):
    write_csv(tmp_path / "501.csv", gap_s=10)
    folder = build("har70plus", tmp_path, tmp_path / "tfds")
    assert labelled_from_tfds(folder, max_gap_s=11)[0].segments == (slice(0, 600),)


def test_build_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(ValueError, match="harth, har70plus"):
        build("pamap2", tmp_path, tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match="no csv file"):
        build("harth", tmp_path / "nothing", tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match=r"dataset_info\.json"):
        labelled_from_tfds(tmp_path)


def test_a_bad_file_is_named_and_leaves_nothing_behind(tmp_path):
    source = tmp_path / "csv"
    source.mkdir()
    write_csv(source / "501.csv", label=(1, 13))  # HAR70+ has no cycling
    with pytest.raises(ValueError, match=r"501\.csv: label 13 of"):
        build("har70plus", source, tmp_path / "tfds")
    assert not list((tmp_path / "tfds").rglob("*array_record*"))


def test_a_version_is_not_built_twice(tmp_path):
    write_csv(tmp_path / "S006.csv")
    folder = build("harth", tmp_path, tmp_path / "tfds")
    with pytest.raises(FileExistsError, match="already exists"):
        build("harth", tmp_path, tmp_path / "tfds")
    (folder / "metadata.json").unlink()
    with pytest.raises(ValueError, match="not written by this project"):
        labelled_from_tfds(folder)
