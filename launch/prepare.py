"""`selfpab prepare`: recordings -> a folder of windows, checksums and statistics. No jax in here."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser, run_job, sigterm_like_ctrl_c

DESCRIPTION = """Cuts recordings into windows and writes them, with checksums and statistics.
Run the same command again to continue after a stop: what is done is not done again."""
TWO = "back,thigh"
LAYOUTS = {  # name -> sensors kept unless chosen, and words for --help; not imported, as that takes a second
    "harth": (TWO, "csv files of HARTH or HAR70+"),
    "har70plus": (TWO, "csv files of HAR70+, whose 7 activities it insists on"),
    "hunt4": (TWO, "<subject>/<YYYY-MM-DD_HH>.npz"),
    "ukbiobank": ("wrist", "csv files of a wrist sensor"),
    "capture24": ("wrist", "P001.csv.gz ... of Capture-24"),
    "pamap2": (TWO, "Protocol/subject101.dat ... of PAMAP2, chest and ankle"),
    "usc_had": ("thigh", "Subject1/a1t1.mat ... of USC-HAD, hip"),
    "opportunity": (TWO, "S1-ADL1.dat ... of Opportunity, hip and right knee"),
    "realworld": (TWO, "proband1/data/acc_walking_csv.zip ... of RealWorld, waist and thigh"),
    "synthetic": (TWO, "made up"),
}
SYNTHETIC_ONLY = ("seed", "subjects", "hours")
NUMBERS = (
    ("--rate", int, 50, "HZ", "samples a second (50); recordings of another rate are resampled"),
    ("--window", float, 300.0, "S", "seconds of a window (300)"),
    ("--stride", float, None, "S", "seconds between starts of windows (those of a window: no overlap)"),
    ("--max-gap", float, 5.0, "S", "join gaps up to this many seconds (5), split at longer"),
    ("--nonwear", float, 90.0, "MIN", "leave out stillness of this many minutes or more (90; 0 keeps everything)"),
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one."""
    parser = Parser("prepare", DESCRIPTION)
    parser.add_argument("--input", metavar="DIR", help="folder of the recordings (not for the synthetic layout)")
    parser.add_argument(
        "--layout",
        required=True,
        choices=tuple(LAYOUTS),
        help="; ".join(f"{name}: {text}" for name, (_, text) in LAYOUTS.items()),
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    others = "; ".join(f"{name}: {sensors}" for name, (sensors, _) in LAYOUTS.items() if sensors != TWO)
    places = f"comma-separated places of the sensors to keep ({TWO}; {others})"
    parser.add_argument("--sensors", metavar="PLACES", help=places)
    for name, kind, default, unit, text in NUMBERS:
        parser.add_argument(name, type=kind, default=default, metavar=unit, help=text)
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--seed", type=int, help="synthetic: another cohort (0)")
    parser.add_argument("--subjects", type=int, metavar="N", help="synthetic: number of people (10)")
    parser.add_argument("--hours", type=float, metavar="H", help="synthetic: hours of each (1)")
    flags = parser.parse_args(argv)
    given = [name for name in SYNTHETIC_ONLY if vars(flags)[name] is not None]
    if flags.layout == "synthetic" and flags.input:
        parser.error("--input has no meaning for --layout synthetic, which reads nothing")
    if flags.layout != "synthetic" and not flags.input:
        parser.error(f"--input=DIR is missing: the folder of the recordings in layout {flags.layout}")
    if flags.layout != "synthetic" and given:
        parser.error(f"--{given[0]} has a meaning for --layout synthetic only")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag or recordings that cannot be used, 130 after Ctrl-C or SIGTERM."""
    return run_job("prepare", lambda: _prepare(parse(argv)))


def _prepare(flags: argparse.Namespace) -> None:
    from data_pipelines.prepare import PrepareSettings, prepare
    from data_pipelines.shards import Cut

    synthetic = {k: v for k in SYNTHETIC_ONLY if (v := vars(flags)[k]) is not None}
    cut = Cut(
        max_gap_s=flags.max_gap,
        stride_s=flags.window if flags.stride is None else flags.stride,
        sensors=tuple((flags.sensors or LAYOUTS[flags.layout][0]).split(",")),
        rate_hz=flags.rate,
        window_s=flags.window,
        nonwear_min=flags.nonwear,
    )
    settings = PrepareSettings(cut, **synthetic)
    with sigterm_like_ctrl_c():  # workers end, half-written files go
        manifest = prepare(flags.input, flags.layout, flags.out, settings, flags.workers)
    print(summary(manifest))
    print(Path(flags.out).resolve())


def summary(manifest: dict) -> str:
    """What was prepared, one quantity a line."""
    recordings = manifest["recordings"]
    counted = ("joined_gaps", "splits", "clipped", "bytes", "dropped_s", "nonwear_s")
    total = {key: sum(r[key] for r in recordings) for key in counted}
    rows = {
        "subjects": manifest["subjects"],
        "recordings": len(recordings),
        "hours": f"{manifest['hours']:.2f}",
        f"windows ({manifest['settings']['window_s']:g} s)": manifest["windows"],
        "hours in no window": f"{total['dropped_s'] / 3600:.2f}",
        "non-wear hours": f"{total['nonwear_s'] / 3600:.2f}",
        "gaps joined": total["joined_gaps"],
        "splits at gaps": total["splits"],
        "clipped samples": total["clipped"],
        "MB in shards": f"{total['bytes'] / 1e6:.1f}",
        "activities": len(manifest["activities"]) or "no labels",
        "hash": manifest["hash"][:16],
    }
    return "\n".join(f"{name:<20}{value}" for name, value in rows.items())


if __name__ == "__main__":
    sys.exit(main())
