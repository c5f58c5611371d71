"""`selfpab describe`: what a prepared folder holds, as numbers and as a picture. No jax without a picture."""

import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Prints what a prepared folder holds: hours, people, what is in no window and why."""
FAILED_SHOWN = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 for a folder that is not prepared."""
    return run_job("describe", lambda: _describe(argv))


def _describe(argv: Sequence[str] | None) -> None:
    parser = Parser("describe", DESCRIPTION)
    parser.add_argument("folder", metavar="DIR", help="a folder that `selfpab prepare` or `selfpab ingest` has written")
    parser.add_argument("--figure", metavar="FILE.png", help="draw a picture, too")
    parser.add_argument("--hours", metavar="H,H", help="what subsets of so many hours hold, such as 10,100,1000")
    flags = parser.parse_args(argv)
    amounts, figure = _amounts(flags.hours), flags.figure and Path(flags.figure)
    if figure and figure.suffix.lower() != ".png":
        raise ValueError(f"--figure is {figure}, expected a name that ends in .png")
    if figure and Path(flags.folder).resolve() in figure.resolve().parents:
        raise ValueError(f"--figure: {figure} lies in the prepared folder, expected a place outside of it")
    from data_pipelines.describe import describe
    from data_pipelines.manifest import read_manifest

    manifest = read_manifest(flags.folder)
    cohort = describe(manifest)
    print(table(manifest, cohort))
    if amounts:
        print("\n" + subset_table(manifest, amounts))
    if not figure:
        print(f"\n`selfpab describe {flags.folder} --figure cohort.png` draws this")
        return
    from selfpab_jax.evaluate.cohort_figures import cohort_figure

    name = Path(flags.folder).resolve().name
    parts = (cohort.subject_hours, cohort.dropped_h, cohort.recorded_h, cohort.cumulative_hours, cohort.by_hour)
    print(f"\n{cohort_figure(*parts, figure, name)}")


def _amounts(text: str | None) -> list[float]:
    """The hours of `10,100`."""
    try:
        amounts = [float(word) for word in text.split(",")] if text is not None else []
    except ValueError:
        amounts = [0.0]
    if not all(0 < hours < float("inf") for hours in amounts):
        raise ValueError(f"--hours is {text}, expected amounts of hours with commas between, such as 10,100,1000")
    return sorted(set(amounts))


def table(manifest: dict, cohort) -> str:
    """One quantity a line; what the manifest does not know is left out."""
    import numpy as np

    entries, hours = manifest["recordings"], cohort.subject_hours
    total = {key: sum(entry[key] for entry in entries) for key in ("joined_gaps", "splits", "clipped", "bytes")}
    low, quarter, half, most, high = np.quantile(hours, [0, 0.25, 0.5, 0.75, 1])
    rows = {"subjects": f"{len(hours):,}"}
    if idle := int(np.sum(hours <= 0)):
        rows["without a window"] = f"{idle:,}"
    rows["recordings"] = f"{len(entries):,}"
    if cohort.failed is not None:
        rows["failed recordings"] = f"{len(cohort.failed):,}"
    if cohort.subject_days is not None:
        between = f", {cohort.days[0]} to {cohort.days[1]}" if cohort.days else ""
        rows["days with windows"] = f"{cohort.subject_days:,} over all subjects{between}"
    rows["hours recorded"] = f"{cohort.recorded_h:,.2f}"
    if cohort.wear_h is not None:
        rows["hours worn"] = _share(cohort.wear_h, cohort.recorded_h)
    rows["hours in windows"] = _share(cohort.hours, cohort.recorded_h)
    rows |= {f"  not: {reason}": _share(lost, cohort.recorded_h) for reason, lost in cohort.dropped_h.items()}
    rows["hours per subject"] = f"{low:.2f} to {high:.2f}, quartiles {quarter:.2f}, {half:.2f}, {most:.2f}"
    rows[f"windows ({manifest['settings']['window_s']:g} s)"] = f"{manifest['windows']:,}"
    rows |= {"clipped samples": f"{total['clipped']:,}", "gaps joined": f"{total['joined_gaps']:,}"}
    rows |= {"splits at gaps": f"{total['splits']:,}", "MB in shards": f"{total['bytes'] / 1e6:,.1f}"}
    if cohort.device_rates is not None:
        files = (f"{rate:g} Hz ({count:,} files)" for rate, count in cohort.device_rates.items())
        rows["device rates"] = ", ".join(files)
    lines = [f"{name:<20}{value}" for name, value in rows.items()]
    lines += [f"  failed: {name}: {why}" for name, why in list((cohort.failed or {}).items())[:FAILED_SHOWN]]
    more = len(cohort.failed or {}) - FAILED_SHOWN
    return "\n".join(lines + ([f"  failed: and {more:,} more, see `failed` of manifest.json"] if more > 0 else []))


def _share(hours: float, of: float) -> str:
    return f"{hours:,.2f}" + (f" ({100 * hours / of:.1f} %)" if of else "")


def subset_table(manifest: dict, amounts: Sequence[float]) -> str:
    """A line for each amount of hours and way to take them, and which amounts are too many or too few."""
    from data_pipelines.describe import SPLIT, subsets, training_side

    how, valid, seed = SPLIT
    most, people = training_side(manifest)
    found = subsets(manifest, amounts)
    settings = manifest["settings"]
    full = ", overlapping windows in full" if settings["stride_samples"] < settings["window_samples"] else ""
    side = f"training side ({how} split, valid_fraction {valid}, split_seed {seed})"
    lines = [f"{side}: {most:,.2f} h{full}, {people:,} subjects"]
    lines += [f"{'data.hours':>12} {'hours_by':<9}{'windows':>11} {'in their order':>20} {'subjects':>18}"]
    for hours, by, windows, touched in found:
        place, share = f"0 to {windows - 1:,}", f"{touched:,} ({100 * touched / people:.1f} %)"
        lines.append(f"{hours:>12g} {by:<9}{windows:>11,} {place:>20} {share:>18}")
    missing = [f"{hours:g}" for hours in amounts if hours not in {subset.hours for subset in found}]
    lines += [f"{', '.join(missing)} h: more than there is, or less than a window"] if missing else []
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
