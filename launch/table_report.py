"""What `selfpab tables` leaves behind: tables.md, tables.tex, the pictures, and the text for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.manifest import write_atomically
from launch import table_protocol
from launch.table_store import collected
from selfpab_jax.evaluate import figures, label_figures, paper_tables
from selfpab_jax.evaluate.paper_tables import Cell, Table
from selfpab_jax.evaluate.published import ROWS, title
from selfpab_jax.evaluate.report import score_results

TEX_HEAD = "% \\usepackage{booktabs, graphicx}\n\n"
MINUTE = "One labelled minute of each activity"


def write(rows: Sequence[Mapping], settings: Mapping, out: Path, seen: Mapping[str, Sequence[str]]) -> str:
    """All tables as Markdown, after the files of the folder `out` are written.

    Args:
      rows: of the results store.
      seen: data set -> the people whom its encoder was pre-trained on.
    """
    tables: list[Table] = []
    found = collected(rows, settings, "all")
    if found:
        tables.append(paper_tables.overview(found))
        for name, one in found.items():
            tables += _of_set(name, one, settings["reference"], out / "figures" / name.replace(" ", "_"))
    few = collected(rows, settings, "minute")
    if few:
        table = paper_tables.overview(few, beside_paper=False)
        few_tables = [table]
        for name, one in few.items():
            folder = out / "figures" / f"{name.replace(' ', '_')}_minute"
            few_tables += _of_set(name, one, settings["reference"], folder, beside_paper=False)
        tables += [t._replace(caption=f"{MINUTE}: {t.caption}", label=f"{t.label}-minute") for t in few_tables]
    tables += _curves(rows, settings, out)
    tables.append(table_protocol.times(rows))
    text = "\n".join([table_protocol.protocol(rows, settings, seen), *map(paper_tables.markdown, tables)])
    write_atomically(out / "tables.md", text.encode())
    write_atomically(out / "tables.tex", (TEX_HEAD + "\n".join(map(paper_tables.latex, tables))).encode())
    return "\n".join(map(paper_tables.markdown, tables))


def _of_set(name: str, one: Mapping, reference: str, folder: Path, beside_paper: bool = True) -> list[Table]:
    """Scores and paired differences of one data set; its pictures are drawn.

    Where the reference was not run, the last method of the table takes its place.
    """
    methods = list(_ordered(one["raw"]["methods"]))
    reference = reference if reference in methods else methods[-1]
    _draw(one["raw"], folder)
    table = paper_tables.per_dataset(name, one, beside_paper=beside_paper)
    differences = paper_tables.differences(one, reference, name)
    return [table, differences] if differences.rows else [table]


def _draw(results: Mapping, folder: Path) -> None:
    named = {ROWS.get(method, method): found for method, found in _ordered(results["methods"]).items()}
    figures.comparison({**results, "methods": named}, folder)


def _ordered(methods: Mapping) -> dict:
    return {name: methods[name] for name in paper_tables.row_order(methods)}


def _curves(rows: Sequence[Mapping], settings: Mapping, out: Path) -> list[Table]:
    """Macro F1 by the number of labelled training subjects, as a table and a picture a data set."""
    counts = sorted({int(row["labels"]) for row in rows if row["labels"].isdecimal()})
    tables = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows if row["labels"].isdecimal()):
        its, points = [row for row in rows if row["dataset"] == dataset], {}
        everyone = max(len(row["train"]) for row in its)
        for labels, count in [*((str(n), n) for n in counts), ("all", everyone)]:
            if dataset in (found := collected(its, settings, labels)):
                for method, one in score_results(found[dataset]["raw"])["methods"].items():
                    score = one["summary"]["macro_f1"]
                    points.setdefault(method, {})[count] = (score["mean"], score["se"])
        points = {method: one for method, one in points.items() if set(one) != {everyone}}
        ticks = [*(count for count in counts if count < everyone), everyone]
        body = [
            [Cell(ROWS.get(name, name)), *(Cell(_percent(points[name].get(count))) for count in ticks)]
            for name in _ordered(points)
        ]
        caption = f"{title(dataset)}: macro F1 by the number of labelled training subjects"
        note = "Percent, mean ± standard error over subjects; the training subjects are drawn anew in each fold."
        tables.append(Table(["method", *map(str, ticks)], body, caption, note, f"tab:labels-{dataset}"))
        lines = {ROWS.get(n, n): [(c, *points[n][c]) for c in ticks if c in points[n]] for n in _ordered(points)}
        label_figures.label_curve(lines, out / "figures" / dataset / "labelled_subjects.png", title(dataset))
    return tables


def _percent(score: tuple[float, float] | None) -> str:
    return paper_tables.percent(*score) if score else paper_tables.UNKNOWN
