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
