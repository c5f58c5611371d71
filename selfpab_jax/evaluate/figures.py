"""Pictures of a run: loss curves, a reconstructed spectrogram, confusion matrices, F1 per activity.

Figures are built without pyplot, so that nothing global changes and no display is needed. matplotlib is
imported inside the functions: it takes half a second, and most of what imports this room never draws.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from selfpab_jax.evaluate.metrics import subject_scores
from selfpab_jax.evaluate.report import confusions, score_results
from selfpab_jax.signals.stft import CHANNELS, HOP, N_BINS, N_FFT, SAMPLE_RATE_HZ

# Okabe and Ito's colours, told apart by colour-blind readers too; black and yellow left out.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
HATCHES = ("", "//", "..", "xx")  # a second sign, used when methods outnumber the colours
HIDDEN = "#d9d9d9"
FADED = (1.0, 1.0, 1.0, 0.72)


def new_figure(width: float, height: float, layout: str = "constrained"):
    """An empty figure of this size in inches, made without pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def bare(axes) -> None:
    """Takes the frame's upper and right line away and puts a pale grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def save(figure, path: str | Path) -> Path:
    """Writes the PNG under a temporary name first, so that a reader never sees half a picture."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, format="png", dpi=150)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _series(rows: Sequence[Mapping], key: str) -> tuple[list, list]:
    """Steps and values of the rows that hold `key`; non-finite values become gaps."""
    found = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    steps, values = zip(*found, strict=True) if found else ((), ())
    return list(steps), [value if math.isfinite(value) else math.nan for value in values]


