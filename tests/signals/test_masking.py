"""The alteration for given draws, exactly as by hand and by slow transcriptions of each reading; its settings."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.signals import masking
from selfpab_jax.signals.masking import Masking, alter
from selfpab_jax.signals.stft import N_BINS, N_FRAMES

ZEROED = -1  # as in conftest.py


def reference_paper(kinds, starts, partners, frames=N_FRAMES):
    """(source frame or ZEROED, flagged) of each frame; only for spans that do not overlap."""
    source, flagged = list(range(frames)), [False] * frames
    for kind, a, b in zip(kinds, starts, partners, strict=True):
        for i, j in ((a + shift, b + shift) for shift in range(3)):
            flagged[i] = True
            if kind < 0.8:
                source[i] = ZEROED
            elif kind < 0.9:
                source[i], source[j], flagged[j] = j, i, True
    return source, flagged


def applied(spectrogram, source, flagged, band):
    """(altered, cells) from what a reference says."""
    altered = spectrogram.copy()
    for t, origin in enumerate(source):
        altered[t] = 0 if origin == ZEROED else spectrogram[origin]
    altered[:, np.tile(band, spectrogram.shape[1] // N_BINS)] = 0
    return altered, np.array(flagged)[:, None] | np.tile(band, spectrogram.shape[1] // N_BINS)


# ---- given draws ----------------------------------------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch):
    """(cfg, spectrogram, starts, partners, kind, band start or None) -> alteration by these draws."""

    def run(cfg, spectrogram, starts, partners, kind, band):
        positions = iter([starts, partners, [0 if band is None else band]])
        chances = iter([kind, 1.0 if band is None else 0.0])
        with monkeypatch.context() as patch:
            patch.setattr(masking, "_starts", lambda key, count, stop: jnp.asarray(next(positions)))
            patch.setattr(jax.random, "uniform", lambda key, shape=(): jnp.asarray(next(chances)).reshape(shape))
            patch.setattr(Masking, "spans", lambda self, frames: len(starts))
            return [np.asarray(part) for part in alter(jax.random.key(0), jnp.asarray(spectrogram), cfg)]

    return run


ORIGINAL_BY_HAND = {
    # name: (kind, src starts, dst starts, source frame of each of 12 frames, flagged frames)
    "zero": (0.5, [0, 7], [1, 3], [0, -1, -1, -1, -1, -1, 6, 7, 8, 9, 10, 11], {1, 2, 3, 4, 5}),
    "zero, just": (0.79, [0, 0], [0, 8], [-1, -1, -1, 3, 4, 5, 6, 7, -1, -1, -1, 11], {0, 1, 2, 8, 9, 10}),
    "copy": (0.8, [0, 7], [4, 1], [0, 7, 8, 9, 0, 1, 2, 7, 8, 9, 10, 11], {1, 2, 3, 4, 5, 6}),
    "later wins": (0.85, [0, 8], [4, 5], [0, 1, 2, 3, 0, 8, 9, 10, 8, 9, 10, 11], {4, 5, 6, 7}),
    "later wins, backwards": (0.85, [8, 0], [5, 4], [0, 1, 2, 3, 0, 1, 2, 10, 8, 9, 10, 11], {4, 5, 6, 7}),
    "reads before writes": (0.85, [0, 3], [3, 6], [0, 1, 2, 0, 1, 2, 3, 4, 5, 9, 10, 11], {3, 4, 5, 6, 7, 8}),
    "onto itself": (0.85, [2, 8], [2, 5], [0, 1, 2, 3, 4, 8, 9, 10, 8, 9, 10, 11], {2, 3, 4, 5, 6, 7}),
    "left alone": (0.9, [0, 7], [4, 1], list(range(12)), set()),
}


@pytest.mark.parametrize("name", ORIGINAL_BY_HAND)
@pytest.mark.parametrize("band", [None, 0, 22])
def test_original_by_hand(name, band, scripted, reference_original, distinct):
    kind, read, write, source, flagged = ORIGINAL_BY_HAND[name]
    bins = [band is not None and band <= f < band + 3 for f in range(N_BINS)]
    altered, cells = scripted(Masking("original"), distinct(), write, read, kind, band)
    by_hand = applied(distinct(), source, [t in flagged for t in range(12)], bins)
    np.testing.assert_array_equal(altered, by_hand[0])
    np.testing.assert_array_equal(cells, by_hand[1])
    assert (reference_original(kind, read, write, 12)[0]) == source


PAPER_BY_HAND = {
    # name: (kind of each span, starts, partners, source frame of each of 12 frames, flagged frames)
    "zero and leave": ([0.5, 0.95], [1, 6], [9, 3], [0, -1, -1, -1, 4, 5, 6, 7, 8, 9, 10, 11], {1, 2, 3, 6, 7, 8}),
    "change places": (
        [0.85, 0.95],
        [0, 4],
        [9, 4],
        [9, 10, 11, 3, 4, 5, 6, 7, 8, 0, 1, 2],
        {0, 1, 2, 4, 5, 6, 9, 10, 11},
    ),
    "zero and change": (
        [0.1, 0.8],
        [0, 3],
        [5, 8],
        [-1, -1, -1, 8, 9, 10, 6, 7, 3, 4, 5, 11],
        {0, 1, 2, 3, 4, 5, 8, 9, 10},
    ),
    "last frame": ([0.1, 0.9], [9, 0], [0, 0], [0, 1, 2, 3, 4, 5, 6, 7, 8, -1, -1, -1], {0, 1, 2, 9, 10, 11}),
}


@pytest.mark.parametrize("name", PAPER_BY_HAND)
@pytest.mark.parametrize("band", [0, 23])
def test_paper_by_hand(name, band, scripted, distinct):
    kinds, starts, partners, source, flagged = PAPER_BY_HAND[name]
    bins = [band <= f < band + 3 for f in range(N_BINS)]
    altered, cells = scripted(Masking("paper"), distinct(), starts, partners, kinds, band)
    by_hand = applied(distinct(), source, [t in flagged for t in range(12)], bins)
    np.testing.assert_array_equal(altered, by_hand[0])
    np.testing.assert_array_equal(cells, by_hand[1])
    assert (reference_paper(kinds, starts, partners, 12)[0]) == source


@pytest.mark.parametrize("kind", [0.3, 0.85, 0.99])
def test_original_equals_the_reference_for_given_draws(kind, scripted, reference_original, distinct):
    """Full length, all channels, with the many overlaps of 29 spans."""
    draw, spectrogram = random.Random(int(kind * 100)), distinct(N_FRAMES, 6)
    for _ in range(5):
        read, write, band = draw.sample(range(596), 29), draw.sample(range(596), 29), draw.randrange(23)
        altered, cells = scripted(Masking("original"), spectrogram, write, read, kind, band)
        bins = [band <= f < band + 3 for f in range(N_BINS)]
        expected = applied(spectrogram, *reference_original(kind, read, write), bins)
        np.testing.assert_array_equal(altered, expected[0])
        np.testing.assert_array_equal(cells, expected[1])


# ---- settings -------------------------------------------------------------------------------------------------------


def test_number_of_spans():
    assert Masking("original").spans(599) == Masking("paper").spans(599) == 29
    assert Masking("original").bands() == Masking("paper").bands() == 1


@pytest.mark.parametrize("reading", masking.READINGS)
def test_nothing_to_alter(reading):
    """Ratios of 0, and recordings too short for one span, give the input and an empty loss."""
    spectrogram = jnp.ones((12, N_BINS))  # int(0.15 * 12 / 3) = 0 spans
    cfg = Masking(reading, frequency_ratio=0)
    altered, cells = alter(jax.random.key(0), spectrogram, cfg)
    assert not cells.any()
    np.testing.assert_array_equal(altered, spectrogram)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"reading": "orignal"}, "masking.reading is 'orignal', expected one of paper, original"),
        ({"time_ratio": 1.0}, "masking.time_ratio is 1.0, expected a share from 0 to below 1"),
        ({"time_ratio": -0.1}, "masking.time_ratio is -0.1"),
        ({"frequency_ratio": 1.5}, "masking.frequency_ratio is 1.5"),
        ({"frequency_ratio": float("nan")}, "masking.frequency_ratio is nan"),
        ({"time_width": 0}, "masking.time_width is 0, expected a whole number from 1"),
        ({"frequency_width": -3}, "masking.frequency_width is -3, expected a whole number from 1"),
        ({"time_width": 2.5}, "masking.time_width is 2.5, expected a whole number from 1"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Masking(**settings)
