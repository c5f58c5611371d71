"""The command line of `selfpab ingest`."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser

DESCRIPTION = """Example: selfpab ingest --input raw --pairs pairs.csv --out prepared/cohort

Cuts the raw files of body-worn accelerometers into windows: .cwa of Axivity (also .cwa.gz), .bin of
GENEActiv, .csv and .npy with declared columns. Gain and offset are corrected by gravity, the sensors of a person
brought onto one clock and grid, what is not worn or not good enough left out and counted by its reason. A file that
cannot be used is listed with its reason and stops no other; the same command again does only what is missing.
The exit code is 0 also if some files failed, and 2 if none can be used.
What follows a lone -- goes to the engine: options of Apache Beam (--runner=FlinkRunner) or of sbatch (--time=4:0:0)."""
KEYS = "Keys of --columns: x y z unit rate, and if wanted time time_unit start range skip decimal (docs/ingest.md)."
PAIRED, ALONE = "back,thigh", "wrist"
SHARES = (
    ("--max-joined", 0.05, "share of a window that may be interpolated over short gaps (0.05)"),
    ("--max-clipped", 0.01, "share of a window that may lie at the end of a sensor's range (0.01)"),
    ("--max-nonwear", 0.1, "share of a window that may be non-wear (0.1)"),
)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags, and `options` of the engine; ValueError, one sentence, for a wrong one."""
    ours, _, options = (list(argv), None, []) if "--" not in argv else _split(argv)
    parser = Parser("ingest", DESCRIPTION, epilog=KEYS, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", metavar="DIR", type=Path, required=True, help="folder of the raw files, searched with all below it"
    )
    pairs = "who wore which file where: csv with file, person, place; if wanted orientation, recording, columns "
    parser.add_argument("--pairs", metavar="CSV", type=Path, help=pairs + "(default: a file is a person)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    engines = "local: processes here; beam: a pipeline of Apache Beam; slurm: submits an array of tasks"
    parser.add_argument("--engine", choices=("local", "beam", "slurm"), default="local", help=engines)
    parser.add_argument(
        "--sensors", metavar="PLACES", help=f"any of back, thigh, wrist ({PAIRED}; without --pairs {ALONE})"
    )
    columns = "what the columns of .csv and .npy files are, such as time=time,x=x,y=y,z=z,unit=g,rate=100, "
    columns += "where --pairs does not say; keys below"
    parser.add_argument("--columns", metavar="TEXT", help=columns)
    parser.add_argument("--rate", type=int, default=50, metavar="HZ", help="samples a second (50)")
    parser.add_argument("--window", type=float, default=300.0, metavar="S", help="seconds of a window (300)")
    gap = "join gaps up to this many seconds (5), split at longer; 0.1 joins none"
    parser.add_argument("--max-gap", type=float, default=5.0, metavar="S", help=gap)
    idle = "stillness of this many minutes is non-wear (90; 0 keeps everything)"
    parser.add_argument("--nonwear", type=float, default=90.0, metavar="MIN", help=idle)
    hours = "keep these hours of the day by the sensors' own clocks, such as 7-22 or 22-6 (0-24)"
    parser.add_argument("--daytime", default="0-24", metavar="H-H", help=hours)
    for name, default, text in SHARES:
        parser.add_argument(name, type=float, default=default, metavar="SHARE", help=text)
    parser.add_argument("--no-calibration", action="store_true", help="leave gain and offset as they are")
    parser.add_argument("--no-alignment", action="store_true", help="trust the clocks of a person's sensors")
    parser.add_argument("--workers", type=int, metavar="N", help="local: processes (default: one per core)")
    parser.add_argument("--tasks", type=int, metavar="N", help="slurm: tasks of the array (100)")
    flags = parser.parse_args(ours)
    flags.options = options
    if options and flags.engine == "local":
        parser.error(f"{options[0]} after -- has no meaning for --engine local")
    for name, engine in (("workers", "local"), ("tasks", "slurm")):
        value = vars(flags)[name]
        if value is not None and (flags.engine != engine or value < 1):
            parser.error(f"--{name} is {value} with --engine {flags.engine}, expected 1 or more with --engine {engine}")
    return flags


def _split(argv: Sequence[str]) -> tuple[list[str], str, list[str]]:
    at = list(argv).index("--")
    return list(argv[:at]), "--", list(argv[at + 1 :])


def settings_of(flags: argparse.Namespace):
    """The `IngestSettings` of these flags; ValueError, one sentence, for a wrong one."""
    from data_pipelines.ingest.settings import IngestSettings
    from data_pipelines.readers import declared
    from data_pipelines.shards import Cut

    places = flags.sensors or (PAIRED if flags.pairs else ALONE)
    sensors = tuple(place.strip().lower() for place in places.split(","))
    if not flags.pairs and len(sensors) != 1:
        raise ValueError(
            f"--sensors is {','.join(sensors)}, expected one place where each file is one person's: say --pairs"
        )
    hours = re.fullmatch(r"(\d\d?)-(\d\d?)", flags.daytime)
    if not hours:
        raise ValueError(f"--daytime is {flags.daytime}, expected two hours such as 7-22")
    first, last = int(hours[1]), int(hours[2])
    cut = Cut(flags.max_gap, flags.window, 1 / 4096, sensors, flags.rate, flags.window, flags.nonwear)
    return IngestSettings(
        cut,
        (first, last or (24 if first else 0)),  # 22-0 ends at midnight; 0-0 is refused
        not flags.no_calibration,
        not flags.no_alignment,
        *(vars(flags)[name[2:].replace("-", "_")] for name, _, _ in SHARES),
        declared.parse(flags.columns) if flags.columns else None,
    )
