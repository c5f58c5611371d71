"""What a comparison of methods leaves behind: results.json, results.md and a table for the terminal.

The input is one plain dictionary, in which confusion matrices are the only measurements:

    {"methods": {name: {"subjects": {subject: {"confusion": [K, K] or [seeds, K, K]}}}},
     "classes": [K names], "protocol": {what was done: value}, "seeds": [...]}

Every score is derived here. With several seeds a subject's scores are averaged over seeds first; the standard
error is over subjects, and the one over seeds is shown beside it.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from selfpab_jax.evaluate.metrics import (
    mean_and_standard_error,
    mean_scores,
    paired_difference,
    subject_scores,
    summary,
)

COLUMNS = {
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "kappa",
    "macro_precision": "precision",
    "accuracy": "accuracy",
    "macro_f1_sklearn": "macro F1 (sklearn)",
}
FOOTNOTE = (
    "Percent, mean ± standard error over subjects; kappa is Cohen's, times 100. Macro means skip classes for which a "
    "score is 0/0 (F1: absent from truth and prediction; precision: never predicted); the sklearn column counts them "
    "as 0. Balanced accuracy is the mean recall over the classes that occur in truth."
)


def confusions(results: Mapping, method: str) -> dict[str, np.ndarray]:
    """Subject -> int64 [seeds, K, K], the confusion matrices of one method.

    A single matrix [K, K] stands for a method that has no randomness, and is taken as one seed; a method may have been
    run with fewer seeds than others.

    Raises:
      ValueError: no subject, or a matrix of another shape than the classes and seeds ask for.
    """
    k, seeds, out = len(results["classes"]), len(results["seeds"]), {}
    for subject, entry in results["methods"][method]["subjects"].items():
        confusion = np.asarray(entry["confusion"], np.int64)
        if confusion.shape not in ((k, k), *((n, k, k) for n in range(1, seeds + 1))):
            raise ValueError(
                f"the confusion matrix of subject {subject}, method '{method}', has shape {confusion.shape}, "
                f"expected {(k, k)} or {(seeds, k, k)} for {k} classes and {seeds} seeds"
            )
        out[subject] = confusion.reshape(-1, k, k)  # [seeds, K, K]
    if not out:
        raise ValueError(f"method '{method}' has no subjects, nothing to report")
    return out


def score_results(results: Mapping, baseline: str | None = None) -> dict:
    """All scores of a results dictionary.

    Returns:
      {"baseline": its name or None,
       "methods": {name: {"summary": {score: {"mean", "se", "n", "se_seeds"}},
                          "subjects": {subject: {score: value}}}},
       "differences": {name: {score: `paired_difference` to the baseline}}}

    Raises:
      ValueError: an unknown baseline, other subjects than the baseline's, or a matrix of a wrong shape.
    """
    names = list(results["methods"])
    if baseline is not None and baseline not in names:
        raise ValueError(f"the baseline '{baseline}' is not among the methods {names}")
    methods = {name: _score_method(confusions(results, name)) for name in names}
    differences = {}
    for name in names:
        if baseline is not None and name != baseline:
            ours, theirs = methods[name]["subjects"], methods[baseline]["subjects"]
            differences[name] = {key: paired_difference(_of(ours, key), _of(theirs, key)) for key in COLUMNS}
    return {"baseline": baseline, "methods": methods, "differences": differences}


def _of(scores: Mapping[str, Mapping], key: str) -> dict[str, float]:
    return {subject: one[key] for subject, one in scores.items()}


def _score_method(matrices: Mapping[str, np.ndarray]) -> dict:
    per_seed = {subject: [subject_scores(one) for one in stack] for subject, stack in matrices.items()}
    subjects = {subject: mean_scores(scores) for subject, scores in per_seed.items()}
    overall = summary(subjects)
    # Over seeds: how far the mean over subjects would move had the training been repeated.
    seeds = zip(*per_seed.values(), strict=True)
    repeats = [summary(dict(zip(per_seed, scores, strict=True))) for scores in seeds]
    for key, entry in overall.items():
        spread = mean_and_standard_error([repeat[key]["mean"] for repeat in repeats])[1]
        entry["se_seeds"] = spread if spread.ndim else float(spread)
    return {"summary": overall, "subjects": subjects}


def percent(mean: float, se: float, sign: str = "") -> str:
    """`61.0 ± 2.5` of shares from 0 to 1; without ± where se is NaN, a dash where the mean is."""
    if math.isnan(mean):
        return "–"
    spread = "" if math.isnan(se) else f" ± {100 * se:.1f}"
    return f"{100 * mean:{sign}.1f}{spread}"


def p_value(p: float) -> str:
    """`0.012`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first aligned to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in [header, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|---" + "|---:" * (len(header) - 1) + "|", *lines[1:]]) + "\n"


def markdown(results: Mapping, scores: Mapping) -> str:
    """The text of results.md: protocol, methods, paired differences, F1 per activity.

    Args:
      results: see the head of this module.
      scores: `score_results` of it.
    """
    methods, several = scores["methods"], len(results["seeds"]) > 1
    people = max(len(method["subjects"]) for method in methods.values())
    seeds = ", ".join(map(str, results["seeds"])) or "none"
    protocol = {**results["protocol"], "subjects": people, "seeds": seeds}
    parts = ["# Results\n", "\n".join(f"- {key}: {value}" for key, value in protocol.items()) + "\n"]

    header = ["method", *COLUMNS.values()] + (["SE of macro F1 over seeds"] if several else [])
    rows = []
    for name, method in methods.items():
        overall = method["summary"]
        row = [name, *(percent(overall[key]["mean"], overall[key]["se"]) for key in COLUMNS)]
        rows.append(row + ([percent(overall["macro_f1"]["se_seeds"], math.nan)] if several else []))
    parts += ["## Methods\n", markdown_table(header, rows)]
    parts.append(FOOTNOTE + (" Scores of a subject are averaged over seeds first." if several else "") + "\n")

    if scores["differences"]:
        rows = []
        for name, one in scores["differences"].items():
            cells = [percent(one[key]["mean"], one[key]["se"], "+") for key in COLUMNS]
            better = f"{one['macro_f1']['better']} of {one['macro_f1']['n']}"
            rows.append([name, cells[0], p_value(one["macro_f1"]["p"]), better, *cells[1:]])
        names = list(COLUMNS.values())
        header = ["method", names[0], "p (Wilcoxon)", "subjects better", *names[1:]]
        parts += [f"## Paired differences to {scores['baseline']}\n", markdown_table(header, rows)]
        parts.append("Percentage points, mean ± standard error over subjects; p and count are of macro F1.\n")

    matrices = confusions(results, next(iter(methods))).values()
    support = np.sum([one.sum(axis=(0, 2)) > 0 for one in matrices], axis=0)  # [K]
    rows = []
    for index, activity in enumerate(results["classes"]):
        f1 = [method["summary"]["per_class_f1"] for method in methods.values()]
        cells = [percent(one["mean"][index], one["se"][index]) for one in f1]
        rows.append([str(activity), str(support[index]), *cells])
    parts += ["## F1 per activity\n", markdown_table(["activity", "subjects doing it", *methods], rows)]
    return "\n".join(parts)


def console_table(results: Mapping, baseline: str | None = None) -> str:
    """Aligned text: a line per method with its scores and the paired difference to the baseline."""
    scores = score_results(results, baseline)
    header = ["method", *COLUMNS.values()] + ([f"macro F1 − {baseline}"] if baseline else [])
    rows = [header]
    for name, method in scores["methods"].items():
        overall = method["summary"]
        row = [name, *(percent(overall[key]["mean"], overall[key]["se"]) for key in COLUMNS)]
        if baseline:
            one = scores["differences"].get(name, {}).get("macro_f1")
            row.append(f"{percent(one['mean'], one['se'], '+')} (p {p_value(one['p'])})" if one else "")
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    rows.insert(1, ["-" * width for width in widths])
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _plain(value):
    """JSON-ready copy: arrays as lists, NaN as null (JSON has no NaN)."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_report(results: Mapping, folder: str | Path, baseline: str | None = None) -> dict:
    """The scores (see `score_results`), after writing results.json and results.md into `folder`.

    results.json holds the input and, under "scores", all scores, NaN as null. The same results give the same
    bytes. Each file appears whole or not at all.

    Raises:
      ValueError: see `score_results`; nothing is written then.
    """
    scores = score_results(results, baseline)
    text = json.dumps(_plain({**results, "scores": scores}), indent=1, ensure_ascii=False, allow_nan=False)
    # Rows of numbers on one line each: raw line breaks never occur inside a JSON string.
    text = re.sub(r'\[\n[^\[\]{}"]*\]', lambda found: re.sub(r"\s+", " ", found.group()), text)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_text(folder / "results.json", text + "\n")
    _write_text(folder / "results.md", markdown(results, scores))
    return scores
