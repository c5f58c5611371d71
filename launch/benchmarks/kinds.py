"""What each kind of measurement of `selfpab bench` runs; modules are imported when they are needed."""

import argparse
import json
import sys
from collections.abc import Callable

from launch.benchmarks.line import KINDS


def measure(what: str, flags: argparse.Namespace, torch: bool) -> dict[str, list]:
    """What one kind of measurement adds to the result."""
    _, batch, repeats = KINDS[what]
    batches, repeats = flags.batch or [batch], flags.repeats or repeats
    if what == "step":
        return _steps(flags, batches, repeats, torch)
    if what == "encode":
        from launch.benchmarks import encode

        return {"rows": encode.measure(batches[0], repeats, flags.config, flags.data)}
    if what == "stft":
        from launch.benchmarks import stft

        return {"rows": stft.measure(batches[0], repeats)}
    if what == "hand_crafted":
        from launch.benchmarks import hand_crafted

        return {"hand_crafted": [hand_crafted.measure(batches[0], repeats)]}
    if what == "ingest":
        from launch.benchmarks import ingest

        return ingest.measure(flags.data, repeats)
    if what == "checkpoint":
        from launch.benchmarks import checkpoint

        return {"checkpoint": [checkpoint.measure(_config(flags), repeats)]}
    if what == "restart":
        from launch.benchmarks import restart

        return {"restart": [restart.measure(repeats)]}
    if flags.processes:
        from launch.benchmarks import scale

        return {"scaling": scale.measure(flags.processes, batches[0], repeats, flags.data)}
    from launch.benchmarks import input_pipeline

    return {"rows": input_pipeline.measure(batches[0], repeats, flags.data)}


def _steps(flags: argparse.Namespace, batches: list[int], repeats: int, torch: bool) -> dict[str, list]:
    from launch import compilation
    from launch.benchmarks import devices, mesh

    config = _config(flags)
    compilation.keep_compiled()
    meshes = devices.meshes(flags.mesh)
    devices.check(config, meshes, batches)
    pytorch = _beside(config, batches[0], devices.on_one_cpu(meshes), torch)
    steps = mesh.measure(config, meshes, batches, repeats, flags.data, flags.trace)
    rows = pytorch(repeats) if pytorch else []
    say(compilation.report())
    return {"steps": steps, "rows": rows}


def _config(flags: argparse.Namespace) -> dict:
    from launch.config_file import load_config, set_field

    config = load_config(flags.config)
    for override in flags.overrides:
        set_field(config, override, flags.config)
    return json.loads(config.to_json())


def _beside(config: dict, batch: int, on_one_cpu: bool, torch: bool) -> Callable[[int], list] | None:
    """rounds -> the comparison with PyTorch, checked before anything is measured; None where it is left out."""
    if not torch:
        why = "it is not installed (pip install -e '.[torch]')"
    elif not on_one_cpu:
        why = "it is compared on one CPU device"
    else:
        from launch.benchmarks import step

        try:
            return step.comparison(config, batch)
        except step.LeftOut as reason:
            why = str(reason)
    say(f"PyTorch is left out: {why}")
    return None


def say(what: str) -> None:
    print(what, file=sys.stderr)
