"""Does a lower pre-training loss mean a better score downstream? Correlations, a table and a picture.

The input is a list of dictionaries, one for each pre-trained checkpoint that was probed:

    {"loss": name of the pre-training loss, "seed": int, "step": int, "recipe": str, "score": mean over subjects, 0..1,
     "valid/<metric>": mean over the validation windows, ...}

The rows should be of one recipe: scores of two recipes do not compare. A metric that is missing, None or not finite
takes its row out of what concerns this metric.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from selfpab_jax.evaluate.figures import COLOURS, bare, new_figure, save
from selfpab_jax.evaluate.metrics import mean_and_standard_error
from selfpab_jax.evaluate.report import markdown_table, p_value, percent

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FEWEST_ROWS = 3  # two points always lie on a line
FOOTNOTE = (
    "r is Pearson's, of the loss and the score; negative means that a lower loss goes with a higher score. Checkpoints "
    "of one run, and runs that differ in the seed alone, are not independent: p describes, it does not test. r within "
    "runs is of what is left after each run's own means are taken away."
)


def correlation(rows: Sequence[Mapping], metric: str) -> dict[str, float | int]:
    """Pearson's correlation of a metric with the score: {"r", "p", "n", "r_within", "n_runs"}.

    Checkpoints of one run share their initialisation and data, and seeds share the data, so the rows are not
    independent: p (two-sided) is too small and describes only. r_within is the pooled correlation within runs, of
    metric and score less the means of their run, a run being a pre-training loss with a seed; it is blind to
    differences between losses. n counts the rows used, n_runs their runs.

    r and p are NaN for fewer than 3 rows or where metric or score has no spread, r_within also where there are fewer
    than two rows more than runs.

    Args:
      rows: see the head of this module.
      metric: such as "valid/lmm".
    """
    used = _usable(rows, metric)
    x = np.array([row[metric] for row in used], np.float64)
    y = np.array([row["score"] for row in used], np.float64)
    r, p = _pearson(x, y)
    runs, within = _runs(used), math.nan
    if len(used) - len(runs) >= FEWEST_ROWS - 1:
        rest = [np.stack([_less_mean(x[one]), _less_mean(y[one])]) for one in runs.values()]
        within = _pearson(*np.concatenate(rest, axis=1))[0]
    return {"r": r, "p": p, "n": len(used), "r_within": within, "n_runs": len({key[:2] for key in runs})}


def table(rows: Sequence[Mapping], metrics: Sequence[str]) -> str:
    """Markdown: a line per metric for all rows and for each pre-training loss, with `correlation`'s numbers.

    Raises:
      ValueError: a metric that no row holds.
    """
    _check(rows, metrics)
    lines = []
    for metric in metrics:
        groups = {"all": rows} | {loss: [row for row in rows if row["loss"] == loss] for loss in _losses(rows)}
        for name, group in groups.items():
            one = correlation(group, metric)
            r, within = _signed(one["r"]), _signed(one["r_within"])
            lines.append([metric, name, r, _p(one["p"]), str(one["n"]), str(one["n_runs"]), within])
    header = ["metric", "pre-training loss", "r", "p", "n", "runs", "r within runs"]
    return markdown_table(header, lines) + "\n" + FOOTNOTE + "\n"


def by_step(rows: Sequence[Mapping]) -> str:
    """Markdown: the score in percent of each pre-training loss at each checkpoint, mean ± standard error over seeds."""
    steps = sorted({row["step"] for row in rows})
    lines = []
    for loss in _losses(rows):
        of_step = [[row["score"] for row in rows if (row["loss"], row["step"]) == (loss, step)] for step in steps]
        found = [mean_and_standard_error(scores) for scores in of_step]
        lines.append([str(loss), *(percent(float(mean), float(se)) for mean, se, _ in found)])
    return markdown_table(["pre-training loss", *(f"step {step:,}" for step in steps)], lines)


def scatter(rows: Sequence[Mapping], metrics: Sequence[str], path: str | Path) -> Path:
    """The path of a PNG with a panel per metric: the score in percent over the metric on validation windows.

    Colour is the pre-training loss, marker the seed; a thin line joins the checkpoints of a run in order of steps. The
    axis is logarithmic where the metric spans more than a decade; r and p above are of the plain values.

    Raises:
      ValueError: a metric that no row holds.
    """
    from matplotlib.lines import Line2D

    _check(rows, metrics)
    losses, seeds = _losses(rows), sorted({row["seed"] for row in rows})
    colours = {loss: COLOURS[index % len(COLOURS)] for index, loss in enumerate(losses)}
    markers = {seed: MARKERS[index % len(MARKERS)] for index, seed in enumerate(seeds)}
    across = min(3, len(metrics))
    down = math.ceil(len(metrics) / across)
    figure = new_figure(1.8 + 3.6 * across, 0.4 + 3.4 * down)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).reshape(-1)
    for axes, metric in zip(panels, metrics, strict=False):
        used = _usable(rows, metric)
        for (loss, seed, _), numbers in _runs(used).items():
            run = sorted((used[number] for number in numbers), key=lambda row: row["step"])
            x, y = [row[metric] for row in run], [100 * row["score"] for row in run]
            style = {"marker": markers[seed], "markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.6}
            axes.plot(x, y, color=colours[loss], linewidth=0.8, alpha=0.9, **style)
        lowest, highest = (function([row[metric] for row in used], default=1) for function in (min, max))
        if 0 < lowest and 10 * lowest < highest:
            axes.set_xscale("log")
        else:
            axes.locator_params(axis="x", nbins=5)
        one = correlation(rows, metric)
        sign = "" if one["p"] < 0.001 else "= "
        axes.set_title(f"r = {_signed(one['r'])}, p {sign}{_p(one['p'])}, n = {one['n']}", loc="left", fontsize=10)
        axes.set_xlabel(f"{metric.removeprefix('valid/')} on validation windows")
        bare(axes)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    for axes in panels[::across]:
        axes.set_ylabel("score in %")
    marks = [Line2D([], [], color=colours[loss], linewidth=3, label=str(loss)) for loss in losses]
    shapes = {"color": "#555555", "linestyle": "", "markersize": 6}
    marks += [Line2D([], [], marker=markers[seed], label=f"seed {seed}", **shapes) for seed in seeds]
    figure.legend(handles=marks, loc="outside right upper", frameon=False, fontsize=9, title="pre-training loss")
    return save(figure, path)


def _check(rows: Sequence[Mapping], metrics: Sequence[str]) -> None:
    known = sorted({key for row in rows for key in row if key.startswith("valid/")})
    for metric in metrics:
        if not any(metric in row for row in rows):
            raise ValueError(f"none of the {len(rows)} rows holds the metric '{metric}', expected one of {known}")
    if not metrics:
        raise ValueError(f"no metric was named, expected some of {known}")


def _losses(rows: Sequence[Mapping]) -> list[str]:
    """Pre-training losses in order of appearance."""
    return list(dict.fromkeys(row["loss"] for row in rows))


def _usable(rows: Sequence[Mapping], metric: str) -> list[Mapping]:
    """The rows whose metric and score are finite numbers."""
    pairs = [(row, (row.get(metric), row.get("score"))) for row in rows]
    return [row for row, pair in pairs if all(value is not None and math.isfinite(value) for value in pair)]


def _runs(rows: Sequence[Mapping]) -> dict[tuple, list[int]]:
    """(loss, seed, recipe) -> numbers of the rows."""
    found: dict[tuple, list[int]] = {}
    for number, row in enumerate(rows):
        found.setdefault((row["loss"], row["seed"], row.get("recipe")), []).append(number)
    return found


def _spread(values: np.ndarray) -> bool:
    """Whether values differ by more than rounding."""
    return bool(values.size) and float(np.ptp(values)) > 1e-12 * float(np.abs(values).max())


def _less_mean(values: np.ndarray) -> np.ndarray:
    # Exactly 0 for equal values, whose mean may be rounded: noise would correlate too.
    return values - values.mean() if _spread(values) else np.zeros(values.shape)


def _pearson(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    if len(x) < FEWEST_ROWS or not (_spread(x) and _spread(y)):
        return math.nan, math.nan
    from scipy.stats import pearsonr  # imported late: it takes half a second, and training never needs it

    found = pearsonr(x, y)
    return float(found.statistic), float(found.pvalue)


def _signed(r: float) -> str:
    return "–" if math.isnan(r) else f"{r:+.2f}"


def _p(p: float) -> str:
    return "–" if math.isnan(p) else p_value(p)
