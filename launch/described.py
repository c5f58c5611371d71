"""The numbers of a prepared folder as text. No jax in here."""

from collections.abc import Sequence

from launch.described_files import rows_of_files

WIDTH = 24  # of the names of quantities
FAILED_SHOWN = 5


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
        worn = "hours worn" if len(manifest["channels"]) == 3 else "hours all sensors worn"
        rows[worn] = _share(cohort.wear_h, cohort.recorded_h)
    rows["hours in windows"] = _share(cohort.hours, cohort.recorded_h)
    rows |= {f"  not: {reason}": _share(lost, cohort.recorded_h) for reason, lost in cohort.dropped_h.items()}
    rows["hours per subject"] = f"{low:.2f} to {high:.2f}, quartiles {quarter:.2f}, {half:.2f}, {most:.2f}"
    rows[f"windows ({manifest['settings']['window_s']:g} s)"] = f"{manifest['windows']:,}"
    rows |= {"clipped samples": f"{total['clipped']:,}", "gaps joined": f"{total['joined_gaps']:,}"}
    rows |= {"splits at gaps": f"{total['splits']:,}", "MB in shards": f"{total['bytes'] / 1e6:,.1f}"}
    if cohort.device_rates is not None:
        files = (f"{rate:g} Hz ({count:,} files)" for rate, count in cohort.device_rates.items())
        rows["device rates"] = ", ".join(files)
    rows |= rows_of_files(manifest)
    lines = [f"{name + '  ':<{WIDTH}}{value}" for name, value in rows.items()]
    lines += [f"  failed: {name}: {why}" for name, why in list((cohort.failed or {}).items())[:FAILED_SHOWN]]
    more = len(cohort.failed or {}) - FAILED_SHOWN
    lines += [f"  failed: and {more:,} more, see `failed` of manifest.json"] if more > 0 else []
    # Names of files may be no text.
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _share(hours: float, of: float) -> str:
    return f"{hours:,.2f}" + (f" ({100 * hours / of:.1f} %)" if of else "")


def subset_table(manifest: dict, amounts: Sequence[float]) -> str:
    """A line for each amount of hours and way to take them, and which amounts are too many or too few.

    A single line, saying why, where the data cannot be split.
    """
    from data_pipelines.describe import SPLIT, subsets, training_side

    how, valid, seed = SPLIT
    try:
        most, people = training_side(manifest)
    except ValueError as error:
        return f"no subsets: {error}"
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
