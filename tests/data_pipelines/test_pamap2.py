"""PAMAP2's published layout, written by hand: columns, units, lost packets, transients, axes, and the builder."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines.builders import build, labelled_from_tfds
from data_pipelines.labelled import load_labelled
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.readers import pamap2
from data_pipelines.shards import Cut
from launch import prepare as launch_prepare

G = 9.80665
CHEST, ANKLE = [21, 22, 23], [38, 39, 40]  # of the 54 columns, counted from 0


def table(samples=400, label=3, seed=0):
    """[S, 54]: standing upright, 100 Hz from 8.38 s on, heart rate every 11th row, all other columns junk."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 100, (samples, 54))
    rows[:, 0] = 8.38 + np.arange(samples) / 100
    rows[:, 1] = label
    rows[np.arange(samples) % 11 > 0, 2] = np.nan
    rows[:, CHEST] = np.array([0.2, 9.7, -0.5]) + rng.normal(0, 0.3, (samples, 3))
    rows[:, ANKLE] = np.array([9.6, -1.8, 0.1]) + rng.normal(0, 0.3, (samples, 3))
    return rows


def lines(rows):
    return [
        " ".join([f"{row[0]:.2f}", f"{row[1]:.0f}", *("NaN" if np.isnan(v) else f"{v:.6g}" for v in row[2:])])
        for row in rows
    ]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines(rows)) + "\n")
    return path


def in_hunt4_axes(rows):
    """By hand: back x = -y, y = -x, z = -z of the chest; thigh x = -x, y = y, z = -z of the ankle; in g."""
    chest, ankle = rows[:, CHEST] / G, rows[:, ANKLE] / G
    back = np.stack([-chest[:, 1], -chest[:, 0], -chest[:, 2]], axis=1)
    return np.concatenate([back, ankle * [-1, 1, -1]], axis=1)


def test_columns_units_axes_and_transients(tmp_path):
    rows = table()
    rows[:150, 1], rows[150:200, 1], rows[200:250, 1] = 3, 0, 24
    recording = pamap2.read(write(tmp_path / "subject103.dat", rows))
    assert (recording.subject, recording.name, recording.rate_hz) == ("subject103", "subject103", 100)
    assert recording.channels == ("back_x", "back_y", "back_z", "thigh_x", "thigh_y", "thigh_z")
    assert recording.acceleration.dtype == np.float32
    np.testing.assert_allclose(recording.acceleration, in_hunt4_axes(rows), atol=1e-5)
    assert recording.acceleration[:, [0, 3]].mean() < -0.95
    np.testing.assert_array_equal(recording.time, 8_380_000 + 10_000 * np.arange(400))
    np.testing.assert_array_equal(recording.label, np.repeat([3, -1, 24, 3], [150, 50, 50, 150]))
    assert recording.label.dtype == np.int16 and len(recording.activities) == 12
    assert recording.activities[24] == "rope jumping"


def test_short_losses_are_interpolated_and_long_ones_become_gaps(tmp_path):
    rows = table(samples=600)
    whole = in_hunt4_axes(rows)
    rows[100:149, CHEST[0]] = np.nan  # 49 rows: 0.5 s from sample to sample
    rows[200:250, ANKLE[2]] = np.nan  # 50 rows: longer
    rows[:5, CHEST] = np.nan
    rows[590:, 4:] = np.nan
    rows[300, 24] = np.nan  # the sensor that saturates is not used
    recording = pamap2.read(write(tmp_path / "subject101.dat", rows))
    lost = np.r_[0:5, 200:250, 590:600]
    np.testing.assert_array_equal(recording.time, np.delete(8_380_000 + 10_000 * np.arange(600), lost))
    part = (np.arange(100, 149) - 99) / 50
    whole[100:149] = whole[99] + part[:, None] * (whole[149] - whole[99])
    np.testing.assert_allclose(recording.acceleration, np.delete(whole, lost, axis=0), atol=1e-5)
    assert len(recording.label) == 535


def test_where_the_files_are_found(tmp_path):
    for name in ("Protocol/subject102.dat", "Protocol/subject101.dat", "Optional/subject101.dat", "Protocol/notes.txt"):
        write(tmp_path / "PAMAP2_Dataset" / "PAMAP2_Dataset" / name, table(2))
    (tmp_path / "1.0.0").mkdir()
    root = tmp_path / "PAMAP2_Dataset" / "PAMAP2_Dataset"
    places = [tmp_path, root, root / "Protocol"]
    for folder in places:
        found = pamap2.recording_files(folder)
        assert list(found) == ["subject101", "subject102"]
        assert found["subject101"] == places[2] / "subject101.dat"
    assert pamap2.recording_files(root / "Optional") == {}
    write(tmp_path / "copy" / "Protocol" / "subject101.dat", table(2))
    with pytest.raises(ValueError, match="subject101.dat are of the same person, keep one of them"):
        pamap2.recording_files(tmp_path)


def test_lines_may_end_with_a_blank(tmp_path):
    plain = pamap2.read(write(tmp_path / "subject101.dat", table(200)))
    path = write(tmp_path / "subject102.dat", table(200))
    path.write_text(path.read_text().replace("\n", " \r\n"))
    np.testing.assert_array_equal(pamap2.read(path).acceleration, plain.acceleration)


