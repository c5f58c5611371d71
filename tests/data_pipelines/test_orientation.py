"""Axes of HUNT4: rotations by hand, and the warnings for sensors that are worn another way."""

import warnings

import numpy as np
import pytest

from data_pipelines.contract import Recording, channels_of
from data_pipelines.orientation import check_gravity, rotate

BOTH = channels_of(["back", "thigh"])


def recording(standing=(-1, 0, 0, -1, 0, 0), sitting=(-1, 0, 0, 0, 0, -1), samples=50, channels=BOTH):
    """`samples` of standing (6) and of sitting (7) each, 50 Hz, without movement but for one wild sample each."""
    signal = np.repeat(np.float32([standing, sitting]), samples, axis=0)
    signal[[0, -1]] += 9
    label = np.repeat(np.int16([6, 7]), samples)
    return Recording("S", "S_1", signal, np.arange(2 * samples) * 20_000, label, {}, channels)


def test_rotation_by_hand():
    # A quarter turn about z takes x to y and y to -x.
    signal = np.arange(1, 13, dtype=np.float32).reshape(2, 6)
    before = Recording("S", "S", signal, np.array([0, 20_000]), channels=BOTH)
    after = rotate(before, {"thigh": np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])})
    np.testing.assert_array_equal(after.acceleration, [[1, 2, 3, -5, 4, 6], [7, 8, 9, -11, 10, 12]])
    assert after.acceleration.dtype == np.float32 and signal[0, 3] == 4
    slanted = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    after = rotate(before, {"back": slanted, "thigh": np.eye(3)}).acceleration[0]
    np.testing.assert_allclose(after, [0.6 - 1.6, 0.8 + 1.2, 3, 4, 5, 6], rtol=1e-6)


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1, 1, -1]), np.diag([1, 1, 2]), [[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.ones((3, 3)), np.eye(2)],
    ids=["mirror", "stretch", "swap", "singular", "two axes"],
)
def test_what_is_no_proper_rotation(matrix):
    with pytest.raises(ValueError, match=r"rotation of the thigh sensor .* orthogonal and has determinant \+1"):
        rotate(recording(), {"thigh": matrix})


def test_a_sensor_that_is_not_there():
    with pytest.raises(ValueError, match="^S_1: holds no wrist sensor, only back_x"):
        rotate(recording(), {"wrist": np.eye(3)})


@pytest.mark.parametrize("standing", [(-1, 0, 0, -1, 0, 0), (-0.8, 0.5, 0.3, -0.75, 0, -0.66)])
def test_gravity_within_45_degrees_is_right(standing):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gravity(recording(standing), standing=[6], sitting=[7])


@pytest.mark.parametrize(
    ("standing", "sitting", "sentence"),
    [
        (
            (-1, 0, 0, 0.1, 0.98, 0),
            (-1, 0, 0, 0, 0, -1),
            r"^S_1: while standing the thigh sensor reads \(0.10, 0.98, 0.00\) g, so that up is \+y, expected -x: "
            "its axis -y would have to become x$",
        ),
        ((1, 0, 0, -1, 0, 0), (0, 0, 0, 0, 0, -1), "standing the back sensor .* up is [+]x, .* its axis -x would"),
        ((0, 0, -1, -1, 0, 0), (0, 0, 0, 0, 0, -1), "standing the back sensor .* up is -z, .* its axis [+]z would"),
        ((-1, 0, 0, -0.66, 0, -0.75), (0, 0, 0, 0, 0, -1), "standing the thigh sensor .* up is -z"),
        ((-1, 0, 0, -1, 0, 0), (0, 0, 0, 0, 0, 1), "sitting the thigh sensor .* up is [+]z, expected -z: its axis -z"),
        ((0, 0, 0, -1, 0, 0), (0, 0, 0, 0, 0, -1), r"standing the back sensor reads \(0.00, 0.00, 0.00\)"),
    ],
)
def test_another_direction_is_warned_of(standing, sitting, sentence):
    with pytest.warns(UserWarning, match=sentence) as caught:
        check_gravity(recording(standing, sitting), standing=[6], sitting=[7])
    assert len(caught) == 1


def test_less_than_a_second_says_nothing():
    upside_down = (1, 0, 0, 1, 0, 0, 0, 0, 1)[:6]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gravity(recording(upside_down, upside_down, samples=49), standing=[6], sitting=[7])
        check_gravity(recording(upside_down), standing=[3])
        check_gravity(recording(sitting=upside_down), standing=[6])


def test_sitting_is_a_matter_of_the_thigh():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gravity(recording((-1, 0, 0), (1, 0, 0), channels=channels_of(["back"])), standing=[6], sitting=[7])