def loss_curves(rows: Sequence[Mapping], path: str | Path) -> Path:
    """The path of a PNG with training and validation loss above the learning rate, over steps.

    Args:
      rows: of metrics.jsonl, with "step" and any of "train/loss", "valid/loss", "train/learning_rate".
    """
    figure = new_figure(7.5, 5.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    steps, values = _series(rows, "train/loss")
    above.plot(steps, values, color=COLOURS[0], linewidth=1.3, label="training")
    steps, values = _series(rows, "valid/loss")
    few = len(steps) <= 60  # more markers than that run into each other
    above.plot(steps, values, color=COLOURS[5], linewidth=1.6, marker="o" if few else "", ms=4, label="validation")
    if values and not all(map(math.isnan, values)):
        best = int(np.nanargmin(values))
        above.annotate(
            f"best {values[best]:.4g} at step {steps[best]:,}",
            (steps[best], values[best]),
            xytext=(0, 24),
            textcoords="offset points",
            ha="right" if steps[best] > max(steps) / 2 else "left",
            fontsize=9,
            arrowprops={"arrowstyle": "->", "color": "#555555"},
        )
    above.set_ylabel("loss")
    above.legend(frameon=False, loc="upper right")
    below.plot(*_series(rows, "train/learning_rate"), color=COLOURS[2], linewidth=1.6)
    below.set_ylabel("learning rate")
    below.set_ylim(bottom=0)
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    below.set_xlabel("step")
    for axes in (above, below):
        bare(axes)
    figure.align_ylabels()
    return save(figure, path)


def reconstruction(
    parts: Mapping[str, np.ndarray],
    path: str | Path,
    channels: Sequence[str] = CHANNELS,
    frames: slice = slice(0, 120),
) -> Path:
    """The path of a PNG with a spectrogram as it is, as the encoder saw it, and as it was reconstructed.

    The panels share one colour scale, taken from the original. Altered cells are outlined in the first panel,
    grey in the second where they are NaN, and stand out in the third, where all others are faded.

    Args:
      parts: "original", "altered" and "reconstruction", float [T, C * F], and "cells", bool [T, C * F], the
        altered ones.
      channels: their names, in order.
      frames: which frames to draw; by default the first minute, since 5 minutes leave a frame 2 pixels.

    Raises:
      ValueError: another number of features than channels times bins.
    """
    from matplotlib import colormaps

    parts = {name: np.asarray(part)[frames] for name, part in parts.items()}
    features = parts["original"].shape[1]
    if features != len(channels) * N_BINS:
        raise ValueError(f"the picture needs {len(channels) * N_BINS} features a frame, found {features}")
    original, cells = parts["original"], parts["cells"].astype(bool)
    low, high = np.percentile(original, [1, 99])
    hop = HOP / SAMPLE_RATE_HZ
    # A frame is centred half its length after its start; pixels are as wide as the hop.
    first = (frames.start or 0) * hop + (N_FFT / SAMPLE_RATE_HZ - hop) / 2
    extent = (first, first + len(original) * hop, 0, features)
    titles = {
        "original": "original (cells to be altered outlined)",
        "altered": "what the encoder sees (altered cells grey)",
        "reconstruction": "reconstruction (unaltered cells faded)",
    }
    colours = colormaps["viridis"].with_extremes(bad=HIDDEN)
    figure = new_figure(11, 11)
    panels = figure.subplots(3, 1, sharex=True)
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        image = axes.imshow(
            np.ma.masked_invalid(parts[name].T),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=extent,
            cmap=colours,
            vmin=low,
            vmax=high,
        )
        axes.set_title(title, loc="left", fontsize=11)
        _channel_axis(axes, channels)
    _outline(panels[0], cells, extent)
    veil = np.where(cells.T[..., None], 0.0, np.array(FADED))  # [C * F, T, RGBA]
    panels[2].imshow(veil, origin="lower", aspect="auto", interpolation="nearest", extent=extent)
    panels[-1].set_xlabel("time in s")
    figure.supylabel("frequency in Hz, per channel", fontsize=10)
    figure.colorbar(image, ax=panels, label="magnitude as the encoder sees it", extend="both", aspect=40, pad=0.01)
    return save(figure, path)


def _channel_axis(axes, channels: Sequence[str]) -> None:
    """Frequency ticks inside each channel's band, the channel's name beside it, lines between channels."""
    marks = [(channel * N_BINS + hertz + 0.5, hertz) for channel in range(len(channels)) for hertz in (0, 10, 20)]
    axes.set_yticks([at for at, _ in marks], [str(hertz) for _, hertz in marks], fontsize=7)
    for channel, name in enumerate(channels):
        axes.text(
            -0.035,
            (channel + 0.5) / len(channels),
            name.replace("_", " "),
            transform=axes.transAxes,
            ha="right",
            va="center",
            fontsize=9,
        )
        if channel:
            axes.axhline(channel * N_BINS, color="black", linewidth=1.2)


def _outline(axes, cells: np.ndarray, extent: tuple) -> None:
    """Lines along the borders between altered and unaltered cells [T, F]."""
    from matplotlib.collections import LineCollection

    left, right, bottom, top = extent
    width, height = (right - left) / cells.shape[0], (top - bottom) / cells.shape[1]
    padded = np.pad(cells, 1)
    upright = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # [n, (frame edge, feature)]
    level = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])  # [n, (frame, feature edge)]
    lines = [[(t, f), (t, f + 1)] for t, f in upright] + [[(t, f), (t + 1, f)] for t, f in level]
    if lines:
        points = np.array(lines) * (width, height) + (left, bottom)
        axes.add_collection(LineCollection(points, colors="white", linewidths=0.9), autolim=False)


