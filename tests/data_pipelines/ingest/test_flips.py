"""Upside down and inside out: in made-up days of a wearer, in the tables that state it, and in real recordings."""

import json

import numpy as np
import pytest

from data_pipelines.ingest.flips import find_flip, parse_orientation, turned
from data_pipelines.ingest.survey import survey
from data_pipelines.raw import Piece

TURNS = {
    "as worn": np.diag([1, 1, 1]),
    "upside down": np.diag([-1, -1, 1]),
    "inside out": np.diag([1, -1, -1]),
    "upside down and inside out": np.diag([-1, 1, -1]),
}


def day(walking=60, sitting=200, prone=0, turn=None, place="thigh", seed=0):
    """(mean, std) [E, 3] of a thigh or back: walking, sitting (or lying supine), lying prone, shuffled."""
    rng = np.random.default_rng(seed)
    rest = [-0.1, 0.1, -0.98] if place == "thigh" else [-0.1, 0.1, 0.98]
    parts = [(walking, [-0.97, 0.05, 0.1], 0.3), (sitting, rest, 0.01), (prone, [0, 0, -rest[2]], 0.01)]
    mean = np.concatenate([np.tile(posture, (count, 1)) for count, posture, _ in parts])
    std = np.concatenate([np.full((count, 3), spread) for count, _, spread in parts])
    order = rng.permutation(len(mean))
    mean = (mean + rng.normal(0, 0.03, mean.shape))[order]
    return mean @ (np.eye(3) if turn is None else turn).T, std[order]


@pytest.mark.parametrize("status", TURNS)
def test_a_turned_thigh_is_turned_back(status):
    turn = TURNS[status]
    found = find_flip(*day(turn=turn), "thigh")
    assert found.status == status and np.linalg.det(found.matrix) == 1
    np.testing.assert_array_equal(found.matrix @ turn, np.eye(3))
    assert (found.walking, found.sitting) == (60, 200) and abs(found.walking_x) > 0.9 and abs(found.sitting_z) > 0.9


@pytest.mark.parametrize("status", TURNS)
def test_of_a_back_only_upside_down_is_told(status):
    found = find_flip(*day(turn=TURNS[status], place="back"), "back")
    down = status.startswith("upside")
    assert found.status == ("upside down" if down else "as worn") and found.z == "not checked"
    np.testing.assert_array_equal(found.matrix, np.diag([-1, -1, 1] if down else [1, 1, 1]))
    assert found.sitting_z == pytest.approx(-0.98 if "inside" in status else 0.98, abs=0.02)  # reported all the same


@pytest.mark.parametrize(("spans", "x"), [(5, "undecided"), (6, "wrong")])
def test_a_minute_of_walking(spans, x):
    found = find_flip(*day(walking=spans, turn=TURNS["upside down"]), "thigh")
    assert (found.x, found.z, found.walking) == (x, "right", spans)
    assert found.status == ("upside down" if x == "wrong" else "undecided")


@pytest.mark.parametrize(("spans", "status"), [(59, "as worn"), (60, "inside out")])
def test_ten_minutes_of_sitting(spans, status):
    found = find_flip(*day(sitting=spans, turn=TURNS["inside out"]), "thigh")
    assert found.status == status and found.z == ("wrong" if spans == 60 else "undecided")


def test_nothing_is_turned_while_x_is_undecided():
    found = find_flip(*day(walking=0, turn=TURNS["inside out"]), "thigh")
    assert (found.status, found.x, found.z) == ("undecided", "undecided", "wrong") and np.isnan(found.walking_x)
    np.testing.assert_array_equal(found.matrix, np.eye(3))


def test_a_sensor_turned_by_a_quarter_is_undecided():
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    found = find_flip(*day(turn=quarter), "thigh")
    assert (found.status, found.walking) == ("undecided", 60) and abs(found.walking_x) < 0.2


def test_a_sensor_that_was_turned_half_way():
    first, second = day(seed=1), day(turn=TURNS["upside down"], seed=2, walking=30)
    mean, std = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    assert find_flip(mean, std, "back").x == "undecided"  # two thirds of the walking


def test_a_prone_sleeper_is_not_called_inside_out():
    assert find_flip(*day(sitting=100, prone=120), "thigh").z == "undecided"
    assert find_flip(*day(sitting=200, prone=40), "thigh").z == "right"


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.97, 0, 0], [0.09, 0.3, 0.3]),  # a car: the axis along gravity hardly moves
        ([0.75, 0, 0], [0.3, 0.3, 0.3]),  # not 1 g
        ([1.25, 0, 0], [0.3, 0.3, 0.3]),
        ([0.9, 0, 0], [1.1, 0.3, 0.3]),
    ],
)
def test_what_is_no_walking(mean, std):
    found = find_flip(np.tile(mean, (100, 1)), np.tile(std, (100, 1)), "back")
    assert found.walking == 0 and found.status == "undecided"


def test_other_places_are_not_checked():
    found = find_flip(*day(turn=TURNS["upside down"]), "wrist")
    assert found.status == found.x == found.z == "not checked"
    np.testing.assert_array_equal(found.matrix, np.eye(3))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["walking_x"] is None
    assert find_flip(np.zeros((0, 3)), np.zeros((0, 3)), "thigh").status == "undecided"


def test_real_recordings(real_data):
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(real_data / "har70plus" / "518.parquet")
    time = table["t_us"].to_numpy()
    for place in ("back", "thigh"):
        signal = np.stack([table[f"{place}_{axis}"].to_numpy() for axis in "xyz"], axis=1).astype(np.float32) / 4096
        for status, turn in TURNS.items():
            spans = survey([Piece(time, signal @ turn.T.astype(np.float32))], 50, 8)
            found = find_flip(spans.mean[spans.complete], spans.std[spans.complete], place)
            expected = status if place == "thigh" else status.partition(" and ")[0].replace("inside out", "as worn")
            assert (place, found.status) == (place, expected) and found.walking > 60


@pytest.mark.parametrize("text", ["", "auto", " Auto "])
def test_the_rule_decides(text):
    assert parse_orientation(text) is None


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("as worn", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("xyz", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("x,y,z", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("-x,-y,z", [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
        ("z, -y, +X", [[0, 0, 1], [0, -1, 0], [1, 0, 0]]),
        ("y,z,x", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    ],
)
def test_stated_orientations(text, rows):
    np.testing.assert_array_equal(parse_orientation(text), rows)


@pytest.mark.parametrize("text", ["x,y", "x,y,y", "up", "x y z", "--x,-y,z", "-x,-y,z,x", "a,b,c", "- -x,-y,z"])
def test_what_is_no_orientation(text):
    with pytest.raises(ValueError, match="expected auto, as worn, or the sensor's axes"):
        parse_orientation(text)


@pytest.mark.parametrize(
    ("text", "instead"), [("x,y,-z", "x,y,z"), ("z,y,x", "z,y,-x"), ("-x,y,z", "-x,y,-z"), ("-x,-y,-z", "-x,-y,z")]
)
def test_mirrors(text, instead):
    with pytest.raises(ValueError, match=f"mirrors the axes.* such as the last, {instead}$"):
        parse_orientation(text)
    assert np.linalg.det(parse_orientation(instead)) == 1


@pytest.mark.parametrize("text", ["xyz", "-x,-y,z", "z,-y,x", "y,z,x", "-x,z,y"])
def test_turning_is_the_matrix_product(text):
    matrix = parse_orientation(text)
    samples = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    out = turned(samples, matrix)
    assert out.dtype == np.float32 and (out == samples @ matrix.T.astype(np.float32)).all()
