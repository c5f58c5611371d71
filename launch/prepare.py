"""`selfpab prepare`: recordings -> a folder of windows, checksums and statistics. No jax in here."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Cuts recordings into 5-minute windows and writes them, with checksums and statistics.
Run the same command again to continue after a stop: what is done is not done again."""
SYNTHETIC_ONLY = ("seed", "subjects", "hours")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one."""
    parser = Parser("prepare", DESCRIPTION)
    parser.add_argument("--input", metavar="DIR", help="folder of the recordings (not for the synthetic layout)")
    parser.add_argument(
        "--layout",
        required=True,
        choices=("harth", "hunt4", "synthetic"),
        help="harth: csv files of HARTH or HAR70+; hunt4: <subject>/<YYYY-MM-DD_HH>.npz; synthetic: made up",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    parser.add_argument(
        "--max-gap",
        type=float,
        default=5.0,
        metavar="S",
        help="join gaps up to this many seconds (5), split at longer",
    )
    parser.add_argument(
        "--stride",
        type=float,
        default=300.0,
        metavar="S",
        help="seconds between starts of windows (300: no overlap)",
    )
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
    settings = PrepareSettings(Cut(max_gap_s=flags.max_gap, stride_s=flags.stride), **synthetic)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        manifest = prepare(flags.input, flags.layout, flags.out, settings, flags.workers)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(summary(manifest))
    print(Path(flags.out).resolve())


def _interrupt(signum, frame):
    """A termination signal stops like Ctrl-C: workers end, half-written files go."""
    raise KeyboardInterrupt


def summary(manifest: dict) -> str:
    """What was prepared, one quantity a line."""
    recordings = manifest["recordings"]
    total = {key: sum(r[key] for r in recordings) for key in ("joined_gaps", "splits", "clipped", "bytes", "dropped_s")}
    window_hours = manifest["windows"] * 5 / 60
    rows = {
        "subjects": manifest["subjects"],
        "recordings": len(recordings),
        "hours": f"{manifest['hours']:.2f}",
        "windows (5 min)": manifest["windows"],
        "hours in no window": f"{total['dropped_s'] / 3600:.2f}",
        "gaps joined": total["joined_gaps"],
        "splits at gaps": total["splits"],
        "clipped samples": total["clipped"],
        "MB per window hour": f"{total['bytes'] / 1e6 / window_hours:.2f}",
        "activities": len(manifest["activities"]) or "no labels",
        "hash": manifest["hash"][:16],
    }
    return "\n".join(f"{name:<20}{value}" for name, value in rows.items())


if __name__ == "__main__":
    sys.exit(main())
