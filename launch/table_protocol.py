"""How the results of the tables came about: settings, people, folds and the time they took."""

import os
from collections.abc import Mapping, Sequence

from selfpab_jax.evaluate import paper_tables
from selfpab_jax.evaluate.paper_tables import Cell, Table
from selfpab_jax.evaluate.published import ROWS, title


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def protocol(rows: Sequence[Mapping], settings: Mapping) -> str:
    """How the results came about, as Markdown; `origins.json` has every value."""
    lines = [f"Settings: {settings['config']}; networks held out {100 * settings['validation']:g} % of each subject."]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        its = [row for row in rows if row["dataset"] == dataset]
        people, folds = {who for row in its for who in row["confusion"]}, {row["fold"] for row in its}
        seeds = ", ".join(map(str, sorted({row["seed"] for row in its})))
        encoder = settings["encoder"].get(dataset)
        named = f"; encoder {encoder}" if encoder else ""
        lines.append(f"{title(dataset)}: {len(people)} subjects in {len(folds)} folds; seeds {seeds}{named}.")
    return "\n".join(f"- {line}" for line in lines) + "\n"


def times(rows: Sequence[Mapping], workers: int) -> Table:
    """Seconds a fold takes, by method and data set, trained on all labels."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    methods = paper_tables.row_order(row["method"] for row in rows)
    body = []
    for method in methods:
        cells = [Cell(ROWS.get(method, method))]
        for dataset in datasets:
            key = (dataset, method, "all")
            its = [row for row in rows if (row["dataset"], row["method"], row["labels"]) == key]
            mean = [sum(row[name] for row in its) / max(1, len(its)) for name in ("seconds", "cpu_seconds")]
            cells.append(Cell(f"{mean[0]:.1f} ({mean[1]:.1f})" if its else paper_tables.NOT_RUN))
        body.append(cells)
    every = sum(row["seconds"] + row["setup_seconds"] for row in rows)
    note = (
        f"Wall (CPU) seconds of training, prediction and scoring, mean over folds, {workers} at a time on {cores()} "
        f"cores; all {len(rows)} folds with what they share took {every / 60:.0f} process minutes."
    )
    return Table(["method", *(title(d) for d in datasets)], body, "Time of a fold", note, "times")
