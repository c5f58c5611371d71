"""The folds of the tables: checked before anything is read, run in parallel, each written down as it ends."""

import json
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from data_pipelines.processes import outcomes
from launch import table_origins, table_protocol, table_report, table_store
from launch.arguments import nearest
from launch.run_folder import hold
from launch.table_folds import run_fold
from launch.table_methods import NAMES, needs_training_run
from launch.table_sets import TableSet
from selfpab_jax.baselines import classifiers

NOT_YET = ("simclr", "selfhar")  # rows of the article's tables


def check(settings: Mapping) -> None:
    """Raises ValueError or FileNotFoundError for what is unknown or missing."""
    for field, known in (("methods", NAMES), ("datasets", tuple(settings["folds"])), ("encoder", settings["datasets"])):
        for word in settings[field]:
            if word in NOT_YET:
                raise ValueError(f"--{field}: {word} is not implemented yet; the tables show it as not run")
            if word not in known:
                raise ValueError(f"--{field}: found {word}, expected some of {', '.join(known)}{nearest(word, known)}")
    for field in ("methods", "datasets", "labels", "seeds"):
        if not settings[field] or len(set(settings[field])) < len(settings[field]):
            raise ValueError(f"--{field} is {settings[field]}, expected at least one and none twice")
    if (reference := settings["reference"]) not in NAMES:
        raise ValueError(f"--config.reference: found {reference}, expected one of {', '.join(NAMES)}")
    for name in set(settings["methods"]) & set(classifiers.NAMES):
        classifiers.check_installed(name)
    for word in settings["labels"]:
        if word not in ("all", "minute") and not (word.isdecimal() and int(word) > 0):
            raise ValueError(f"--labels: found {word}, expected all, minute or a number of training subjects")
    if not Path(settings["data"]).is_dir():
        raise FileNotFoundError(f"--data: found no folder {settings['data']}")
    if wanting := [name for name in settings["methods"] if needs_training_run(name)]:
        for dataset in settings["datasets"]:
            if dataset not in settings["encoder"]:
                raise ValueError(
                    f"--methods: {', '.join(wanting)} on {dataset} need a pre-trained encoder: name a run folder of "
                    "`selfpab pretrain` with --encoder, or name --methods without them"
                )
    for folder in settings["encoder"].values():
        if not (Path(folder) / "config.json").is_file():
            raise FileNotFoundError(f"--encoder: {folder} is no run folder, it has no config.json")


def run(settings: Mapping, out: Path, workers: int | None) -> str:
    """The tables for the terminal, after every fold that the store lacks has been run.

    Args:
      workers: processes; None for one per GPU, or per core where there is none.
    """
    if (workers := table_protocol.processors() if workers is None else workers) < 1:
        raise ValueError(f"--workers is {workers}, expected 1 or more")
    out.mkdir(parents=True, exist_ok=True)
    with hold(out, "--out"):
        sets = {name: TableSet(settings, name) for name in settings["datasets"]}
        _check_counts(settings, sets)
        wanted, rows = table_store.jobs(settings, sets), table_store.stored(out)
        # Rows that are only shown must be of the same settings too.
        pairs = {(job.dataset, job.method) for job in [*wanted, *map(table_store.job_of, rows)] if job.dataset in sets}
        told = {pair: table_origins.origin(settings, sets[pair[0]], pair[1]) for pair in pairs}
        origins = {pair: table_origins.digest(one) for pair, one in told.items()}
        table_store.check_origins(out, rows, origins)
        table_origins.write_origins(out, told.values())
        finished = {table_store.job_of(row) for row in rows}
        todo = [job for job in wanted if job not in finished]
        text = json.dumps(settings)
        with (out / table_store.STORE).open("a") as file:
            with tqdm(total=len(wanted), initial=len(wanted) - len(todo), unit="fold", smoothing=0.05) as bar:
                for _, outcome in outcomes(run_fold, [(text, job) for job in todo], workers, share_cores=True):
                    row = outcome()
                    bar.set_description(f"{row['dataset']} {row['method']}")
                    rows.append(row | {"origin": origins[row["dataset"], row["method"]], "workers": workers})
                    file.write(json.dumps(rows[-1]) + "\n")
                    file.flush()
                    bar.update()
        shown = [row for row in rows if row["dataset"] in sets and row["seed"] in settings["seeds"]]
        return table_report.write(shown, settings, out, {name: data.seen for name, data in sets.items()})


def _check_counts(settings: Mapping, sets: Mapping[str, TableSet]) -> None:
    """Raises ValueError for numbers of training subjects that a data set does not have."""
    for word in filter(str.isdecimal, settings["labels"]):
        for name, data in sets.items():
            if int(word) >= (most := min(len(fold.train) for fold in data.folds)):
                raise ValueError(
                    f"--labels: found {word}, {name} has {most} training subjects in a fold: name fewer, or all"
                )
