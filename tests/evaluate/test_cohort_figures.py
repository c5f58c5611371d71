"""The picture of a cohort: the ticks of its logarithmic axes, for few subjects and for many."""

import numpy as np
import pytest

from selfpab_jax.evaluate import cohort_figures


@pytest.mark.parametrize(
    ("subjects", "ticks"),
    [
        (1, {"1"}),
        (2, {"1", "2"}),
        (18, {"1", "2", "5", "10"}),
        (90, {"1", "2", "5", "10", "20", "50"}),
        (35_000, {"1", "10", "100", "1,000", "10,000"}),
    ],
)
def test_subjects_can_be_read_off(subjects, ticks, monkeypatch):
    monkeypatch.setattr(cohort_figures, "save", lambda figure, path: figure)
    hours = np.full(subjects, 10.0)
    figure = cohort_figures.cohort_figure(hours, {"gap": 1.0}, 11.0 * subjects, np.cumsum(hours), None, "x.png")
    figure.draw_without_rendering()
    axes = figure.axes[-1]
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        shown = [tick for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) if low <= tick.get_loc() <= high]
        shown = [text for tick in shown if (text := tick.label1.get_text())]
        assert len(shown) >= min(2, subjects) and len(shown) == len(set(shown))
        if axis is axes.xaxis:
            assert {text for text in shown if float(text.replace(",", "")) <= subjects} == ticks


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        ([10.0, 30.0], "tiny: 2 subjects, 40.0 h in windows, 80.0 % of 50.0 h recorded"),
        ([0.0, 10.0, 0.0, 30.0], "tiny: 4 subjects, 2 with windows, 40.0 h in windows, 80.0 % of 50.0 h recorded"),
    ],
)
def test_subjects_without_a_window_are_told_apart(hours, words, monkeypatch):
    monkeypatch.setattr(cohort_figures, "save", lambda figure, path: figure)
    figure = cohort_figures.cohort_figure(
        np.array(hours), {"gap": 10.0}, 50.0, np.array([10.0, 40.0]), None, "x.png", "tiny"
    )
    assert figure.get_suptitle() == words
    assert figure.axes[-1].get_xlabel() == "subjects with windows, in a random order"
