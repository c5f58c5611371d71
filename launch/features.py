"""`selfpab features`: the embeddings of one recording, frame by frame, from a pre-trained encoder."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Writes what a pre-trained encoder says about every token of a recording, labelled or not: frames of 1 s
for SelfPAB, patches of 10 s for the masked autoencoder.
The .npz file holds features float32 [T, n, D]; time int64 [T], the middles of the tokens in microseconds since 1970
(in the recording's own clock); layers int64 [n], 0 being the embedding; token_seconds and hop_seconds."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one."""
    parser = Parser("features", DESCRIPTION)
    parser.add_argument("--run", metavar="DIR", type=Path, required=True, help="run folder of `selfpab pretrain`")
    what = "a recording: .csv in HARTH's or UK Biobank's layout, HUNT4's .npz or folder of one subject, or a shard "
    what += "(.array_record) of selfpab ingest"
    parser.add_argument("--input", metavar="FILE", type=Path, required=True, help=what)
    parser.add_argument("--out", metavar="F.npz", type=Path, required=True, help="file to write")
    layers = "all, last (default) or numbers from 0 (embedding) on, such as 0,2"
    parser.add_argument("--layers", default="last", help=layers)
    which = "checkpoint: best (default), latest or the number of a step"
    parser.add_argument("--which", default="best", metavar="STEP", help=which)
    layout = "default: of a .csv[.gz] ukbiobank for an encoder of the wrist, else harth; hunt4 of anything else"
    parser.add_argument("--layout", choices=("harth", "hunt4", "ukbiobank"), help=layout)
    stride = "tokens between windows (half a window, as long as in pre-training); overlapping windows are averaged"
    parser.add_argument("--stride", type=int, metavar="N", help=stride)
    flags = parser.parse_args(argv)
    if flags.out.suffix != ".npz":
        parser.error(f"--out is {flags.out}, expected a name that ends in .npz")
    if not flags.input.exists():
        raise FileNotFoundError(f"--input: found no {flags.input}")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag, or a recording or a run that cannot be used."""
    return run_job("features", lambda: _features(parse(argv)))


def _features(flags: argparse.Namespace) -> None:
    import jax
    import numpy as np

    from data_pipelines.manifest import draft
    from launch.methods import sensors_of
    from launch.recording import recording_counts
    from launch.trained import load_trained
    from selfpab_jax.evaluate.features import chosen_layers, recording_features

    run = load_trained(flags.run, flags.which)
    method, tokens, prepared = run.method, run.method.tokens, run.recording
    window = jax.ShapeDtypeStruct((1, len(method.recorded), prepared["window_samples"]), np.float32)
    layers = chosen_layers(flags.layers, len(jax.eval_shape(partial(method.encode, method.model), window)))
    length = tokens.count(prepared["window_samples"])
    stride = (length + 1) // 2 if flags.stride is None else flags.stride
    if not 1 <= stride <= length:
        raise ValueError(f"--stride is {stride}, expected 1 to {length} tokens")
    print(f"encoder: {flags.run}, step {run.step}", file=sys.stderr)
    # Exactly as the recordings that the encoder was trained on.
    sensors = sensors_of(method.recorded)
    counts, stretches, time, clipped, dropped_s = recording_counts(
        flags.input, flags.layout, sensors, tokens.rate_hz, prepared
    )

    def encode(acceleration, valid):
        outputs = method.encode(run.merge(run.params, run.model_state), acceleration, valid)
        return [outputs[layer] for layer in layers]

    features, first = recording_features(
        encode, counts, prepared["scale_g"], stretches, tokens, length=length, stride=stride
    )
    content = {
        "features": features,
        "time": time[first + tokens.size // 2],
        "layers": np.asarray(layers),
        "token_seconds": np.asarray(tokens.size / tokens.rate_hz),
        "hop_seconds": np.asarray(tokens.hop / tokens.rate_hz),
    }
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    with draft(flags.out) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **content)
    hours = len(time) / tokens.rate_hz / 3600
    note = f", {clipped} samples clipped" if clipped else ""
    note += f"; {dropped_s / 3600:.2f} h more are in no window of the shard" if dropped_s else ""
    stretch = "1 stretch" if len(stretches) == 1 else f"{len(stretches)} stretches"
    print(
        f"{len(features)} tokens of {hours:.2f} h in {stretch}{note}; layers "
        f"{', '.join(map(str, layers))}; {features.shape[-1]} features each\n{flags.out}"
    )


if __name__ == "__main__":
    sys.exit(main())
