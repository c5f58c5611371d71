"""`selfpab probe`: what an encoder is worth on labelled recordings, subject by subject."""

import json
import sys
from functools import partial
from pathlib import Path

from launch.command_line import config_flags, run_job

DESCRIPTION = "Compares classifiers on a pre-trained encoder with their controls by cross-validation over subjects."
FOLDS_FILE = "folds.jsonl"  # a row per method, seed and fold, written as they finish


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a mistake, 130 interrupted (run again with --resume)."""
    return run_job("probe", partial(_probe, argv))


def _probe(argv: list[str] | None) -> int:
    config, flags = config_flags("probe", argv, description=DESCRIPTION)
    config, workdir = json.loads(config.to_json()), Path(flags.workdir)
    check(config)
    from data_pipelines.labelled import load_labelled
    from launch import classifier
    from launch.run_folder import digest, open_run_folder
    from selfpab_jax.evaluate import compare, cross_validation, figures, report, windows
    from selfpab_jax.evaluate.probe import ProbeConfig

    data, cfg = config["data"], ProbeConfig(**config["probe"])
    compare.check_names(config["methods"], config["seeds"])
    if config["classifier"]:
        classifier.check_method(config, workdir)
    recordings = load_labelled(data["dir"])
    cut = windows.cut(
        recordings, frames=data["window_frames"], stride=data["stride_frames"], validation=data["validation"]
    )
    names = sorted({recording.subject for recording in recordings})
    loso, k_fold = cross_validation.leave_one_subject_out, cross_validation.group_k_fold
    folds = k_fold(names, config["folds"]) if config["folds"] else loso(names)
    encoder, run = load_encoder(config)
    # Folds of other recordings or of another encoder must not be mixed with these.
    data_hash = digest([(r.counts, r.label) for r in recordings])
    hashes = {"data_hash": data_hash, "encoder_hash": digest(encoder.pretrained)}
    open_run_folder(workdir, config | hashes, resume=flags.resume, may_differ=("data.dir", "encoder", "classifier"))
    hours = sum(len(s.truth) for s in cut.segments) / 180_000
    people = f"{len(names)} subjects, {len(folds)} folds"
    print(f"{people}, {hours:.1f} h, activities: {', '.join(cut.names)}", file=sys.stderr)
    rows = read_rows(workdir / FOLDS_FILE)
    finished = [(row["method"], row["seed"], row["fold"]) for row in rows]
    with (workdir / FOLDS_FILE).open("a") as file:
        for row in compare.compare(
            config["methods"],
            config["seeds"],
            cut,
            folds,
            cfg,
            encoder,
            finished=finished,
            training_subjects=config["training_subjects"],
        ):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    protocol = {"data": data["dir"], "encoder": config["encoder"], "folds": len(folds)}
    results = compare.results(rows, cut, data["merge"], protocol | config["probe"])
    baseline = config["baseline"] if config["baseline"] in results["methods"] else None
    scores = report.write_report(results, workdir, baseline)
    figures.comparison(results, workdir / "figures")
    print(report.console_table(results, baseline))
    if config["classifier"]:
        kept = classifier.keep(workdir, config, cut, encoder, run, scores, len(folds))
        print(f"classifier {config['classifier']}, trained on all subjects: {kept}")
    print(f"run folder: {workdir}")
    return 0


def check(config: dict) -> None:
    """Raises ValueError for fields that are missing; before anything heavy is imported."""
    for field, value, what in (
        ("data.dir", config["data"]["dir"], "a prepared folder with labels"),
        ("encoder", config["encoder"], "a run folder of `selfpab pretrain` (its shape serves the controls too)"),
    ):
        if not value:
            raise ValueError(f"--config.{field} is missing: name {what}")


def load_encoder(config: dict):
    """(the encoder of a run folder in the form the comparison wants, the run)."""
    from launch.methods import build
    from launch.trained import load_trained
    from selfpab_jax.evaluate.compare import Encoder
    from selfpab_jax.models.functional import split

    run = load_trained(Path(config["encoder"]), config["which"])
    print(f"encoder: {config['encoder']}, step {run.step}", file=sys.stderr)

    def encode(params, acceleration, valid, key):
        return run.method.encode(run.merge(params, run.model_state), acceleration, valid, key)

    def random(seed):
        return split(build(run.config | {"seed": 1_000 + seed}, run.normalization).model).params

    return Encoder(encode, run.params, random, lambda acceleration, valid: run.method.inputs(acceleration)), run


def read_rows(file: Path) -> list[dict]:
    """The finished rows of an interrupted comparison; a last line cut short is taken out of the file."""
    from data_pipelines.manifest import write_atomically
    from selfpab_jax.train.metrics import read_metrics

    rows = read_metrics(file)
    if file.exists():
        write_atomically(file, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
