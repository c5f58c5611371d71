"""`selfpab features`: the embeddings of one recording, frame by frame, from a pre-trained encoder."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from launch.command_line import Parser, run_job

DESCRIPTION = """Writes what a pre-trained encoder says about every second of a recording, labelled or not.
The .npz file holds features float32 [T, n, D]; time int64 [T], the middles of the frames in microseconds since 1970
(in the recording's own clock); layers int64 [n], 0 being the embedding; frame_seconds and hop_seconds."""
WINDOW_FRAMES = 599  # selfpab_jax.signals.stft.N_FRAMES, which is known only once NumPy is imported


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ValueError, one sentence, for a wrong one."""
    parser = Parser("features", DESCRIPTION)
    parser.add_argument("--run", metavar="DIR", type=Path, required=True, help="run folder of `selfpab pretrain`")
    what = "a recording: .csv in HARTH's layout (label optional), or HUNT4's .npz or folder of one subject"
    parser.add_argument("--input", metavar="FILE", type=Path, required=True, help=what)
    parser.add_argument("--out", metavar="F.npz", type=Path, required=True, help="file to write")
    layers = "all, last (default) or numbers from 0 (embedding) on, such as 0,2"
    parser.add_argument("--layers", default="last", help=layers)
    parser.add_argument("--which", choices=("best", "latest"), default="best", help="checkpoint (best)")
    layout = "default: by the name of --input"
    parser.add_argument("--layout", choices=("harth", "hunt4"), help=layout)
    stride = "frames between windows of 599 (300); overlapping windows are averaged"
    parser.add_argument("--stride", type=int, default=300, metavar="N", help=stride)
    flags = parser.parse_args(argv)
    if flags.out.suffix != ".npz":
        parser.error(f"--out is {flags.out}, expected a name that ends in .npz")
    if not 1 <= flags.stride <= WINDOW_FRAMES:
        parser.error(f"--stride is {flags.stride}, expected 1 to {WINDOW_FRAMES} frames")
    if not flags.input.exists():
        raise FileNotFoundError(f"--input: found no {flags.input}")
    flags.layout = flags.layout or ("harth" if flags.input.suffix == ".csv" else "hunt4")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 after a wrong flag, or a recording or a run that cannot be used."""
    return run_job("features", lambda: _features(parse(argv)))


def _features(flags: argparse.Namespace) -> None:
    import jax
    import numpy as np

    from data_pipelines.manifest import PARTIAL
    from data_pipelines.readers import har_csv, hunt4
    from data_pipelines.windows import quantise, segments
    from launch.trained import load_trained, recording_settings
    from selfpab_jax.evaluate.features import chosen_layers, recording_features
    from selfpab_jax.signals.stft import CHANNELS, HOP, N_FFT, N_FRAMES, SAMPLE_RATE_HZ, WINDOW_SAMPLES

    run = load_trained(flags.run, flags.which)
    window = jax.ShapeDtypeStruct((1, len(CHANNELS), WINDOW_SAMPLES), np.float32)
    layers = chosen_layers(flags.layers, len(jax.eval_shape(partial(run.method.encode, run.method.model), window)))
    print(f"encoder: {flags.run}, step {run.step}", file=sys.stderr)
    is_csv = flags.layout == "harth"
    recording = har_csv.read(flags.input, need_label=False) if is_csv else hunt4.read(flags.input)
    prepared = recording_settings(flags.run)
    counts, clipped = quantise(recording.acceleration, prepared["scale_g"])  # as the encoder was trained

    def encode(acceleration, valid):
        outputs = run.method.encode(run.merge(run.params, run.model_state), acceleration, valid)
        return [outputs[layer] for layer in layers]

    stretches = segments(recording.time, prepared["max_gap_s"])
    features, first = recording_features(
        encode, counts, prepared["scale_g"], stretches, frames=N_FRAMES, stride=flags.stride
    )
    content = {
        "features": features,
        "time": recording.time[first + N_FFT // 2],
        "layers": np.asarray(layers),
        "frame_seconds": np.asarray(N_FFT / SAMPLE_RATE_HZ),
        "hop_seconds": np.asarray(HOP / SAMPLE_RATE_HZ),
    }
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    draft = flags.out.with_name(flags.out.name + PARTIAL)
    try:
        with draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **content)
        os.replace(draft, flags.out)
    finally:
        draft.unlink(missing_ok=True)
    hours = len(recording.time) / SAMPLE_RATE_HZ / 3600
    note = f", {clipped} samples clipped" if clipped else ""
    stretch = "1 stretch" if len(stretches) == 1 else f"{len(stretches)} stretches"
    print(
        f"{len(features)} frames of {hours:.2f} h in {stretch}{note}; layers "
        f"{', '.join(map(str, layers))}; {features.shape[-1]} features each\n{flags.out}"
    )


if __name__ == "__main__":
    sys.exit(main())
