"""The command line of `selfpab bench`."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.benchmarks.columns import meanings
from launch.command_line import Parser
from launch.config_line import split_overrides

DESCRIPTION = """Measures the training step on meshes of devices, or this project and PyTorch in turns on the CPU.
Wall times mean something on a quiet machine only; seconds of a core stand beside those compared with PyTorch."""
# What: (what it measures, windows a batch, rounds).
KINDS = {
    "step": ("the full-size training step by mesh and batch size; on one CPU device then beside PyTorch", 4, 5),
    "stft": ("spectrograms against torch.stft", 64, 20),
    "encode": ("features of an hour of recording against the exported PyTorch module and ONNX file", 4, 5),
    "input": ("batches from compressed shards against a DataLoader; with --processes by several processes", 64, 10),
    "hand_crafted": ("161 features of 5-s windows against a loop over windows and signals with SciPy", 256, 5),
    "ingest": ("a raw file (--data) read beside scikit-digital-health, ingested, and made 100,000 hours", 1, 3),
    "checkpoint": ("saving and restoring the full-size training state", 1, 5),
    "restart": ("two processes, one of them killed: seconds until both have ended, and until they train again", 8, 3),
}
TORCH = ("stft", "encode", "input", "all")  # cannot go without PyTorch
ON_ITS_OWN = ("ingest",)  # not in all: its --data is something else
AXES = ("data", "fsdp", "tensor")
BELONGS = {"mesh": "step", "trace": "step", "overrides": "step", "processes": "input"}
# Fields of a config that flags of this job say.
SAID_BY = {"mesh.": "--mesh", "data.batch_size": "--batch", "data.dir": "--data"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one.

    `batch` is a list, or None for the kind's own; `mesh` a list of {axis: devices}, empty for the default; `overrides`
    are the `--config.field=value` arguments.
    """
    overrides, rest = split_overrides(sys.argv[1:] if argv is None else argv)
    cores = os.cpu_count() or 1
    parser = _parser()
    flags = parser.parse_args(rest)
    flags.overrides = overrides
    for name, what in BELONGS.items():
        if vars(flags)[name] and flags.what != what:
            given = overrides[0].partition("=")[0] if name == "overrides" else f"--{name}"
            parser.error(f"{given} belongs to --what {what}, found --what {flags.what}")
    for override in overrides:
        for field, flag in SAID_BY.items():
            if override.startswith(f"--config.{field}"):
                parser.error(f"{override.partition('=')[0]} has no effect here: say {flag}")
    if flags.threads is None:
        flags.threads = cores if flags.what == "step" or flags.processes else min(2, cores)
    for name in ("batch", "repeats", "threads", "processes"):
        value = vars(flags)[name]
        if value and min(value if isinstance(value, list) else [value]) < 1 or value == 0:
            parser.error(f"--{name} is {value if isinstance(value, int) else min(value)}, expected 1 or more")
    if len(flags.batch or ()) > 1 and flags.what != "step":
        parser.error(f"--batch: --what {flags.what} measures one batch size")
    if flags.threads > cores:
        parser.error(f"--threads is {flags.threads}, expected at most the {cores} cores of this machine")
    if not flags.json.absolute().parent.is_dir():
        parser.error(f"--json: there is no folder {flags.json.absolute().parent}")
    flags.mesh = [_mesh(parser, text) for given in flags.mesh for text in re.split(r"[;\s]+", given) if text]
    return flags


def _parser() -> Parser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser("bench", DESCRIPTION, formatter_class=raw, epilog=meanings())
    kinds = "; ".join(f"{name}: {what}" for name, (what, _, _) in KINDS.items())
    parser.add_argument("--what", required=True, choices=(*KINDS, "all"), help=kinds)
    parser.add_argument("--json", metavar="F", type=Path, required=True, help="file for the numbers")
    batch = "windows a batch (step, encode 4; hand_crafted 256; others 64); step: also several"
    parser.add_argument("--batch", type=_numbers, metavar="B[,B...]", help=batch)
    mesh = (
        "step: devices along the axes, such as data=2,tensor=2; several with ';' or the flag again; an axis data not "
    )
    mesh += "named takes what is left (one CPU device, or all accelerators)"
    parser.add_argument("--mesh", action="append", default=[], metavar="AXIS=N[,...]", help=mesh)
    processes = "input: read by so many processes at once instead, in turns, each beside one alone"
    parser.add_argument("--processes", type=_numbers, metavar="N[,N...]", help=processes)
    parser.add_argument("--trace", metavar="DIR", type=Path, help="step: a profile of a few steps of the last row")
    threads = "cores for everything measured, all devices together (step, --processes: all; else 2)"
    parser.add_argument("--threads", type=int, metavar="N", help=threads)
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="rounds (stft 20; input 10; restart, ingest 3; others 5)"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="step, input, encode: a prepared folder (default: made up); ingest: a raw file"
    )
    model = "step, encode: the model; --config.FIELD=VALUE changes a field of it (step)"
    parser.add_argument("--config", default="configs/selfpab.py", metavar="FILE.py[:VARIANT]", help=model)
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


_numbers.__name__ = "whole number"  # argparse names the type in its sentence


def _mesh(parser: Parser, text: str) -> dict[str, int]:
    """{axis: devices} of `data=2,tensor=2`."""
    found = {}
    for part in text.split(","):
        axis, _, count = part.partition("=")
        if axis not in AXES or not count.isdecimal() or int(count) < 1 or axis in found:
            parser.error(f"--mesh is {text!r}, expected axes among {', '.join(AXES)}, such as data=2,tensor=2")
        found[axis] = int(count)
    return found
