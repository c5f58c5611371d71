"""`selfpab bench`: the training step on meshes of devices, and this project beside PyTorch, measured in turns."""

import argparse
import sys
from collections.abc import Sequence

from launch.benchmarks.columns import TABLES
from launch.benchmarks.line import KINDS, ON_ITS_OWN, TORCH, parse
from launch.benchmarks.markdown import markdown
from launch.command_line import run_job

BUSY = 0.5  # load a core above which wall times are not to be trusted


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag or where PyTorch is needed and not installed."""
    return run_job("bench", lambda: _bench(parse(argv)))


def _bench(flags: argparse.Namespace) -> None:
    try:
        import torch
    except ModuleNotFoundError as error:
        if flags.what in TORCH and not flags.processes:
            raise ValueError("PyTorch, to compare with, is not installed: pip install -e '.[torch]'") from error
        torch = None
    from data_pipelines.manifest import json_bytes, write_atomically
    from launch.benchmarks.kinds import measure, say
    from launch.benchmarks.timing import first_cores, machine, table

    facts = machine(flags.threads)
    say(_line(facts))
    if facts["load"] > BUSY * facts["cores"]:
        say("selfpab bench: warning: other programs keep this machine busy, do not trust wall times")
    result = {"machine": facts, "rows": []} | {name: [] for name in TABLES}
    with first_cores(flags.threads):  # before jax makes its threads
        if torch:
            torch.set_num_threads(flags.threads)
        for what in [kind for kind in KINDS if kind not in ON_ITS_OWN] if flags.what == "all" else [flags.what]:
            for name, found in measure(what, flags, torch is not None).items():
                result[name] += found
            # After each kind, so that what has been measured outlives the failure of a later one.
            written = result | {"rows": [row._asdict() for row in result["rows"]]}
            write_atomically(flags.json, json_bytes(written))
    shown = [markdown(columns, result[name]) for name, columns in TABLES.items() if result[name]]
    shown += [table(result["rows"])] if result["rows"] else []
    print("\n\n".join(shown))
    print(_line(facts))


def _line(facts: dict) -> str:
    return "; ".join(f"{name} {value}" for name, value in facts.items())


if __name__ == "__main__":
    sys.exit(main())
