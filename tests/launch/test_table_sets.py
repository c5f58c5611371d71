"""A data set as all methods of the tables share it: what is scored, who is held out, which encoder fits."""

import dataclasses
import json

import numpy as np
import pytest

from data_pipelines.contract import Labelled, channels_of
from launch import table_encoders, table_protocol, table_sets
from launch.config_file import load_config
from launch.table_methods import method


def person(name, sensors=("back", "thigh"), rate_hz=50, seed=0):
    """Three stretches, of 60 s, 4 s and 20 s; standing and lying in turn every 10 s."""
    rng, samples = np.random.default_rng(seed), 84 * rate_hz
    label = np.repeat(np.arange(9) % 2, 10 * rate_hz)[:samples].astype(np.int16)
    g = rng.normal(0, 0.05, (3 * len(sensors), samples))
    g[0] -= label == 0
    g[-1] -= label == 1
    edges = [0, 60 * rate_hz, 64 * rate_hz, samples]
    return Labelled(
        subject=name,
        name=name,
        counts=(g * 4096).astype(np.int16),
        scale_g=1 / 4096,
        label=label,
        time=np.arange(samples) * (1_000_000 // rate_hz),
        segments=tuple(slice(a, b) for a, b in zip(edges, edges[1:], strict=False)),
        activities={0: "standing", 1: "lying"},
        channels=channels_of(sensors),
        rate_hz=rate_hz,
    )


@pytest.fixture
def settings():
    return json.loads(load_config("configs/tables.py:smoke").to_json()) | {"data": "", "encoder": {}}


@pytest.fixture
def table_set(monkeypatch, settings):
    """(recordings, name) -> the data set made of them."""

    def of(people, name="har70plus"):
        monkeypatch.setattr(table_sets, "load_set", lambda *_: people)
        return table_sets.TableSet(settings, name)

    return of


def test_all_methods_are_scored_on_the_same_samples(table_set):
    """The stretch of 4 s holds frames, but no window of 5 s."""
    data = table_set([person(name, seed=i) for i, name in enumerate("abc")])
    truth = [[len(segment.truth) for segment in cut.segments] for cut in (data.five_seconds, data.frames)]
    assert truth == [[3000, 1000] * 3] * 2


def test_other_rates_and_sensors_are_refused(table_set):
    with pytest.raises(
        ValueError, match="har70plus holds back, thigh at 30 Hz, the methods read back and thigh at 50 Hz"
    ):
        table_set([person("a", rate_hz=30), person("b", rate_hz=30)])
    with pytest.raises(ValueError, match="har70plus holds wrist at 50 Hz"):
        table_set([person("a", ("wrist",)), person("b", ("wrist",))])


def test_what_decides_the_results_is_in_the_hash(table_set):
    people = [person(name, seed=i) for i, name in enumerate("ab")]
    other = [dataclasses.replace(p, segments=(slice(0, 84 * 50),)) for p in people]
    relabelled = [dataclasses.replace(p, label=1 - p.label) for p in people]
    assert len({table_set(these).hash for these in (people, other, relabelled)}) == 3
    assert table_set(people).hash == table_set(list(people)).hash


@pytest.mark.parametrize(
    "name", ["xgboost", "deepconvlstm_time", "deepconvlstm_spectrogram", "spectrogram_mlp", "scratch"]
)
def test_one_sensor_is_enough_for_every_kind_of_method(table_set, settings, name):
    data = table_set([person(who, ("thigh",), seed=i) for i, who in enumerate("abcdef")], "usc_had")
    fold = data.folds[0]
    built = method(data, settings, name, 0)
    test = built.windows.of(fold.test)
    log_probabilities, _ = built.fit_predict(fold, 0, None, test)
    assert log_probabilities.shape == (len(test), built.windows.label.shape[1], 2)
    assert np.isfinite(log_probabilities).all()


def test_people_do_not_lose_an_activity_to_the_held_out_share(table_set):
    """On sets that follow a script the share is taken of each activity."""
    for name, of_each in (("har70plus", False), ("usc_had", True)):
        people = [
            dataclasses.replace(p, label=np.sort(p.label)) for p in (person(w, seed=i) for i, w in enumerate("abcde"))
        ]
        cut = table_set(people, name).five_seconds
        held = set(cut.label[cut.held_out].tolist())
        assert held == ({0, 1} if of_each else {0})


def test_an_encoder_that_knows_the_people_is_told(tmp_path, prepared):
    (tmp_path / "checkpoints").mkdir()
    np.savez(tmp_path / "normalization.npz", frames=1)
    config = {"objective": "selfpab", "sensors": ["back", "thigh"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "data_manifest.json").write_text((prepared / "manifest.json").read_text())
    assert table_encoders.check(tmp_path, "harth", ("back", "thigh"), ["S006"]) == []
    with pytest.warns(UserWarning, match="was pre-trained on recordings of P02, who are tested on harth too"):
        assert table_encoders.check(tmp_path, "harth", ("back", "thigh"), ["P02", "S006"]) == ["P02"]
    with pytest.raises(
        ValueError, match="sensors back, thigh; usc_had needs an encoder of objective selfpab that reads thigh"
    ):
        table_encoders.check(tmp_path, "usc_had", ("thigh",), ["1"])
    (tmp_path / "config.json").write_text(json.dumps(config | {"objective": "mae"}))
    with pytest.raises(ValueError, match="objective mae"):
        table_encoders.check(tmp_path, "harth", ("back", "thigh"), ["S006"])


def test_the_protocol_names_people_whom_the_encoder_knows():
    row = {"dataset": "harth", "method": "pretrained", "seed": 0, "fold": 0, "confusion": {"S006": []}}
    settings = {"config": "configs/tables.py", "validation": 0.2, "encoder": {"harth": "runs/a"}}
    text = table_protocol.protocol([row], settings, {"harth": ["S006"]})
    assert "HARTH: 1 subjects in 1 folds; seeds 0; encoder runs/a; **the encoder was pre-trained on S006**." in text
