"""The alteration over 10,000 draws: the law of each reading, and the slow transcription of the original one."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from selfpab_jax.signals import masking
from selfpab_jax.signals.masking import Masking, alter
from selfpab_jax.signals.stft import N_BINS, N_FRAMES

DRAWS, CHANNELS = 10_000, 2
SIGMAS = 4.5  # of sampling error: one in 150,000 by chance, and the seeds are fixed
ZEROED = -1  # as in conftest.py


def reference_draw(draw: random.Random, reference_original, frames=N_FRAMES):
    """(source, flagged, band) of one spectrogram, drawn as the original code draws."""
    k = int(0.15 * frames / 3)
    kind, a, b = draw.random(), draw.sample(range(frames - 3), k), draw.sample(range(frames - 3), k)
    band = [False] * N_BINS
    if draw.random() < 0.9:
        (start,) = draw.sample(range(N_BINS - 3), int(0.2 * N_BINS / 3))
        band[start : start + 3] = [True] * 3
    return *reference_original(kind, a, b, frames), band


class Drawn:
    """What many alterations did: source frame [N, T] (or ZEROED), flagged [N, T], band [N, F]."""

    def __init__(self, source, flagged, band):
        self.source, self.flagged, self.band = np.asarray(source), np.asarray(flagged), np.asarray(band)
        moved = self.source != np.arange(self.source.shape[1])
        self.zero = (self.source == ZEROED).any(1)
        self.swap = moved.any(1) & ~self.zero
        # Cells of time or band, without laying out N x T x F of them.
        time, band = self.flagged.mean(1), self.band.mean(1)
        self.share = time + band - time * band


def taken_apart(cfg, seed, spectrogram):
    spectrogram = jnp.asarray(spectrogram)

    def one(key):
        altered, cells = alter(key, spectrogram, cfg)
        flagged, bands = cells.all(1), cells.all(0).reshape(CHANNELS, N_BINS)  # [T], [C, F]
        most = altered.max(1)
        source = jnp.where(most > 0, (most - 1).astype(jnp.int32) // (CHANNELS * N_BINS), ZEROED)
        again = jnp.where((source == ZEROED)[:, None] | bands.reshape(-1), 0, spectrogram[source])
        whole = (again == altered).all() & (cells == (flagged[:, None] | bands.reshape(-1))).all()
        kept = jnp.where(cells, spectrogram, altered) == spectrogram
        return source.astype(jnp.int16), flagged, bands[0], whole, kept.all(), (bands == bands[0]).all()

    keys = jax.random.split(jax.random.key(seed), DRAWS)
    source, flagged, band, whole, kept, same = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=200))(keys)
    assert whole.all(), "an alteration is whole frames and whole bins"
    assert kept.all(), "cells outside the loss are the input's, bit for bit"
    assert same.all(), "every channel has the same band"
    return Drawn(source, flagged, band)


@pytest.fixture(scope="module")
def original(distinct):
    return taken_apart(Masking("original"), seed=0, spectrogram=distinct(N_FRAMES, CHANNELS))


@pytest.fixture(scope="module")
def paper(distinct):
    return taken_apart(Masking("paper"), seed=1, spectrogram=distinct(N_FRAMES, CHANNELS))


@pytest.fixture(scope="module")
def reference(reference_original):
    draw = random.Random(0)
    rows = (reference_draw(draw, reference_original) for _ in range(DRAWS))
    return Drawn(*(np.array(part) for part in zip(*rows, strict=True)))


def noted(name, value, expected, error):
    """Prints a measured value beside the expected one; asserts that they agree within sampling error."""
    print(f"{name}: {value:.5f}, expected {expected:.5f}, {abs(value - expected) / error:.1f} sigma")
    assert abs(value - expected) <= SIGMAS * error, name


def share(name, hits, expected):
    noted(name, np.mean(hits), expected, math.sqrt(expected * (1 - expected) / np.size(hits)))


def same_distribution(name, ours, theirs, bins):
    """Chi-square of two samples over bins of about equal counts."""
    edges = np.unique(np.quantile(np.concatenate([ours, theirs]), np.linspace(0, 1, bins + 1)))
    edges[-1] += 1
    counts = np.array([np.histogram(sample, edges)[0] for sample in (ours, theirs)])
    p = scipy.stats.chi2_contingency(counts).pvalue
    print(f"{name}: p {p:.3f} that both follow the same law")
    assert p > 1e-4, name


def hit(width, count, stop, position, kept=1.0):
    """Chance that `position` lies in one of `count` spans with different starts from range(stop), each kept with
    chance `kept`."""
    covering = sum(0 <= start < stop for start in range(position - width + 1, position + 1))
    law = scipy.stats.hypergeom(stop, covering, count)
    return 1 - sum(law.pmf(n) * (1 - kept) ** n for n in range(covering + 1))


# ---- reading "original" ---------------------------------------------------------------------------------------------


def test_original_kinds(original):
    share("zeroed", original.zero, 0.8)
    share("copied", original.swap, 0.1)
    share("left alone", ~original.flagged.any(1), 0.1)
    for kind in (original.zero, original.swap):
        assert original.flagged[kind].any(1).all()


def test_original_zeroes_a_union_of_29_spans(original, reference):
    count = original.flagged[original.zero].sum(1)
    print(f"altered frames: {count.min()}..{count.max()}, mean {count.mean():.2f}")
    theirs = reference.flagged[reference.zero].sum(1)
    print(f"the same in the reference: {theirs.min()}..{theirs.max()}, mean {theirs.mean():.2f}")
    assert (count[:, None] <= 87).all()
    expected = sum(hit(3, 29, 596, t) for t in range(599))
    noted("mean number of frames", count.mean(), expected, count.std() / len(count) ** 0.5)
    assert ((original.source == ZEROED) == (original.flagged & original.zero[:, None])).all()


def test_original_never_reaches_the_last_frame_and_bin(original):
    assert not original.flagged[:, 598].any()
    assert original.flagged[:, 597].any()
    assert not original.band[:, 25].any()
    assert original.band[:, 24].any()


def test_original_covers_frames_evenly(original):
    """Each frame as often as 29 different starts out of 0..595 say: rarer at both ends."""
    expected = np.array([hit(3, 29, 596, t) for t in range(599)])
    for name, rows in (("zeroed", original.zero), ("copied", original.swap)):
        n = rows.sum()
        deviation = (original.flagged[rows].mean(0) - expected)[:598] / np.sqrt(expected * (1 - expected) / n)[:598]
        print(f"{name} frames: largest deviation {np.abs(deviation).max():.1f} sigma of 598")
        assert np.abs(deviation).max() < 5
        assert 0.85 < deviation.std() < 1.15


def test_original_band(original):
    share("a band", original.band.any(1), 0.9)
    rows = original.band[original.band.any(1)]
    assert (rows.sum(1) == 3).all()
    start = rows.argmax(1)
    assert (rows[np.arange(len(rows)), start + 2]).all()
    p = scipy.stats.chisquare(np.bincount(start, minlength=23)).pvalue
    print(f"band starts 0..22: p {p:.3f} that they are uniform")
    assert start.max() == 22 and p > 1e-4


def test_original_band_does_not_depend_on_the_kind(original):
    kinds, bands = (original.zero, original.swap, ~original.flagged.any(1)), original.band.any(1)
    table = [[(kind & band).sum() for band in (bands, ~bands)] for kind in kinds]
    assert scipy.stats.chi2_contingency(np.array(table)).pvalue > 1e-4


def test_original_share_of_the_loss(original, reference):
    time = 0.9 * np.mean([hit(3, 29, 596, t) for t in range(599)])
    expected = 1 - (1 - time) * (1 - 0.9 * 3 / 26)
    assert round(expected, 3) in (0.215, 0.216)
    noted("share of cells in the loss", original.share.mean(), expected, original.share.std() / DRAWS**0.5)
    noted("the same in the reference", reference.share.mean(), expected, reference.share.std() / DRAWS**0.5)
    share("nothing altered", original.share == 0, 0.01)


def test_original_copies(original):
    """Flagged frames come from elsewhere, in steps of one inside a span; all others stay, also the frames copied."""
    source, flagged = original.source[original.swap].astype(int), original.flagged[original.swap]
    assert (source >= 0).all()
    assert (np.where(flagged, source, np.arange(599)) == source).all()
    read = np.zeros_like(flagged)
    for row, written, copied in zip(source, flagged, read, strict=True):
        ends = np.flatnonzero(np.diff(np.concatenate([[False], written, [False]]).astype(int)))
        assert (ends[1::2] - ends[::2] >= 3).all()
        assert len(np.unique((row - np.arange(599))[written])) <= 29
        copied[row[written]] = True
    stay = (read & ~flagged).sum(1)
    print(f"frames copied from and not themselves flagged: {stay.min()}..{stay.max()}, mean {stay.mean():.1f}")
    assert stay.min() > 40  # an exchange would flag them all


def test_original_equals_the_reference_in_distribution(original, reference):
    for name in ("zero", "swap"):
        ours, theirs = (drawn.flagged[getattr(drawn, name)].sum(1) for drawn in (original, reference))
        same_distribution(f"{name}: flagged frames", ours, theirs, bins=12)
    same_distribution("share of the loss", original.share, reference.share, bins=20)
    same_distribution(
        "shift of copied frames",
        *(
            (drawn.source[drawn.swap] - np.arange(599))[:, 300][drawn.flagged[drawn.swap][:, 300]]
            for drawn in (original, reference)
        ),
        bins=10,
    )
    same_distribution("first flagged frame", *(d.flagged[d.zero].argmax(1) for d in (original, reference)), bins=15)
    gaps = (np.diff(np.flatnonzero(d.flagged[d.zero][:2000].ravel())) for d in (original, reference))
    same_distribution("gaps between flagged frames", *gaps, bins=12)
    kinds = [[d.zero.sum(), d.swap.sum(), DRAWS - d.zero.sum() - d.swap.sum()] for d in (original, reference)]
    assert scipy.stats.chi2_contingency(np.array(kinds)).pvalue > 1e-4


def test_starts_are_uniform_and_without_repeats():
    keys = jax.random.split(jax.random.key(2), DRAWS)
    drawn = np.sort(jax.jit(jax.vmap(lambda key: masking._starts(key, 29, 596)))(keys))
    assert (np.diff(drawn) > 0).all()
    assert drawn.min() == 0 and drawn.max() == 595
    counts, chance = np.bincount(drawn.ravel(), minlength=596), 29 / 596
    deviation = (counts - DRAWS * chance) / math.sqrt(DRAWS * chance * (1 - chance))
    p = scipy.stats.chi2.sf((deviation**2).sum(), 595)
    print(f"starts: largest deviation {np.abs(deviation).max():.1f} sigma of 596; p {p:.3f} that they are uniform")
    assert np.abs(deviation).max() < 5 and p > 1e-4


@pytest.mark.parametrize("reading", masking.READINGS)
def test_samples_differ_and_keys_decide(reading, request):
    drawn = request.getfixturevalue(reading)
    bands_only = drawn.flagged.sum(1) == 0
    assert len({row.tobytes() for row in drawn.flagged[~bands_only]}) == (~bands_only).sum()
    key = jax.random.split(jax.random.key(masking.READINGS[::-1].index(reading)), DRAWS)[7]
    alone = alter(key, jnp.ones((N_FRAMES, N_BINS)), Masking(reading))
    np.testing.assert_array_equal(alone.cells, drawn.flagged[7][:, None] | drawn.band[7])


# ---- reading "paper" ------------------------------------------------------------------------------------------------


def test_paper_band_is_always_there_and_reaches_the_end(paper):
    assert (paper.band.sum(1) == 3).all()
    start = paper.band.argmax(1)
    assert paper.band[np.arange(DRAWS), start + 2].all()
    assert set(start) == set(range(24))
    p = scipy.stats.chisquare(np.bincount(start)).pvalue
    print(f"band starts 0..23: p {p:.3f} that they are uniform")
    assert p > 1e-4


def test_paper_draws_a_kind_for_each_span(paper):
    """Zeroed frames are those of 29 spans, each zeroed with chance 0.8; the last frame is in reach."""
    expected = np.array([hit(3, 29, 597, t, kept=0.8) for t in range(599)])
    zeroed = paper.source == ZEROED
    deviation = (zeroed.mean(0) - expected) / np.sqrt(expected * (1 - expected) / DRAWS)
    print(f"zeroed frames: largest deviation {np.abs(deviation).max():.1f} sigma of 599")
    assert np.abs(deviation).max() < 5
    assert zeroed[:, 598].any()
    assert (zeroed.any(1) & (paper.source != np.where(zeroed, ZEROED, np.arange(599))).any(1)).mean() > 0.9


def test_paper_keeps_selected_frames_in_the_loss(paper):
    """Selected: the 29 spans whatever their kind, and the partners of those that change places."""
    outside = [(1 - hit(3, 29, 597, t)) * (1 - hit(3, 29, 597, t, kept=0.1)) for t in range(599)]
    count = paper.flagged.sum(1)
    noted("selected frames", count.mean(), 599 - sum(outside), count.std() / DRAWS**0.5)
    unchanged = paper.flagged & (paper.source == np.arange(599))
    assert unchanged.any(1).mean() > 0.8
    expected = 1 - sum(outside) / 599 * (1 - 3 / 26)
    noted("share of cells in the loss", paper.share.mean(), expected, paper.share.std() / DRAWS**0.5)
