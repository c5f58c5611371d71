"""Picture of what a masked autoencoder makes of a raw signal: the hidden patches over time, and their spectra."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selfpab_jax.evaluate.figures import COLOURS, bare, new_figure, save
from selfpab_jax.objectives.method import Method

LETTERS = "ABCD"  # of the close-ups
ORIGINAL, RECONSTRUCTION = "#222222", COLOURS[5]
SHADED = "#e8e8e8"
CAPTION = (
    "The spectral losses see the magnitudes, not the phase or sign: with them alone a reconstruction may differ from "
    "the original over time where the spectra agree."
)


def reconstruction(
    parts: Mapping[str, np.ndarray],
    path: str | Path,
    method: Method,
    patches: slice = slice(0, 30),
) -> Path:
    """The path of a PNG with a signal and its reconstruction over time, and close-ups of masked patches.

    Above: each channel over time, masked patches shaded, the reconstruction in these only. Below: up to four of them,
    named A to D, with signal and log magnitude spectrum. They are the liveliest of four equal parts of the drawn masked
    patches, or of all masked patches where none is drawn. Without any masked patch the upper half stands alone.

    Args:
      parts: "signal" and "reconstruction", [C, S] in g; "masked", bool [N]; "log_magnitude" and
        "reconstructed_log_magnitude", [N, C, F], logarithms of magnitudes in g from 0 Hz to half the rate in equal
        steps. Pooled bins stand a little beside their true frequency.
      method: its channels and tokens (patches that follow each other) are read.
      patches: which patches the upper half draws; by default the first five minutes.

    Raises:
      ValueError: a signal of another number of channels than the method's, or shorter than its patches.
    """
    parts = {name: np.asarray(part) for name, part in parts.items()}
    masked = parts["masked"].astype(bool)
    size, rate = method.tokens.size, method.tokens.rate_hz
    channels, samples = parts["signal"].shape
    if channels != len(method.channels) or samples < size * len(masked):
        raise ValueError(
            f"the picture got a signal of {channels} channels and {samples} samples, expected {len(method.channels)} "
            f"channels and {size * len(masked)} samples or more for {len(masked)} patches"
        )
    drawn = np.arange(len(masked))[patches]
    chosen = _liveliest(parts["signal"], masked, drawn, size)

    tall = 1.15 if channels <= 3 else 0.75  # inches a row
    rows = channels * (3 if chosen else 1)
    figure = new_figure(12, 1.5 + tall * rows)
    grid = figure.add_gridspec(rows, max(1, len(chosen)))
    overview = _stack(figure, [grid[channel, :] for channel in range(channels)])
    _draw_overview(overview, parts, masked, drawn, size, rate)
    for letter, number in zip(LETTERS, chosen, strict=False):
        if number in drawn:
            middle, across = (number + 0.5) * size / rate, overview[0].get_xaxis_transform()
            overview[0].annotate(letter, (middle, 1), (0, 1), across, "offset points", ha="center")
    for axes, name in zip(overview, method.channels, strict=True):
        axes.set_ylabel(f"{_shown(name)}\ng", fontsize=8)
    overview[0].set_title("signal over time (masked patches shaded)", loc="left", fontsize=10, pad=16)
    handles, labels = overview[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, fontsize=9)

    close_ups = []
    for column, (letter, number) in enumerate(zip(LETTERS, chosen, strict=False)):
        signals = _stack(figure, [grid[channels + channel, column] for channel in range(channels)])
        spectra = _stack(figure, [grid[2 * channels + channel, column] for channel in range(channels)])
        _draw_close_up(signals, spectra, parts, number, size, rate)
        start = number * size / rate
        signals[0].set_title(f"{letter}: {start:g} to {start + size / rate:g} s", loc="left", fontsize=10)
        spectra[0].set_title(f"{letter}: log magnitude", loc="left", fontsize=10)
        close_ups.append((signals, spectra))
    for channel, name in enumerate(method.channels if chosen else ()):
        signals, spectra = close_ups[0]
        signals[channel].set_ylabel(f"{_shown(name)}\ng", fontsize=8)
        spectra[channel].set_ylabel(f"{_shown(name)}\nlog of g", fontsize=8)
        _share_height([spectra[channel] for _, spectra in close_ups])
    if chosen:
        figure.supxlabel(CAPTION, fontsize=8, color="#555555")
    figure.align_ylabels()
    return save(figure, path)


def _shown(name: str) -> str:
    return name.replace("_", " ")


def _liveliest(signal: np.ndarray, masked: np.ndarray, drawn: np.ndarray, size: int) -> list[int]:
    """Numbers of up to four masked patches: of four equal parts of them the ones with the largest spread."""
    candidates = drawn[masked[drawn]]
    if not candidates.size:
        candidates = np.flatnonzero(masked)
    cut = signal[:, : len(masked) * size].reshape(len(signal), len(masked), size)  # [C, N, P]
    spread = np.nan_to_num(cut.std(axis=-1).sum(axis=0))  # [N]
    groups = np.array_split(candidates, min(len(LETTERS), candidates.size)) if candidates.size else []
    return [int(group[np.argmax(spread[group])]) for group in groups]


def _stack(figure, cells: list) -> list:
    """Axes below each other on one time or frequency axis, labelled at the lowest only."""
    panels = []
    for cell in cells:
        axes = figure.add_subplot(cell, sharex=panels[0] if panels else None)
        bare(axes)
        axes.tick_params(labelsize=7, labelbottom=cell is cells[-1])
        axes.locator_params(axis="y", nbins=3)
        panels.append(axes)
    return panels


def _share_height(panels: list) -> None:
    """One scale for panels beside each other, numbered at the first only."""
    limits = np.array([axes.get_ylim() for axes in panels])
    for axes in panels:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        axes.tick_params(labelleft=axes is panels[0])


def _draw_overview(panels: list, parts: Mapping, masked: np.ndarray, drawn: np.ndarray, size: int, rate: float) -> None:
    samples = (drawn[:, None] * size + np.arange(size)).reshape(-1)
    seconds = samples / rate
    hidden = np.repeat(masked[drawn], size)
    for channel, axes in enumerate(panels):
        # One span a run of masked patches: neighbouring spans would show seams.
        edges = np.flatnonzero(np.diff(np.pad(masked[drawn].astype(int), 1))).reshape(-1, 2)
        for first, last in edges:
            start, stop = drawn[first] * size / rate, (drawn[last - 1] + 1) * size / rate
            axes.axvspan(start, stop, color=SHADED, linewidth=0, zorder=0)
        axes.plot(seconds, parts["signal"][channel, samples], color=ORIGINAL, linewidth=0.7, label="original")
        made = np.where(hidden, parts["reconstruction"][channel, samples], np.nan)
        axes.plot(seconds, made, color=RECONSTRUCTION, linewidth=0.7, alpha=0.8, label="reconstruction")
        if drawn.size:
            axes.set_xlim(seconds[0], seconds[0] + len(seconds) / rate)
    panels[-1].set_xlabel("time in s", fontsize=9)


def _draw_close_up(signals: list, spectra: list, parts: Mapping, number: int, size: int, rate: float) -> None:
    samples = np.arange(number * size, (number + 1) * size)
    bins = parts["log_magnitude"].shape[-1]
    hertz = np.arange(bins) * (rate / 2 / max(1, bins - 1))
    for channel, (above, below) in enumerate(zip(signals, spectra, strict=True)):
        for key, colour in (("signal", ORIGINAL), ("reconstruction", RECONSTRUCTION)):
            above.plot(samples / rate, parts[key][channel, samples], color=colour, linewidth=1)
        for key, colour in (("log_magnitude", ORIGINAL), ("reconstructed_log_magnitude", RECONSTRUCTION)):
            below.plot(hertz, parts[key][number, channel], color=colour, linewidth=1.2)
    signals[0].set_xlim(samples[0] / rate, (samples[-1] + 1) / rate)
    spectra[0].set_xlim(0, rate / 2)
    signals[-1].set_xlabel("time in s", fontsize=9)
    spectra[-1].set_xlabel("frequency in Hz", fontsize=9)
