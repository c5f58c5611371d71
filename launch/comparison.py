"""From the probes of a comparison to its tables and pictures."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines.manifest import write_atomically
from selfpab_jax.evaluate import figures, loss_and_score, report
from selfpab_jax.train.metrics import read_metrics

SCORE = "balanced_accuracy"  # set against the losses, as in the article on LMM


def collect(
    folder: Path, run: Path, arm: str, seed: int, step: int, recipe: str, metrics: Sequence[str]
) -> dict[str, object]:
    """A point of the analysis of pre-training loss against score: one checkpoint of one run.

    Args:
      folder: of the checkpoint's probe; run: of its pre-training.
      metrics: names in the run's metrics.jsonl, of validation windows at that step.
    """
    scores = json.loads((folder / "results.json").read_text())["scores"]["methods"][recipe]["summary"]
    at_step = [row for row in read_metrics(run / "metrics.jsonl") if row["step"] == step and "valid/loss" in row]
    values = {name: at_step[-1][name] for name in metrics if at_step and name in at_step[-1]}
    return {"loss": arm, "seed": seed, "step": step, "recipe": recipe, "score": scores[SCORE]["mean"]} | values


def conclude(
    workdir: Path,
    config: Mapping,
    rows: Sequence[Mapping],
    final: Mapping[tuple[str, int], Path],
    controls: Path | None,
) -> str:
    """The tables for the terminal, after results.json, results.md, loss_and_score.md and the pictures are written.

    Args:
      rows: of `collect`.
      final: (arm, seed) -> folder of the probe of the last checkpoint.
      controls: folder of the probe of methods without pre-training.
    """
    results = _joined(config, final, controls)
    report.write_report(results, workdir, config["baseline"])
    figures.comparison(results, workdir / "figures")
    known = [name for name in config["metrics"] if any(name in row for row in rows)]
    if missing := set(config["metrics"]) - set(known):
        warnings.warn(f"no validation knows {', '.join(sorted(missing))}, left out of --config.metrics", stacklevel=2)
    loss_and_score.scatter(rows, known, workdir / "figures" / "loss_and_score.png")
    what = f"{SCORE.replace('_', ' ').capitalize()} of {config['methods'][0]}, percent, over seeds:"
    text = f"{what}\n\n{loss_and_score.by_step(rows)}\n{loss_and_score.table(rows, known)}"
    write_atomically(workdir / "loss_and_score.md", text.encode())
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(workdir / "loss_and_score.jsonl", lines.encode())
    return f"{report.console_table(results, config['baseline'])}\n\n{text}"


def _joined(config: Mapping, final: Mapping[tuple[str, int], Path], controls: Path | None) -> dict:
    """One results dictionary of every arm and method; its seeds are those of the pre-training runs."""
    seeds = config["seeds"]
    found = {key: json.loads((folder / "results.json").read_text()) for key, folder in final.items()}
    methods = {}
    for arm in config["arms"]:
        for method in config["methods"]:
            people = [found[arm, seed]["methods"][method]["subjects"] for seed in seeds]
            methods[f"{arm} {method}"] = {
                "subjects": {who: {"confusion": [one[who]["confusion"][0] for one in people]} for who in people[0]}
            }
    first = found[next(iter(final))]
    if controls is not None:
        methods |= json.loads((controls / "results.json").read_text())["methods"]
    protocol = {name: value for name, value in first["protocol"].items() if name != "encoder"}
    protocol |= {"pre-trained on": config["pretrain_data"], "pre-training": config["pretrain"]}
    protocol |= {f"arm {arm}": " ".join(settings) or "as the config" for arm, settings in config["arms"].items()}
    return {"methods": methods, "classes": first["classes"], "protocol": protocol, "seeds": seeds}