def _count(number: int) -> str:
    """Short form of a count: 950, 12.3k, 1.2M."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if number >= size:
            return f"{number / size:.0f}{unit}" if number >= 100 * size else f"{number / size:.1f}{unit}"
    return str(number)


def confusion_figure(confusion, classes: Sequence, path: str | Path, title: str = "") -> Path:
    """The path of a PNG of a confusion matrix: percent of each true class, and counts.

    Args:
      confusion: counts [K, K], row = truth.
      classes: K names.
    """
    confusion = np.asarray(confusion)
    k, support = len(classes), confusion.sum(axis=1)
    share = np.divide(confusion, support[:, None], out=np.zeros(confusion.shape), where=support[:, None] > 0)
    size = 2.8 + 0.68 * k
    figure = new_figure(size + 1.6, size, "compressed")  # leaves no margins around a square picture
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(k, k):
        if confusion[row, column]:
            percent = f"{100 * share[row, column]:.0f}" if share[row, column] >= 0.005 else "< 1"
            text = f"{percent} %\n{_count(int(confusion[row, column]))}"
            colour = "white" if share[row, column] > 0.55 else "#222222"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    names = [f"{name} ({_count(int(count))})" for name, count in zip(classes, support, strict=True)]
    axes.set_yticks(range(k), names)
    axes.set_xticks(range(k), [str(name) for name in classes], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#e6e6e6", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted activity")
    axes.set_ylabel("true activity (samples)")
    scores = subject_scores(confusion)
    accuracy, f1 = 100 * scores["accuracy"], 100 * scores["macro_f1"]
    pooled = f"all subjects pooled: accuracy {accuracy:.1f} %, macro F1 {f1:.1f} %"
    axes.set_title(f"{title}\n{pooled}" if title else pooled, fontsize=10, loc="left")
    figure.colorbar(image, ax=axes, label="share of the true activity", shrink=0.7)
    return save(figure, path)


def activity_f1_bars(summaries: Mapping[str, Mapping], classes: Sequence, path: str | Path) -> Path:
    """The path of a PNG with one bar per method and activity: mean F1 over subjects, with its standard error.

    Args:
      summaries: method -> its `summary`, of which macro_f1 and per_class_f1 are drawn.
      classes: K names.
    """
    groups, count = ["all (macro)", *map(str, classes)], len(summaries)
    panels = math.ceil(len(groups) / max(1, 66 // count))  # more bars side by side are no wider than a line
    across = math.ceil(len(groups) / panels)
    inches = min(10.0, max(7.0, 2.5 + 0.26 * count * across))
    figure = new_figure(inches, 1.6 + 3 * panels)
    width = 0.84 / count
    fits = 0.07 * max(map(len, groups)) < (inches - 1) / across  # a letter is about so wide
    turned = {} if fits else {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    for panel, axes in enumerate(figure.subplots(panels, squeeze=False)[:, 0]):
        shown = slice(panel * across, (panel + 1) * across)
        # A little room between the macro F1 and the activities.
        places = np.arange(across) + np.where((panel == 0) & (np.arange(across) > 0), 0.25, 0)
        for index, (name, one) in enumerate(summaries.items()):
            mean, error = (np.append(one["macro_f1"][key], one["per_class_f1"][key])[shown] for key in ("mean", "se"))
            axes.bar(
                places[: len(mean)] + (index - (count - 1) / 2) * width,
                np.nan_to_num(mean),  # an activity nobody does has no bar
                width * 0.92,
                yerr=np.nan_to_num(error),
                label=name if panel == 0 else "",
                color=COLOURS[index % len(COLOURS)],
                hatch=HATCHES[index // len(COLOURS) % len(HATCHES)],
                edgecolor="white",  # of the hatches
                linewidth=0,
                error_kw={"elinewidth": 1, "ecolor": "#333333", "capsize": 2},
            )
        axes.set_xticks(places[: len(mean)], groups[shown], **turned)
        axes.set_ylim(0, 1.05)  # an error bar may reach beyond 1
        axes.set_xlim(-0.6, across - 0.15)
        bare(axes)
    figure.supylabel("F1, mean ± SE over subjects", fontsize=10)
    figure.legend(loc="outside upper center", ncols=min(count, 4), frameon=False, fontsize=9)
    return save(figure, path)


def comparison(results: Mapping, folder: str | Path) -> list[Path]:
    """The paths of the PNGs of a results dictionary: F1 bars of all methods, a confusion matrix per method.

    Confusion matrices are summed over subjects and averaged over seeds, to whole samples.

    Args:
      results: see `report`.
      folder: gets activity_f1.png and confusion_<method>.png.
    """
    scores = score_results(results)["methods"]
    summaries = {name: method["summary"] for name, method in scores.items()}
    paths = [activity_f1_bars(summaries, results["classes"], Path(folder) / "activity_f1.png")]
    for name in scores:
        total = sum(stack.mean(axis=0) for stack in confusions(results, name).values())
        safe = "".join(letter if letter.isalnum() else "_" for letter in name)
        target = Path(folder) / f"confusion_{safe}.png"
        paths.append(confusion_figure(np.rint(total).astype(int), results["classes"], target, name))
    return paths
