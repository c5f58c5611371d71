"""How the results of the tables came about: settings, people, folds and the time they took."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfpab_jax.evaluate import paper_tables
from selfpab_jax.evaluate.paper_tables import Cell, Table
from selfpab_jax.evaluate.published import ROWS, title


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processors() -> int:
    """What may work side by side: NVIDIA GPUs, or cores where there is none."""
    return len(list(Path("/dev").glob("nvidia[0-9]*"))) or cores()


def protocol(rows: Sequence[Mapping], settings: Mapping, seen: Mapping[str, Sequence[str]]) -> str:
    """How the results came about, as Markdown; `origins.json` has every value.

    Args:
      seen: data set -> the people whom its encoder was pre-trained on.
    """
    lines = [f"Settings: {settings['config']}; networks held out {100 * settings['validation']:g} % of each subject."]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        its = [row for row in rows if row["dataset"] == dataset]
        people, folds = {who for row in its for who in row["confusion"]}, {row["fold"] for row in its}
        seeds = ", ".join(map(str, sorted({row["seed"] for row in its})))
        encoder = settings["encoder"].get(dataset)
        named = f"; encoder {encoder}" if encoder else "; spectrograms normalised by the data set's own statistics"
        known = f"; **the encoder was pre-trained on {', '.join(seen[dataset])}**" if seen[dataset] else ""
        lines.append(f"{title(dataset)}: {len(people)} subjects in {len(folds)} folds; seeds {seeds}{named}{known}.")
    return "\n".join(f"- {line}" for line in lines) + "\n"


def times(rows: Sequence[Mapping]) -> Table:
    """Seconds a fold takes, by method and data set, trained on all labels."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    methods = paper_tables.row_order(row["method"] for row in rows)
    body = []
    for method in methods:
        cells = [Cell(ROWS.get(method, method))]
        for dataset in datasets:
            key = (dataset, method, "all")
            its = [row for row in rows if (row["dataset"], row["method"], row["labels"]) == key]
            total = [sum(row[name] + row[f"setup_{name}"] for row in its) for name in ("seconds", "cpu_seconds")]
            text = f"{total[0] / len(its):.1f} ({total[1] / len(its):.1f})" if its else paper_tables.NOT_RUN
            cells.append(Cell(text))
        body.append(cells)
    every = sum(row["seconds"] + row["setup_seconds"] for row in rows)
    workers = " or ".join(map(str, sorted({row.get("workers", 1) for row in rows})))
    note = (
        f"Wall (CPU) seconds, mean over folds, with a fold's share of what all need (features, compiled programs); "
        f"{workers} at a time on {cores()} cores. All {len(rows)} folds took {every / 60:.1f} process minutes."
    )
    return Table(["method", *(title(d) for d in datasets)], body, "Time of a fold", note, "tab:times")
