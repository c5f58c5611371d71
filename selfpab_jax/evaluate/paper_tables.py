"""Tables of finished comparisons beside the paper's numbers, as Markdown and as LaTeX.

What is found for a data set is {"raw": results, "smoothed": results or None}: dictionaries as `report` reads them, of
the predictions as they are and after `smoothing`. Not every method need have run on every data set. Methods with fewer
subjects than others of the same data set say so, and take part in neither marks nor differences.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from selfpab_jax.evaluate.metrics import paired_difference
from selfpab_jax.evaluate.published import IN_THE_PAPER, MACRO_F1, ROWS, title
from selfpab_jax.evaluate.report import markdown_table, p_value, percent, score_results

BEST, SECOND = "best", "second"
NOT_RUN, UNKNOWN = "not run", "–"
UNITS = "Percent, mean ± standard error over subjects."
PARTLY = " (n of N): so many of the subjects have been tested, the number is not ranked."
RECALL = (
    " Recall is the balanced accuracy, over the activities that occur in truth; precision skips activities that are "
    "never predicted."
)
HMM = " HMM: predictions smoothed by a hidden Markov model."
# Column -> (score, key of what was found).
SCORES = {
    "macro F1": ("macro_f1", "raw"),
    "macro F1 with HMM": ("macro_f1", "smoothed"),
    "recall": ("balanced_accuracy", "raw"),
    "precision": ("macro_precision", "raw"),
    "accuracy": ("accuracy", "raw"),
}


class Cell(NamedTuple):
    """One entry of a table; `mark` is BEST, SECOND or empty."""

    text: str
    mark: str = ""


class Table(NamedTuple):
    """A table as data: the first column names the rows; `label` is LaTeX's."""

    header: list[str]
    rows: list[list[Cell]]
    caption: str
    note: str
    label: str


def row_order(names: Iterable[str]) -> list[str]:
    """The methods in the paper's order, each once; those it does not know keep theirs and come after."""
    names = dict.fromkeys(names)
    return [name for name in ROWS if name in names] + [name for name in names if name not in ROWS]


def marks(values: Sequence[float]) -> list[str]:
    """BEST, SECOND or "" for each share, compared as printed (0.1 percent); ties are marked alike, NaN never."""
    printed = [round(100 * value, 1) for value in values]
    distinct = sorted({one for one in printed if not math.isnan(one)}, reverse=True)
    ranks = dict(zip(distinct, (BEST, SECOND), strict=False))
    return [ranks.get(one, "") for one in printed]


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down procedure, in the order given.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    corrected, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = floor
    return corrected


def overview(found: Mapping[str, Mapping], *, beside_paper: bool = True) -> Table:
    """Macro F1 of every method on every data set, the paper's number beside it where it has any for the data set.

    Args:
      found: data set -> see the head of this module.
      beside_paper: False for results under conditions that the paper has no table of: neither its numbers nor its rows.
    """
    scores = {dataset: _scored(one) for dataset, one in found.items()}
    of_paper = IN_THE_PAPER if beside_paper else ()
    names = row_order([*of_paper, *(name for one in scores.values() for name in one["raw"])])
    header, columns = ["method"], []
    for dataset, one in scores.items():
        header.append(title(dataset))
        columns.append(_column(one["raw"], "macro_f1", names, len(_people(one))))
        if beside_paper and dataset in MACRO_F1:
            header.append(f"{title(dataset)}, paper")
            columns.append(_paper(dataset, names))
    caption = "Macro F1 of every method on every data set, without smoothing"
    return Table(header, _rows(names, columns), caption, _units(columns), "tab:overview")


def per_dataset(dataset: str, one: Mapping, *, beside_paper: bool = True) -> Table:
    """Scores of one data set: macro F1 as it is, with HMM (if any has it) and the paper's, recall, precision, accuracy.

    Args:
      one: see the head of this module.
      beside_paper: see `overview`.
    """
    scores, of_paper = _scored(one), MACRO_F1.get(dataset, {}) if beside_paper else {}
    names = row_order([*of_paper, *scores["raw"], *scores["smoothed"]])
    header, columns = ["method"], []
    for name, (key, kind) in SCORES.items():
        if name == "recall" and of_paper:
            header.append("macro F1, paper")
            columns.append(_paper(dataset, names))
        if kind == "raw" or scores["smoothed"]:
            header.append(name)
            columns.append(_column(scores[kind], key, names, len(_people(scores))))
    note = _units(columns) + RECALL + (HMM if scores["smoothed"] else "")
    return Table(header, _rows(names, columns), f"Scores on {title(dataset)}", note, f"tab:{dataset}")


def differences(one: Mapping, reference: str, dataset: str = "") -> Table:
    """Paired differences of macro F1: every method minus the reference, and with the HMM minus without it.

    Both kinds are corrected by `holm` over the methods, each kind by itself.

    Args:
      one: see the head of this module.
      reference: one of its methods.
      dataset: named in caption and label.

    Raises:
      ValueError: the reference is not among the methods.
    """
    scores = _scored(one)
    raw, smoothed = scores["raw"], scores["smoothed"]
    if reference not in raw:
        raise ValueError(f"the reference '{reference}' is not among the methods {list(raw)}")
    to_reference = {
        f"{_label(name)} − {_label(reference)}": (raw[name], raw[reference])
        for name in row_order(raw)
        if name != reference
    }
    by_smoothing = {
        f"{_label(name)}, HMM − raw": (smoothed[name], raw[name]) for name in row_order(smoothed) if name in raw
    }
    rows = _difference_rows(to_reference) + _difference_rows(by_smoothing)
    header = ["comparison", "macro F1", "p (Wilcoxon)", "p (Holm)", "better", "subjects"]
    caption = "Paired differences of macro F1" + (f" on {title(dataset)}" if dataset else "")
    note = (
        "Percentage points, mean ± standard error over subjects; p is two-sided, Holm's correction over the methods of "
        f"a kind (against {_label(reference)}, by the HMM). Better: subjects with a gain. Incomplete: not the same "
        "subjects on both sides."
    )
    return Table(header, rows, caption, note, f"tab:differences-{dataset}" if dataset else "tab:differences")


