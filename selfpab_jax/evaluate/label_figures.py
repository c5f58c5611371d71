"""A picture of what labels are worth: macro F1 over the number of labelled training subjects."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfpab_jax.evaluate.figures import COLOURS, bare, new_figure, save

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
SPREAD = 0.015  # between neighbouring methods, in powers of two, so that error bars stand beside each other


def label_curve(points: Mapping[str, Sequence[tuple[int, float, float]]], path: str | Path, title: str = "") -> Path:
    """The path of a PNG with a line per method: macro F1 over labelled training subjects, on a scale that doubles.

    The legend lists the methods by their score with the most labels, best first.

    Args:
      points: method -> (training subjects, mean, standard error) of each experiment, in any order; NaN where there is
        no mean or no standard error.

    Raises:
      ValueError: no point at all, or one without a training subject.
    """
    numbers = sorted({n for curve in points.values() for n, _, _ in curve})
    if not numbers or numbers[0] < 1:
        raise ValueError(
            f"the curve needs points of at least one training subject, found {numbers[0] if numbers else 'no point'}"
        )
    figure = new_figure(8.2, 4.6)
    axes = figure.subplots()
    lines, ends = [], []
    for index, (name, curve) in enumerate(points.items()):
        curve = sorted(curve)
        shift = 2 ** (SPREAD * (index - (len(points) - 1) / 2))
        lines.append(
            axes.errorbar(
                [n * shift for n, _, _ in curve],
                [mean for _, mean, _ in curve],
                yerr=[0.0 if math.isnan(se) else se for _, _, se in curve],
                label=name,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                linestyle=("-", "--", ":")[index // len(COLOURS) % 3],
                linewidth=1.6,
                markersize=5.5,
                elinewidth=1,
                capsize=2,
            )
        )
        ends.append(next(((n, mean) for n, mean, _ in reversed(curve) if not math.isnan(mean)), (0, 0.0)))
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, list(map(str, numbers)))
    axes.set_xlabel("labelled training subjects")
    axes.set_ylabel("macro F1, mean ± SE over subjects")
    axes.set_title(title, fontsize=11, loc="left")
    bare(axes)
    ranked = sorted(range(len(lines)), key=lambda index: ends[index], reverse=True)
    figure.legend(handles=[lines[i] for i in ranked], loc="outside right center", frameon=False, fontsize=9)
    return save(figure, path)
