"""`selfpab import`: weights trained in PyTorch -> a run folder that probing, features and export work on."""

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Makes a run folder of a SelfPAB or MonoSelfPAB encoder trained in PyTorch. Nothing in the file is ever
executed. Sizes are read off the tensors and, in a Lightning checkpoint, off its hyper-parameters."""
CONFIG = "configs/selfpab.py"  # the published settings, as far as the file does not tell others
SENSORS = {"both": ["back", "thigh"], "back": ["back"], "thigh": ["thigh"]}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one."""
    parser = Parser("import", DESCRIPTION)
    what = ".ckpt or .pt of PyTorch, .safetensors, .npz, or a folder of `selfpab export --format folder`"
    parser.add_argument("--weights", metavar="F", type=Path, required=True, help=what)
    parser.add_argument("--out", metavar="RUN", type=Path, required=True, help="run folder to write")
    norm = "folder with the mean.csv and std.csv of the weights (or a normalization.npz); features need them"
    parser.add_argument("--norm", metavar="DIR", type=Path, help=norm)
    parser.add_argument("--sensors", choices=SENSORS, help="what the encoder looks at; for 78 features: back or thigh")
    parser.add_argument("--heads", type=int, metavar="N", help="attention heads, where the file does not tell them")
    magnitude = "of the spectrograms it was trained on, where the file does not tell them (linear)"
    parser.add_argument("--magnitude", choices=("linear", "log"), help=magnitude)
    flags = parser.parse_args(argv)
    if flags.out.exists() and (not flags.out.is_dir() or any(flags.out.iterdir())):
        raise FileExistsError(f"--out: {flags.out} exists already, expected a new folder")
    if flags.norm and not flags.norm.is_dir():
        raise FileNotFoundError(f"--norm: found no folder {flags.norm}")
    if flags.heads is not None and flags.heads < 1:
        parser.error(f"--heads is {flags.heads}, expected 1 or more")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag or a file that cannot be used."""
    return run_job("import", lambda: _import(parse(argv)))


def _import(flags: argparse.Namespace) -> None:
    import numpy as np

    from launch.config_file import load_config
    from launch.imported import chosen_sensors, write_imported
    from launch.methods import build
    from selfpab_jax.interop.hyper_parameters import checked, from_published
    from selfpab_jax.interop.names import POSITIONS, from_torch, positions
    from selfpab_jax.interop.statistics import magnitude_of, read_statistics
    from selfpab_jax.interop.weight_files import read_exported_config, read_weights
    from selfpab_jax.models.functional import parameter_count

    folder = flags.weights if flags.weights.is_dir() else None
    if folder and (folder / "checkpoints").exists():
        raise ValueError(f"--weights: {folder} is a run folder already: probe, features and export take it as it is")
    file = folder / "model.safetensors" if folder else flags.weights
    exported = read_exported_config(folder) if folder else None  # which says so where its weights are damaged
    weights = read_weights(file)
    print(f"{file}: {weights.kind}, {len(weights.tensors)} tensors, step {weights.step}", file=sys.stderr)
    stated = checked(exported or from_published(weights.hyper_parameters, str(file)), str(file))
    for name in ("heads", "magnitude"):
        given, found = vars(flags)[name], stated.get(name)
        if given and found and given != found:
            raise ValueError(f"--{name} is {given}, but {file} was made with {found}: leave the flag out")
        stated[name] = given or found
    dropout, told, magnitude = (stated.pop(name, None) for name in ("dropout", "sensors", "magnitude"))
    cfg, params = from_torch(weights.tensors, stated, str(file))
    cfg = cfg if dropout is None else dataclasses.replace(cfg, dropout=dropout)
    given = SENSORS[flags.sensors] if flags.sensors else None
    sensors = chosen_sensors(given, told, cfg.in_features, str(file))
    norm = flags.norm or folder
    assumed = "" if magnitude or norm else " (assumed)"
    magnitude = magnitude or (magnitude_of(norm) if norm else "linear")
    normalization = read_statistics(norm, magnitude) if norm else {}
    config = json.loads(load_config(CONFIG).to_json())
    config |= {"sensors": sensors, "magnitude": magnitude, "model": dataclasses.asdict(cfg)}
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    source = {"file": file.name, "sha256": sha256, "kind": weights.kind, "step": weights.step}
    source |= {"statistics": str(norm) if norm else None, "hyper_parameters": weights.hyper_parameters}
    if normalization:
        build(config, normalization)  # refuses statistics of other features
    buffer = weights.tensors.get(POSITIONS)
    kept = None if buffer is None or np.array_equal(buffer, positions(cfg.d_model)) else buffer
    write_imported(flags.out, config, normalization, params, kept, source)
    print(
        f"{parameter_count(params):,} parameters: {cfg.in_features} features ({' and '.join(sensors)}), width "
        f"{cfg.d_model}, {cfg.heads} heads, feed-forward {cfg.ff}, {cfg.layers} layers; {magnitude} "
        f"magnitudes{assumed}, statistics: {norm or 'none'}"
    )
    if not norm:
        print(f"without --norm, {flags.out} can be exported but not probed", file=sys.stderr)
    print(f"run folder: {flags.out}")


if __name__ == "__main__":
    sys.exit(main())
