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
    workdir = Path(flags.workdir)
    print(run(json.loads(config.to_json()), workdir, resume=flags.resume)[1])
    print(f"run folder: {workdir}")
    return 0


def run(config: dict, workdir: Path, *, resume: bool) -> tuple[dict, str]:
    """(scores as `report.score_results` gives them, the table for the terminal) of a comparison, run or completed."""
    check(config)
    from data_pipelines.labelled import load_labelled
    from launch import classifier
    from launch.methods import check_fits
    from launch.run_folder import digest, open_run_folder
    from launch.trained import probed_encoder
    from selfpab_jax.evaluate import compare, cross_validation, figures, report, windows
    from selfpab_jax.evaluate.probe import ProbeConfig

    data, cfg = config["data"], ProbeConfig(**config["probe"])
    compare.check_names(config["methods"], config["seeds"])
    recordings = load_labelled(data["dir"])
    encoder, trained = probed_encoder(config)
    if config["classifier"]:
        classifier.check_method(config, workdir, trained)
    check_fits(trained.method, recordings[0].channels, recordings[0].rate_hz, data["dir"])
    length, stride = window_tokens(data, trained)
    share = {name: data[name] for name in ("validation", "min_majority")}
    cut = windows.cut(recordings, trained.method.tokens, length=length, stride=stride, **share)
    names = sorted({recording.subject for recording in recordings})
    loso, k_fold = cross_validation.leave_one_subject_out, cross_validation.group_k_fold
    folds = k_fold(names, config["folds"]) if config["folds"] else loso(names)
    # Folds of other recordings or of another encoder must not be mixed with these.
    data_hash = digest([(r.counts, r.label) for r in recordings])
    hashes = {"data_hash": data_hash, "encoder_hash": digest(encoder.pretrained)}
    open_run_folder(workdir, config | hashes, resume=resume, may_differ=("data.dir", "encoder", "classifier"))
    people = f"encoder: {config['encoder']}, step {trained.step}\n{len(names)} subjects, {len(folds)} folds"
    print(f"{people}, {cut.hours:.1f} h, activities: {', '.join(cut.names)}", file=sys.stderr)
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
            scored=data["scored"],
        ):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    protocol = {"data": data["dir"], "encoder": config["encoder"], "folds": len(folds), "scored": data["scored"]}
    results = compare.results(rows, cut.codes, cut.names, data["merge"], protocol | config["probe"])
    baseline = config["baseline"] if config["baseline"] in results["methods"] else None
    scores = report.write_report(results, workdir, baseline)
    figures.comparison(results, workdir / "figures")
    text = report.console_table(results, baseline)
    if config["classifier"]:
        kept = classifier.keep(workdir, config, cut, encoder, trained, scores, len(folds))
        text += f"\nclassifier {config['classifier']}, trained on all subjects: {kept}"
    return scores, text


def check(config: dict) -> None:
    """Raises ValueError for fields that are missing or wrong; before anything heavy is imported."""
    for name in ("window_tokens", "stride_tokens"):
        if (value := config["data"][name]) < 0:
            raise ValueError(f"--config.data.{name} is {value}, expected 0 (by the encoder) or more")
    if (scored := config["data"]["scored"]) not in ("samples", "tokens"):
        raise ValueError(f"--config.data.scored is '{scored}', expected samples or tokens")
    for field, value, what in (
        ("data.dir", config["data"]["dir"], "a prepared folder with labels"),
        ("encoder", config["encoder"], "a run folder of `selfpab pretrain` (its shape serves the controls too)"),
    ):
        if not value:
            raise ValueError(f"--config.{field} is missing: name {what}")


def window_tokens(data: dict, trained) -> tuple[int, int]:
    """(length of a window, steps between windows) in tokens; 0 stands for the length of pre-training and half of it."""
    length = data["window_tokens"] or trained.method.tokens.count(trained.recording["window_samples"])
    return length, data["stride_tokens"] or (length + 1) // 2


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