@pytest.mark.parametrize(
    ("row", "column", "text", "sentence"),
    [
        (7, 1, "9", "activityID 9 of row 8 is unknown, the protocol has 0, 1, 2"),
        (7, 1, "NaN", "activityID of row 8 is empty or NaN"),
        (7, 0, "NaN", "timestamp of row 8 is empty or NaN"),
        (7, 1, "1.5", "activityID of row 8 is '1.5', expected a whole number"),
        (7, 22, "high", "column 23 of row 8 is 'high', expected a number in m/s.2"),
        (7, 0, "8.38", "the timestamp of row 8 goes back by 0.06 s; "),
        (7, 53, "1 2", "row 8 has 55 columns, expected 54"),
    ],
)
def test_broken_rows(tmp_path, row, column, text, sentence):
    path, written = tmp_path / "subject101.dat", lines(table())
    cells = written[row].split(" ")
    cells[column] = text
    written[row] = " ".join(cells)
    path.write_text("\n".join(written) + "\n")
    with pytest.raises(ValueError, match=rf"^{path}: {sentence}"):
        pamap2.read(path)


def test_broken_files(tmp_path):
    path = tmp_path / "subject101.dat"
    path.write_text("")
    with pytest.raises(ValueError, match="subject101.dat: cannot be read as csv: Empty"):
        pamap2.read(path)
    with pytest.raises(ValueError, match="only 99 rows, expected at least 100"):
        pamap2.read(write(path, table(99)))
    rows = table()
    rows[:, ANKLE] = np.nan
    with pytest.raises(ValueError, match="chest and ankle have no row without NaN"):
        pamap2.read(write(path, rows))
    rows = table()
    rows[:, 0] = 8.38 + np.arange(400) / 50
    with pytest.raises(ValueError, match="the sampling rate is 50 Hz .*, expected 100 Hz"):
        pamap2.read(write(path, rows))
    rows[:, 0] = table()[:, 0]
    rows[:, ANKLE] *= G
    with pytest.raises(ValueError, match="thigh sensor seems to be in m/s.2"):
        pamap2.read(write(path, rows))
    with pytest.raises(FileNotFoundError):
        pamap2.read(tmp_path / "subject102.dat")


def test_a_sensor_worn_upside_down_is_warned_of(tmp_path):
    rows = table()
    rows[:, CHEST] *= -1
    with pytest.warns(UserWarning, match="^subject101: while standing the back sensor .* up is [+]x"):
        recording = pamap2.read(write(tmp_path / "subject101.dat", rows))
    assert recording.acceleration[:, 0].mean() > 0.95


def test_build(tmp_path):
    """100 Hz become 50 Hz, 16 g fit, and 2 s without samples stay a gap."""
    rows = table(1_000)
    rows[700:800, ANKLE[0]] += 100  # beyond 8 g
    rows[401:601, CHEST] = np.nan
    rows[601:, 1] = 5
    write(tmp_path / "raw" / "Protocol" / "subject105.dat", rows)
    folder = build("pamap2", tmp_path / "raw", tmp_path / "tfds")
    (recording,) = labelled_from_tfds(folder)
    assert folder == tmp_path / "tfds" / "pamap2" / "1.0.0"
    assert (recording.subject, recording.name, recording.rate_hz) == ("subject105", "subject105", 50)
    assert recording.channels == pamap2.CHANNELS and recording.activities == pamap2.ACTIVITIES
    # 401 and 399 samples, each half on its own: 201 and 200.
    assert recording.counts.shape == (6, 401) and recording.scale_g == 1 / 2048
    assert recording.segments == (slice(0, 401),)  # as read with gaps of up to 5 s joined
    np.testing.assert_array_equal(np.flatnonzero(np.diff(recording.time) != 20_000), [200])
    np.testing.assert_array_equal(recording.label, np.repeat([3, 5], [201, 200]))
    assert recording.counts[3, 260:290].mean() / 2048 == pytest.approx(-109.6 / G, abs=0.01)
    info = tfds.builder_from_directory(str(folder)).info
    assert info.metadata["licence"] == "CC BY 4.0" and "10.1109/ISWC.2012.13" in info.citation


def test_prepare(tmp_path, capsys):
    rows = table(3_000)
    write(tmp_path / "raw" / "Protocol" / "subject101.dat", rows)
    settings = PrepareSettings(Cut(window_s=10, stride_s=10))
    manifest = prepare(tmp_path / "raw", "pamap2", tmp_path / "out", settings, workers=1, progress=False)
    (entry,) = manifest["recordings"]
    assert (entry["name"], entry["subject"], entry["windows"]) == ("subject101", "subject101", 3)
    assert entry["source"]["file"] == "Protocol/subject101.dat" and manifest["activities"] == {"3": "standing"}
    (recording,) = load_labelled(tmp_path / "out")
    assert recording.counts.shape == (6, 1_500) and recording.rate_hz == 50
    np.testing.assert_allclose(recording.counts.mean(1) * recording.scale_g, in_hunt4_axes(rows).mean(0), atol=0.005)
    (tmp_path / "empty").mkdir()
    flags = f"--layout pamap2 --input {tmp_path / 'empty'} --out {tmp_path / 'other'}"
    assert launch_prepare.main(flags.split()) == 2
    assert "nothing in layout pamap2 found, expected files Protocol/subject101.dat" in capsys.readouterr().err
