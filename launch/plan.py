"""`selfpab plan`: what pre-training on so many hours takes, worked out from the numbers of `selfpab bench`."""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.command_line import Parser, run_job
from launch.plan_sections import sections

DESCRIPTION = """Storage, read rate, steps, device-hours, checkpoints and expected failures of a large pre-training run,
as Markdown. Everything is worked out from a bench's JSON (`selfpab bench --what all --json F`) and prepared folders."""
INPUT, PER_CORE = "input, batch 64, from compressed shards: median", "windows/core s"
MEASURED = "<!-- measured: "


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status; 2 for a wrong flag or a file that is no bench's."""
    return run_job("plan", lambda: _plan(argv))


def _plan(argv: Sequence[str] | None) -> None:
    parser = Parser("plan", DESCRIPTION)
    bench = "JSON of `selfpab bench --what all`; repeatable, what is in a later one counts"
    parser.add_argument("--bench", metavar="F", type=Path, action="append", required=True, help=bench)
    parser.add_argument("--data", metavar="DIR", action="append", required=True, help="a prepared folder; repeatable")
    parser.add_argument("--hours", type=float, default=100_000, help="of recording (default: %(default)g)")
    parser.add_argument("--epochs", type=float, default=50, help="passes over them (default: %(default)g)")
    parser.add_argument("--batch", type=int, default=64, help="windows a step, over all devices (default: %(default)s)")
    parser.add_argument("--devices", type=int, default=8, help="accelerators at work together (default: %(default)s)")
    parser.add_argument("--out", metavar="F.md", type=Path, help="file to write instead of the terminal")
    flags = parser.parse_args(argv)
    for name in ("hours", "epochs", "batch", "devices"):
        if not 0 < vars(flags)[name] < math.inf:
            parser.error(f"--{name} is {vars(flags)[name]:g}, expected a positive number")
    try:
        text = render(gather(flags))
    except KeyError as error:
        raise ValueError(f"--bench: a row has no field {error}, run `selfpab bench --what all` again") from error
    if flags.out is None:
        print(text, end="")
        return
    from data_pipelines.manifest import write_atomically

    write_atomically(flags.out, text.encode())
    print(f"wrote {flags.out}", file=sys.stderr)


def gather(flags: argparse.Namespace) -> dict:
    """Every number that the plan rests on."""
    from data_pipelines.manifest import read_manifest

    try:
        bench: dict = {}
        for file in flags.bench:
            bench |= {name: found for name, found in json.loads(file.read_text()).items() if found}
        chosen = {"step": max(bench["steps"], key=lambda row: row["utilisation"])}
        chosen["input"] = next(row["ours"] for row in bench["rows"] if row["what"] == INPUT and row["unit"] == PER_CORE)
        chosen |= {"machine": bench["machine"]} | {name: bench[name][0] for name in ("checkpoint", "restart")}
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(
            f"--bench {file}: {type(error).__name__} ({error}), expected the JSON of `selfpab bench --what all`"
        ) from error
    storage = []
    for folder in flags.data:
        manifest = read_manifest(folder)
        size = sum(entry["bytes"] for entry in manifest["recordings"])
        kept = sum(
            entry["samples"] / manifest["sample_rate_hz"] - entry["nonwear_s"] for entry in manifest["recordings"]
        )
        facts = {"name": Path(folder).resolve().name, "bytes": size, "hours": kept / 3600}
        storage.append(facts | {"rate_hz": manifest["sample_rate_hz"], "channels": len(manifest["channels"])})
    asked = {name: vars(flags)[name] for name in ("hours", "epochs", "batch", "devices")}
    return asked | {"storage": storage} | chosen


def render(facts: Mapping) -> str:
    """The plan as Markdown, the numbers it rests on in its last line."""
    return "\n\n".join([*sections(facts), MEASURED + json.dumps(facts) + " -->"]) + "\n"


def measured_in(text: str) -> dict:
    """The numbers that a rendered plan rests on."""
    return json.loads(text.rsplit(MEASURED, 1)[1].rsplit(" -->", 1)[0])


if __name__ == "__main__":
    raise SystemExit(main())