def _scored(one: Mapping) -> dict[str, Mapping]:
    """{"raw", "smoothed"}: method -> its summary and subjects; nothing under "smoothed" where there is nothing."""
    return {kind: score_results(one[kind])["methods"] if one.get(kind) else {} for kind in ("raw", "smoothed")}


def _people(scores: Mapping[str, Mapping]) -> set[str]:
    """Every subject that any method of a data set has been tested on."""
    return {who for kind in scores.values() for method in kind.values() for who in method["subjects"]}


def _label(name: str) -> str:
    return ROWS.get(name, name)


def _rows(names: Sequence[str], columns: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    return [[Cell(_label(name)), *cells] for name, cells in zip(names, zip(*columns, strict=True), strict=True)]


def _units(columns: Sequence[Sequence[Cell]]) -> str:
    return UNITS + (PARTLY if any("(" in cell.text for column in columns for cell in column) else "")


def _column(methods: Mapping[str, Mapping], key: str, names: Sequence[str], people: int) -> list[Cell]:
    """One score of each method, marked; `people` is how many subjects a complete method has."""
    texts, values = [], []
    for name in names:
        text, value = NOT_RUN, math.nan
        if name in methods:
            score, n = methods[name]["summary"][key], len(methods[name]["subjects"])
            text = percent(score["mean"], score["se"])
            if n == people:
                value = score["mean"]
            else:
                text += f" ({n} of {people})"
        texts.append(text)
        values.append(value)
    return [Cell(*pair) for pair in zip(texts, marks(values), strict=True)]


def _paper(dataset: str, names: Sequence[str]) -> list[Cell]:
    """What the paper prints for each method, to the decimals of the other columns."""
    cells = []
    for name in names:
        mean, se = MACRO_F1[dataset].get(name, (math.nan, None))
        cells.append(Cell(percent(mean / 100, math.nan if se is None else se / 100)))
    return cells


def _difference_rows(pairs: Mapping[str, tuple[Mapping, Mapping]]) -> list[list[Cell]]:
    """A row per comparison of two scored methods, in the columns of `differences`."""
    found, subjects = {}, {}
    for name, sides in pairs.items():
        ours, theirs = ({who: one["macro_f1"] for who, one in side["subjects"].items()} for side in sides)
        subjects[name] = str(len(ours))
        if set(ours) == set(theirs):
            found[name] = paired_difference(ours, theirs)
        else:
            subjects[name] += f" against {len(theirs)}, {len(set(ours) & set(theirs))} shared"
    corrected = dict(zip(found, holm([one["p"] for one in found.values()]), strict=True))
    rows = []
    for name in pairs:
        cells = ["incomplete", UNKNOWN, UNKNOWN, UNKNOWN]
        if one := found.get(name):
            difference = percent(one["mean"], one["se"], "+")
            cells = [difference, p_value(one["p"]), p_value(corrected[name]), f"{one['better']} of {one['n']}"]
        rows.append([Cell(text) for text in (name, *cells, subjects[name])])
    return rows


def _note(table: Table, second: str) -> str:
    """The table's note, with a sentence about marks if it has any."""
    if not any(cell.mark for row in table.rows for cell in row):
        return table.note
    return f"{table.note} Bold is the best of our numbers in a column, {second} the second best."


def markdown(table: Table) -> str:
    """The table as Markdown: caption, table, note; best in bold, second best in italics."""
    around = {BEST: "**", SECOND: "*", "": ""}
    rows = [[around[cell.mark] + cell.text + around[cell.mark] for cell in row] for row in table.rows]
    return f"{table.caption}.\n\n{markdown_table(table.header, rows)}\n{_note(table, 'italic')}\n"


# A bracket at the start of a row would be taken for the argument of the line break before it.
SPECIAL = {
    **{letter: f"\\{letter}" for letter in "%&_#${}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "[": "{[}",
    "|": "\\textbar{}",
    "±": "$\\pm$",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands; a hyphen before a number becomes a minus sign."""
    text = re.sub(r"(?<!\w)-(?=\d)", "−", text)
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def latex(table: Table) -> str:
    """The table as a LaTeX float, for a document with the packages booktabs and graphicx.

    Best in bold, second best underlined. A table wider than the text is shrunk to its width.
    """
    around = {BEST: r"\textbf{%s}", SECOND: r"\underline{%s}", "": "%s"}
    lines = [[escaped(name) for name in table.header]]
    lines += [[around[cell.mark] % escaped(cell.text) for cell in row] for row in table.rows]
    head, *body = [" & ".join(cells) + r" \\" for cells in lines]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escaped(table.caption)}}}",
            rf"\label{{{table.label.replace('_', '-')}}}",
            r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            "",
            rf"\smallskip\parbox{{\textwidth}}{{\footnotesize {escaped(_note(table, 'underlined'))}}}",
            r"\end{table}",
            "",
        ]
    )
