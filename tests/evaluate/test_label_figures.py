"""The label curve and the F1 bars: what is drawn, where, and in which order it is listed."""

import math

import matplotlib
import numpy as np
import pytest

from selfpab_jax.evaluate import figures, label_figures
from selfpab_jax.evaluate.label_figures import label_curve


@pytest.fixture
def drawn(monkeypatch):
    """Figures in the order they were written; each file is written too."""
    seen = []

    def keep(figure, path):
        seen.append(figure)
        return save(figure, path)

    save = figures.save
    for module in (figures, label_figures):
        monkeypatch.setattr(module, "save", keep)
    return seen


CURVES = {
    "SVM": [(4, 0.6, 0.02), (1, 0.4, 0.05), (13, 0.7, math.nan)],
    "SelfPAB": [(1, 0.5, 0.03), (4, 0.7, 0.02), (13, 0.8, 0.01)],
    "new": [(1, 0.45, 0.1), (4, math.nan, math.nan)],
}


def test_label_curve(drawn, tmp_path):
    path = label_curve(CURVES, tmp_path / "new" / "labels.png", "HARTH")
    assert path.read_bytes().startswith(b"\x89PNG") and [one.name for one in path.parent.iterdir()] == ["labels.png"]
    (axes,) = drawn[0].axes
    assert axes.get_title(loc="left") == "HARTH"
    assert axes.get_xscale() == "log" and axes.xaxis.get_transform().base == 2
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4", "13"]
    assert axes.get_xticks().tolist() == [1, 4, 13] and axes.get_xticks(minor=True).size == 0
    for container, (name, curve) in zip(axes.containers, CURVES.items(), strict=True):
        line, _, (bars,) = container.lines
        wanted = np.array(sorted(curve))
        assert container.get_label() == name
        # Moved a little, against overlap.
        np.testing.assert_allclose(line.get_xdata().astype(float), wanted[:, 0], rtol=0.02)
        np.testing.assert_array_equal(line.get_ydata().astype(float), wanted[:, 1])
        heights = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments() if len(segment)]
        known = [se if not math.isnan(se) else 0 for _, mean, se in sorted(curve) if not math.isnan(mean)]
        np.testing.assert_allclose(heights, known, atol=1e-12)
    # By the score with the most labels; the method that ends earlier comes last.
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["SelfPAB", "SVM", "new"]


def test_no_two_of_eighteen_methods_look_alike(drawn, tmp_path):
    label_curve(
        {f"method {i}": [(1, 0.3 + i / 30, 0.01), (2, 0.32 + i / 30, 0.01)] for i in range(18)}, tmp_path / "a.png"
    )
    lines = [container.lines[0] for container in drawn[0].axes[0].containers]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 18
    assert len({line.get_marker() for line in lines[:10]}) == 10


@pytest.mark.parametrize(
    ("points", "found"), [({}, "no point"), ({"SVM": []}, "no point"), ({"SVM": [(0, 0.1, 0.1)]}, "found 0")]
)
def test_label_curve_refuses(points, found, tmp_path):
    with pytest.raises(ValueError, match=f"at least one training subject.*{found}"):
        label_curve(points, tmp_path / "labels.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("methods", "panels"), [(1, 1), (6, 1), (9, 2), (14, 3)])
def test_f1_bars_wrap_into_panels(methods, panels, drawn, tmp_path):
    classes = [f"activity {number}" for number in range(10)]
    f1 = np.linspace(0.5, 0.95, methods * 11).reshape(methods, 11)
    summaries = {
        f"method {number}": {
            "macro_f1": {"mean": one[0], "se": 0.01},
            "per_class_f1": {"mean": one[1:], "se": np.full(10, 0.02)},
        }
        for number, one in enumerate(f1)
    }
    figures.activity_f1_bars(summaries, classes, tmp_path / "bars.png")
    assert len(drawn[0].axes) == panels
    labels = [text.get_text() for axes in drawn[0].axes for text in axes.get_xticklabels()]
    assert labels == ["all (macro)", *classes]
    bars = [
        kind
        for axes in drawn[0].axes
        for kind in axes.containers
        if isinstance(kind, matplotlib.container.BarContainer)
    ]
    for number in range(methods):
        heights = [bar.get_height() for panel in bars[number::methods] for bar in panel]
        np.testing.assert_array_equal(heights, f1[number])
    assert len(drawn[0].legends[0].get_texts()) == methods  # once, however many panels
    for axes in drawn[0].axes:  # inside the panel, each at its place
        low, high = axes.get_xlim()
        assert all(low < bar.get_x() and bar.get_x() + bar.get_width() < high for bar in axes.patches)
