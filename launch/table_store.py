"""The results store of the tables: a JSON line per data set, method, labels, seed and fold, its origin as a digest."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from launch.probe import read_rows
from launch.table_folds import Job
from launch.table_methods import DETERMINISTIC
from launch.table_sets import TableSet
from selfpab_jax.evaluate.compare import results

STORE = "results.jsonl"


def jobs(settings: Mapping, sets: Mapping[str, TableSet]) -> list[Job]:
    """Every fold that the settings ask for; folds that share features and compiled code follow one another."""
    return [
        Job(dataset, method, labels, seed, fold)
        for dataset in settings["datasets"]
        for method in settings["methods"]
        for seed in settings["seeds"]
        for labels in settings["labels"]
        for fold in range(len(sets[dataset].folds))
        # Other seeds draw other labels, where not all are used.
        if method not in DETERMINISTIC or labels != "all" or seed == settings["seeds"][0]
    ]


def stored(out: Path) -> list[dict]:
    """The rows of the store, a last line cut short removed; ValueError where a line is no row of such a store."""
    rows = read_rows(out / STORE)
    for number, row in enumerate(rows, 1):
        if not {"origin", "confusion", *Job._fields} <= row.keys():
            raise ValueError(f"{out / STORE} line {number} is no result of this job: name another --out")
    return rows


def check_origins(out: Path, rows: Iterable[Mapping], origins: Mapping[tuple[str, str], str]) -> None:
    """Raises ValueError for a row that other settings or data have given than this call's.

    Args:
      origins: (data set, method) -> digest of the origin; rows of other pairs are passed over.
    """
    for row in rows:
        dataset, method = row["dataset"], row["method"]
        if origins.get((dataset, method), row["origin"]) != row["origin"]:
            raise ValueError(
                f"{out / STORE} holds {method} on {dataset} made with other settings, data or another encoder: name "
                "the same --config and --encoder, or another --out, or remove these lines"
            )


def job_of(row: Mapping) -> Job:
    """What a row is the outcome of."""
    return Job(*(row[name] for name in Job._fields))


def collected(rows: Iterable[Mapping], settings: Mapping, labels: str) -> dict[str, dict]:
    """data set -> {"raw", "smoothed"}: results dictionaries of the rows with these labels.

    A data set of which the settings leave subjects out is there a second time, without them, under a longer name.
    """
    found: dict[str, dict] = {}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        its = [row for row in rows if row["dataset"] == dataset and row["labels"] == labels]
        if not its:
            continue
        people = {who for row in its for who in row["confusion"]}
        found[dataset] = _both(its, settings["merge"].get(dataset, {}), ())
        dropped = sorted(people & set(settings["without"].get(dataset, ())))
        if dropped and people - set(dropped):
            named = f"{dataset} without {', '.join(dropped)}"
            found[named] = _both(its, settings["merge"].get(dataset, {}), dropped)
    return found


def _both(rows: Sequence[Mapping], merge: Mapping, dropped: Sequence[str]) -> dict:
    classes, both = (rows[0]["codes"], rows[0]["classes"], merge), {"raw": None, "smoothed": None}
    for kind, key in (("raw", "confusion"), ("smoothed", "smoothed")):
        left = [{**row, "confusion": {w: m for w, m in row[key].items() if w not in dropped}} for row in rows]
        if any(row["confusion"] for row in left):
            both[kind] = results([row for row in left if row["confusion"]], *classes, {})
    return both
