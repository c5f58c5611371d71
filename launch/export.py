"""`selfpab export`: an encoder or a kept classifier -> files for PyTorch and ONNX."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Writes the encoder of a run folder, or the classifier that `selfpab probe` kept, for other programs.
state_dict: a .pt that the published SelfPAB class loads. lightning: a .ckpt for its upstream_model_path.
folder: weights, statistics, a model card and a PyTorch module that needs neither JAX nor this project.
onnx: that module as one graph, spectrogram and normalisation included."""
SUFFIXES = {"state_dict": ".pt", "lightning": ".ckpt", "onnx": ".onnx", "folder": ""}
FEATURES = ("last", "weighted", "all")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one."""
    parser = Parser("export", DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    run = "run folder of `selfpab pretrain` or `import`, or the classifier/ in one of `probe`"
    parser.add_argument("--run", metavar="DIR", type=Path, required=True, help=run)
    parser.add_argument("--format", choices=SUFFIXES, required=True, help="what to write")
    parser.add_argument("--out", metavar="PATH", type=Path, required=True, help="file or folder to write")
    parser.add_argument("--which", choices=("best", "latest"), default="best", help="checkpoint (best)")
    features = "onnx: last layer (default), equally weighted sum of embedding and layers, or all of them"
    parser.add_argument("--features", choices=FEATURES, help=features)
    license = "folder, onnx: licence of the weights, such as cc-by-4.0 (unknown)"
    parser.add_argument("--license", metavar="NAME", help=license)
    flags = parser.parse_args(argv)
    if flags.features and flags.format != "onnx":
        parser.error("--features has a meaning for --format onnx only; torch_encoder.load chooses them when it opens")
    if flags.license and flags.format not in ("folder", "onnx"):
        parser.error(f"--license has a meaning for --format folder and onnx only, a {flags.format} has no place for it")
    if not re.fullmatch(r"[A-Za-z0-9.+-]+", flags.license or "unknown"):
        parser.error(f"--license is {flags.license!r}, expected a short name such as cc-by-4.0 or apache-2.0")
    if flags.out.suffix != SUFFIXES[flags.format] and SUFFIXES[flags.format]:
        parser.error(f"--out is {flags.out}, expected a name that ends in {SUFFIXES[flags.format]}")
    if flags.out.exists():
        raise FileExistsError(f"--out: {flags.out} exists already; remove it or name another")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag or a run that cannot be exported."""
    return run_job("export", lambda: _export(parse(argv)))


def _export(flags: argparse.Namespace) -> None:
    from launch.exported import hyper_parameters, load_exported
    from selfpab_jax.interop import exports
    from selfpab_jax.interop.model_card import card

    license = flags.license or "unknown"
    what, step = load_exported(flags.run, flags.which, license)
    kind = "classifier" if what.head else "encoder"
    print(f"{kind}: {flags.run}, step {step}, {what.config['parameters']:,} parameters", file=sys.stderr)
    if flags.format in ("folder", "onnx") and not what.normalization:
        raise ValueError(
            f"{flags.run} was imported without normalisation statistics, which --format {flags.format} contains: "
            "import the weights again with --norm=DIR"
        )
    if flags.features and what.head:
        raise ValueError(f"--features is for encoders, {flags.run} is a classifier, which gives log-probabilities")
    if flags.format in ("state_dict", "lightning") and what.head:
        raise ValueError(f"--format {flags.format} is for encoders, {flags.run} is a classifier: name folder or onnx")
    if flags.format == "state_dict":
        exports.write_state_dict(what, flags.out)
    elif flags.format == "lightning":
        exports.write_lightning(what, hyper_parameters(flags.run), step, flags.out)
    elif flags.format == "folder":
        exports.write_folder(what, card(what.config, license), flags.out)
    else:
        facts = exports.write_onnx(what, flags.features or "last", flags.out)
        print(
            f"opset {facts['opset']}, {facts['bytes'] / 1e6:.1f} MB; onnxruntime differs from PyTorch by "
            f"{facts['difference']:.1e} of the largest value"
        )
    if flags.format == "folder" and license == "unknown":
        print("the model card says that the licence is unknown: name one with --license before you share it")
    print(f"written: {flags.out}")


if __name__ == "__main__":
    sys.exit(main())
