"""A picture of a prepared cohort: hours per subject, what is in no window and why, times of day, hours by subjects."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selfpab_jax.evaluate.figures import COLOURS, bare, new_figure, save

NUMBERS = "{x:,.10g}"  # 0.5, 20, 5,000
DENSE = 1_000  # an axis that spans less has ticks at 1, 2, 5, 10, 20, ..., a longer one at powers of ten


def cohort_figure(
    subject_hours: np.ndarray,
    dropped_h: Mapping[str, float],
    recorded_h: float,
    cumulative_hours: np.ndarray,
    by_hour: np.ndarray | None,
    path: str | Path,
    title: str = "",
) -> Path:
    """The path of a PNG with four panels, or three where the times of day are not known.

    Args:
      subject_hours: hours in windows of each subject.
      dropped_h: hours in no window by reason.
      recorded_h: the hours of which both are shares.
      cumulative_hours: hours of the first, the first two, ... subjects with windows.
      by_hour: windows that begin in each of the 24 hours of the day.
    """
    figure = new_figure(10, 7) if by_hour is not None else new_figure(13, 4)
    panels = iter(figure.subplots(*((2, 2) if by_hour is not None else (1, 3))).flat)
    _subject_hours(next(panels), subject_hours)
    _dropped(next(panels), dropped_h, recorded_h)
    if by_hour is not None:
        _by_hour(next(panels), by_hour)
    _cumulative(next(panels), cumulative_hours)
    kept = float(np.sum(subject_hours))
    share = f", {100 * kept / recorded_h:.1f} % of {recorded_h:,.1f} h recorded" if recorded_h else ""
    some = int(np.count_nonzero(subject_hours > 0))
    subjects = f"{len(subject_hours):,} subjects" + (f", {some:,} with windows" if some < len(subject_hours) else "")
    words = f"{subjects}, {kept:,.1f} h in windows{share}"
    figure.suptitle(f"{title}: {words}" if title else words, fontsize=11, x=0.01, ha="left")
    return save(figure, path)


def _subject_hours(axes, hours: np.ndarray) -> None:
    bins = int(np.clip(np.sqrt(len(hours)), 5, 60))
    axes.hist(hours, bins=bins, range=(0, float(np.max(hours, initial=0)) or 1), color=COLOURS[0], edgecolor="white")
    median = float(np.median(hours))
    axes.axvline(median, color=COLOURS[5], linewidth=1.6, label=f"median {median:,.3g} h")
    axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("hours in windows of a subject")
    axes.set_ylabel("subjects")
    axes.set_xlim(left=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(NUMBERS)
    bare(axes)


def _dropped(axes, dropped_h: Mapping[str, float], recorded_h: float) -> None:
    reasons = sorted(dropped_h, key=dropped_h.get)
    hours = [dropped_h[reason] for reason in reasons]
    bars = axes.barh(reasons, hours, color=COLOURS[1])
    axes.bar_label(bars, [_share(lost, recorded_h) for lost in hours], padding=3, fontsize=9)
    axes.set_xlim(0, 1.2 * max(hours, default=0) or 1)  # room for the shares
    axes.set_ylim(len(reasons) - 0.4 - max(5, len(reasons)), len(reasons) - 0.4)  # two bars are no thicker than five
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(NUMBERS)
    axes.set_xlabel("hours in no window (share of the recorded)")
    bare(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)


def _share(hours: float, of: float) -> str:
    """Percent, such as 12.3 %, < 0.1 % or 0 %."""
    percent = 100 * hours / of if of else 0.0
    return f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %" if percent > 0 else "0 %"


def _by_hour(axes, windows: np.ndarray) -> None:
    axes.bar(np.arange(24) + 0.5, windows, width=0.9, color=COLOURS[2])
    axes.set_xticks(range(0, 25, 3))
    axes.set_xlim(0, 24)
    axes.set_xlabel("hour of the day")
    axes.set_ylabel("windows that begin in it")
    axes.yaxis.set_major_formatter(NUMBERS)
    bare(axes)


def _cumulative(axes, hours: np.ndarray) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.plot(np.arange(1, len(hours) + 1), hours, color=COLOURS[3], marker="o" if len(hours) <= 60 else "", ms=3.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.9, 1.1 * max(2, len(hours)))  # no half subjects where there is one
    axes.set_xlabel("subjects with windows, in a random order")
    axes.set_ylabel("hours in their windows")
    bare(axes)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if high / low < DENSE:
            axis.get_major_locator().set_params(subs=(1, 2, 5))
            axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(NUMBERS)
        axis.set_minor_formatter(NullFormatter())
