"""Correlations of pre-training loss and score beside SciPy's and by hand, the table, and the picture."""

import math
import struct

import numpy as np
import pytest

from selfpab_jax.evaluate import loss_and_score
from selfpab_jax.evaluate.loss_and_score import correlation, scatter, table


def row(x, score, loss="lmm", seed=0, step=0, **more):
    return {"loss": loss, "seed": seed, "step": step, "recipe": "linear", "score": score, "valid/lmm": x} | more


def random_rows():
    """Two losses, two seeds, four checkpoints each, not in order of steps; lmv is known for one loss only."""
    rng = np.random.default_rng(0)
    rows = []
    for loss in ("lmm", "mse"):
        for seed in (0, 1):
            for step in (300, 100, 400, 200):
                more = {"valid/mse": 10.0 ** rng.uniform(-3, 0)}
                more |= {"valid/lmv": rng.uniform(0.5, 1)} if loss == "lmm" else {}
                rows.append(row(rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.9), loss, seed, step, **more))
    return rows


def test_correlation_equals_scipy():
    from scipy.stats import pearsonr

    rows = random_rows()
    found = correlation(rows, "valid/lmm")
    expected = pearsonr([one["valid/lmm"] for one in rows], [one["score"] for one in rows])
    assert found["r"] == pytest.approx(expected.statistic, abs=1e-12)
    assert found["p"] == pytest.approx(expected.pvalue, abs=1e-12)
    assert (found["n"], found["n_runs"]) == (16, 4)


def test_within_runs_by_hand():
    # In each run the score falls as the loss rises; between the runs both are higher: r > 0 in all, -1 within.
    rows = [row(1, 0.3), row(2, 0.2), row(3, 0.1), row(11, 0.9, seed=1), row(12, 0.8, seed=1)]
    found = correlation(rows, "valid/lmm")
    assert found["r"] > 0.8
    assert found["r_within"] == pytest.approx(-1)
    # Less their means: x -1, 0, 1 and -1, 1; score 0.1, -0.2, 0.1 and -0.1, 0.1.
    rows = [row(1, 0.4), row(2, 0.1), row(3, 0.4), row(5, 0.6, "mse"), row(7, 0.8, "mse")]
    expected = (-0.1 + 0 + 0.1 + 0.1 + 0.1) / math.sqrt(4 * (0.01 + 0.04 + 0.01 + 0.01 + 0.01))
    assert correlation(rows, "valid/lmm")["r_within"] == pytest.approx(expected)


def test_recipes_of_a_run_have_means_of_their_own():
    rows = [row(x, score) for x, score in ((1, 0.3), (2, 0.2), (3, 0.1))]
    rows += [
        one | {"recipe": "finetune", "score": one["score"] + 0.5, "valid/lmm": one["valid/lmm"] + 1} for one in rows
    ]
    found = correlation(rows, "valid/lmm")
    assert found["r_within"] == pytest.approx(-1)
    assert found["n_runs"] == 1


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(1, 0.2), row(2, 0.3)],  # any two points lie on a line
        [row(0.1, score) for score in (0.1, 0.2, 0.3)],  # the mean of three 0.1 is not 0.1
        [row(x, 0.7) for x in (1, 2, 3)],
        [row(1, 0.2), row(2, 0.3), row(None, 0.4), row(math.nan, 0.5), row(3, math.inf)],
    ],
)
def test_no_correlation_without_three_rows_or_spread(rows):
    found = correlation(rows, "valid/lmm")
    assert all(math.isnan(found[key]) for key in ("r", "p", "r_within"))
    assert found["n"] == len(rows) - (3 if len(rows) == 5 else 0)
    assert correlation(rows, "valid/absent")["n"] == 0


