"""The picture of a reconstructed signal: what it draws where, read back from the figure."""

from types import SimpleNamespace

import numpy as np
import pytest

from selfpab_jax.evaluate import signal_figures
from selfpab_jax.evaluate.signal_figures import RECONSTRUCTION, SHADED, reconstruction
from selfpab_jax.signals.tokens import Tokens

RATE, SIZE, BINS = 10, 20, 11  # patches of 2 s, bins every 0.5 Hz


def method(channels):
    names = [f"{place}_{axis}" for place in ("back", "thigh", "wrist") for axis in "xyz"]
    return SimpleNamespace(channels=tuple(names[:channels]), tokens=Tokens(RATE, SIZE, SIZE))


def parts(channels, masked, seed=0):
    """Arrays of a preview; the spread of patches is 2, 1, 4, 3, 6, 5, ... g, so even ones are livelier."""
    rng, masked = np.random.default_rng(seed), np.asarray(masked, bool)
    shape = (channels, len(masked) * SIZE)
    signal = rng.normal(size=shape) * np.repeat(1 + (np.arange(len(masked)) ^ 1), SIZE)
    spectra = rng.normal(size=(2, len(masked), channels, BINS))
    return {
        "signal": signal,
        "reconstruction": rng.normal(size=shape),
        "masked": masked,
        "log_magnitude": spectra[0],
        "reconstructed_log_magnitude": spectra[1],
    }


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, save = [], signal_figures.save
    monkeypatch.setattr(signal_figures, "save", lambda figure, path: figures.append(figure) or save(figure, path))
    return figures


def line(axes, colour=RECONSTRUCTION):
    return next(one for one in axes.lines if one.get_color() == colour)


def shaded(axes):
    spans = [patch for patch in axes.patches if patch.get_facecolor()[:3] == pytest.approx((232 / 255,) * 3)]
    return [(span.get_x(), span.get_x() + span.get_width()) for span in spans]


@pytest.mark.parametrize(
    ("channels", "masked", "panels"),
    [
        (3, np.arange(40) % 5 > 1, 3 + 2 * 4 * 3),
        (1, [0, 0, 1, 0], 1 + 2),  # one masked patch, fewer than thirty
        (9, [1, 0], 9 + 2 * 9),
        (2, [0, 0, 0], 2),  # nothing masked: nothing to look at closely
    ],
)
def test_picture_of_any_size(channels, masked, panels, tmp_path, drawn):
    path = reconstruction(parts(channels, masked), tmp_path / "deep" / "picture.png", method(channels))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [one.name for one in path.parent.iterdir()] == ["picture.png"]
    assert len(drawn[0].axes) == panels


def test_reconstruction_is_drawn_in_masked_patches_only(tmp_path, drawn):
    given = parts(2, [0, 1, 1, 0, 1, 0])
    reconstruction(given, tmp_path / "a.png", method(2), slice(1, 5))
    above = drawn[0].axes[1]  # second channel, patches 1 to 4 from 2 s to 10 s
    assert shaded(above) == [(2, 6), (8, 10)]
    assert above.get_xlim() == (2, 10)
    seconds, made = line(above).get_data()
    np.testing.assert_allclose(seconds, np.arange(20, 100) / RATE)
    expected = given["reconstruction"][1, 20:100].copy()
    expected[40:60] = np.nan  # patch 3 was visible
    np.testing.assert_array_equal(made, expected)
    assert SHADED == "#e8e8e8"


def test_close_ups_show_the_liveliest_patch_of_each_quarter(tmp_path, drawn):
    masked = np.arange(12) < 8  # quarters 01, 23, 45, 67, of which the even ones are livelier
    given = parts(1, masked)
    reconstruction(given, tmp_path / "a.png", method(1))
    signals, spectra = drawn[0].axes[1::2], drawn[0].axes[2::2]
    titles = [axes.get_title(loc="left") for axes in signals]
    assert titles == ["A: 0 to 2 s", "B: 4 to 6 s", "C: 8 to 10 s", "D: 12 to 14 s"]
    assert [note.get_text() for note in drawn[0].axes[0].texts] == ["A", "B", "C", "D"]
    seconds, made = line(signals[1]).get_data()
    np.testing.assert_allclose(seconds, np.arange(40, 60) / RATE)
    np.testing.assert_array_equal(made, given["reconstruction"][0, 40:60])
    hertz, log_magnitude = line(spectra[1]).get_data()
    np.testing.assert_allclose(hertz, np.arange(11) * 0.5)
    np.testing.assert_array_equal(log_magnitude, given["reconstructed_log_magnitude"][2, 0])
    np.testing.assert_array_equal(line(spectra[3], "#222222").get_ydata(), given["log_magnitude"][6, 0])
    assert len({axes.get_ylim() for axes in spectra}) == 1


def test_a_masked_patch_outside_the_drawn_ones_is_still_looked_at(tmp_path, drawn):
    reconstruction(parts(1, np.arange(40) == 35), tmp_path / "a.png", method(1))
    assert drawn[0].axes[1].get_title(loc="left") == "A: 70 to 72 s"
    assert not drawn[0].axes[0].texts and not shaded(drawn[0].axes[0])


def test_same_arrays_same_bytes(tmp_path):
    for name in "ab":
        reconstruction(parts(1, [1, 0]), tmp_path / name, method(1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("channels", "patches", "found"), [(2, 3, "2 channels and 60 samples"), (3, 4, "3 channels and 60 samples")]
)
def test_signals_that_do_not_fit(channels, patches, found, tmp_path):
    given = parts(channels, [1, 0, 1]) | {"masked": np.ones(patches, bool)}
    with pytest.raises(ValueError, match=f"{found}, expected 3 channels and {patches * SIZE} samples or more"):
        reconstruction(given, tmp_path / "a.png", method(3))
    assert not list(tmp_path.iterdir())
