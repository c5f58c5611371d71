"""`selfpab bench`: this project beside PyTorch on one machine, both measured in turns."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Measures this project and PyTorch in turns on the CPU and prints how many times better ours is.
Wall times mean something on a quiet machine only; seconds of a core stand beside them."""
# What: (what it measures, windows a batch, rounds).
KINDS = {
    "step": ("the full-size training step against the same network in PyTorch; expected: 1.7 times for SelfPAB", 4, 5),
    "stft": ("spectrograms against torch.stft", 64, 20),
    "encode": ("features of an hour of recording against the exported PyTorch module and ONNX file", 4, 5),
    "input": ("batches from compressed shards against a DataLoader; expected: 3,300 windows/core s", 64, 10),
}
BUSY = 0.5  # load a core above which wall times are not to be trusted


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one."""
    kinds = "; ".join(f"{name}: {what}" for name, (what, _, _) in KINDS.items())
    cores = os.cpu_count() or 1
    parser = Parser("bench", DESCRIPTION)
    parser.add_argument("--what", required=True, choices=(*KINDS, "all"), help=kinds)
    parser.add_argument("--json", metavar="F", type=Path, required=True, help="file for the numbers")
    parser.add_argument("--batch", type=int, metavar="B", help="windows a batch (step, encode 4; others 64)")
    parser.add_argument("--threads", type=int, default=min(2, cores), metavar="N", help="for both sides (2)")
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds (step, encode 5; stft 20; input 10)")
    parser.add_argument("--data", metavar="DIR", help="input, encode: a prepared folder (default: made up)")
    model = "step, encode: the model"
    parser.add_argument("--config", default="configs/selfpab.py", metavar="FILE.py[:VARIANT]", help=model)
    flags = parser.parse_args(argv)
    for name in ("batch", "repeats", "threads"):
        value = vars(flags)[name]
        if value is not None and value < 1:
            parser.error(f"--{name} is {value}, expected 1 or more")
    if flags.threads > cores:
        parser.error(f"--threads is {flags.threads}, expected at most the {cores} cores of this machine")
    if not flags.json.absolute().parent.is_dir():
        parser.error(f"--json: there is no folder {flags.json.absolute().parent}")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag or where PyTorch is not installed."""
    return run_job("bench", lambda: _bench(parse(argv)))


def _bench(flags: argparse.Namespace) -> None:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ValueError("PyTorch, to compare with, is not installed: pip install -e '.[torch]'") from error
    from launch.bench_timing import first_cores, machine, table

    facts = machine(flags.threads)
    print(_line(facts), file=sys.stderr)
    if facts["load"] > BUSY * facts["cores"]:
        print("selfpab bench: warning: other programs keep this machine busy, do not trust wall times", file=sys.stderr)
    rows = []
    with first_cores(flags.threads):  # before jax makes its threads
        torch.set_num_threads(flags.threads)
        for what in KINDS if flags.what == "all" else (flags.what,):
            rows += _measure(what, flags)
    result = {"machine": facts, "rows": [row._asdict() for row in rows]}
    partial = flags.json.with_name(flags.json.name + ".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(partial, flags.json)
    print(table(rows))
    print(_line(facts))


def _line(facts: dict) -> str:
    return "; ".join(f"{name} {value}" for name, value in facts.items())


def _measure(what: str, flags: argparse.Namespace) -> list:
    """The rows of one kind of measurement."""
    _, batch, repeats = KINDS[what]
    batch, repeats = flags.batch or batch, flags.repeats or repeats
    if what == "step":
        from launch import bench_step

        return bench_step.measure(batch, repeats, flags.config)
    if what == "encode":
        from launch import bench_encode

        return bench_encode.measure(batch, repeats, flags.config, flags.data)
    if what == "stft":
        from launch import bench_stft

        return bench_stft.measure(batch, repeats)
    from launch import bench_input

    return bench_input.measure(batch, repeats, flags.data)


if __name__ == "__main__":
    sys.exit(main())