def test_within_runs_needs_several_checkpoints_of_a_run():
    seeds = [row(x, x / 10, seed=x) for x in (1, 2, 3)]
    assert correlation(seeds, "valid/lmm")["r"] == pytest.approx(1)
    assert math.isnan(correlation(seeds, "valid/lmm")["r_within"])
    assert math.isnan(correlation([*seeds, row(4, 0.7, seed=3)], "valid/lmm")["r_within"])  # a line through two points
    constant = [row(0.1 * seed, score, seed=seed) for seed in (1, 3) for score in (0.1, 0.2, 0.4)]
    assert math.isnan(correlation(constant, "valid/lmm")["r_within"])  # spread between the runs only


def test_table():
    rows = [row(1, 0.4), row(2, 0.1), row(3, 0.4), row(5, 0.6, "mse"), row(7, 0.8, "mse")]
    lines = table(rows, ["valid/lmm"]).splitlines()
    assert lines[0] == "| metric | pre-training loss | r | p | n | runs | r within runs |"
    whole = correlation(rows, "valid/lmm")
    assert lines[2] == f"| valid/lmm | all | {whole['r']:+.2f} | {whole['p']:.3f} | 5 | 2 | +0.35 |"
    assert lines[3] == "| valid/lmm | lmm | +0.00 | 1.000 | 3 | 1 | +0.00 |"
    assert lines[4] == "| valid/lmm | mse | – | – | 2 | 1 | – |"
    assert "not independent" in lines[-1]
    assert len(table(random_rows(), ["valid/lmm", "valid/lmv"]).splitlines()) == 2 + 2 * 3 + 2


def test_scatter(tmp_path, monkeypatch):
    figures, save = [], loss_and_score.save
    monkeypatch.setattr(loss_and_score, "save", lambda figure, path: figures.append(figure) or save(figure, path))
    rows = random_rows()
    path = scatter(rows, ["valid/lmm", "valid/mse", "valid/lmv", "valid/lmm"], tmp_path / "deep" / "scatter.png")
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert 1000 < width < 2500 and 800 < height < 2000
    assert [one.name for one in path.parent.iterdir()] == ["scatter.png"]
    panels = figures[0].axes
    assert [axes.get_xscale() for axes in panels[:4]] == ["linear", "log", "linear", "linear"]
    assert [axes.get_visible() for axes in panels] == [True] * 4 + [False] * 2
    assert [len(axes.lines) for axes in panels[:3]] == [4, 4, 2]
    line = panels[0].lines[1]  # seed 1 of lmm, steps put in order
    ordered = sorted(rows[4:8], key=lambda one: one["step"])
    np.testing.assert_allclose(line.get_xdata(), [one["valid/lmm"] for one in ordered])
    np.testing.assert_allclose(line.get_ydata(), [100 * one["score"] for one in ordered])
    first, second, other = (panels[0].lines[index] for index in (0, 1, 2))
    assert first.get_color() == second.get_color() != other.get_color()
    assert first.get_marker() == other.get_marker() != second.get_marker()
    found = correlation(rows, "valid/lmv")
    assert panels[2].get_title(loc="left") == f"r = {found['r']:+.2f}, p = {found['p']:.3f}, n = 8"
    assert scatter(rows[:1], ["valid/lmm"], tmp_path / "one.png").exists()


@pytest.mark.parametrize("job", [table, lambda rows, metrics: scatter(rows, metrics, "never.png")])
def test_unknown_metric(job):
    with pytest.raises(ValueError, match=r"none of the 1 rows holds the metric 'valid/lnm', expected .*valid/lmm"):
        job([row(1, 0.5)], ["valid/lnm"])
    with pytest.raises(ValueError, match="no metric was named"):
        job([row(1, 0.5)], [])


def test_scores_by_step():
    rows = [
        {"loss": "lmm", "seed": seed, "step": step, "recipe": "x", "score": score}
        for seed, step, score in ((0, 500, 0.5), (1, 500, 0.7), (0, 1000, 0.8), (1, 1000, 0.8))
    ]
    found = loss_and_score.by_step([*rows, rows[0] | {"loss": "mse"}])
    assert found.splitlines()[0] == "| pre-training loss | step 500 | step 1,000 |"
    assert found.splitlines()[2:] == ["| lmm | 60.0 ± 10.0 | 80.0 ± 0.0 |", "| mse | 50.0 | – |"]
