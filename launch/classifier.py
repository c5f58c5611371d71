"""The classifier that a probe keeps: one method trained on every subject, in a folder that `selfpab export` opens."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from data_pipelines.manifest import json_bytes, npz_bytes, write_atomically
from launch.trained import Trained
from selfpab_jax.evaluate.compare import Encoder, train_on_all
from selfpab_jax.evaluate.features import chosen_layers
from selfpab_jax.evaluate.probe import RECIPES, ProbeConfig
from selfpab_jax.evaluate.windows import ProbeWindows
from selfpab_jax.interop.exports import write_whole
from selfpab_jax.train.checkpoint import Checkpoints

FOLDER = "classifier"
SCORES = {"macro_f1": "Macro F1", "accuracy": "Accuracy"}


def check_method(config: Mapping, workdir: Path, run: Trained) -> None:
    """Raises ValueError where `classifier` names a method that leaves nothing to keep, or not the one kept already."""
    if run.config["objective"] != "selfpab":
        raise ValueError(
            f"--config.classifier: {config['encoder']} is of objective '{run.config['objective']}', only classifiers "
            "on SelfPAB encoders can be kept for export"
        )
    method, known = config["classifier"], [n for n in config["methods"] if n in RECIPES]
    known = [name for name in known if RECIPES[name].encoder == "pretrained" and RECIPES[name].head != "lstm"]
    if method not in known:
        raise ValueError(
            f"--config.classifier is '{method}', expected one of --config.methods that is on the pre-trained encoder: "
            f"{', '.join(known) or 'none of them is'}"
        )
    file = workdir / FOLDER / "config.json"
    kept = json.loads(file.read_text())["classifier"]["method"] if file.exists() else method
    if kept != method:
        raise ValueError(f"{file.parent} holds a classifier of method {kept}: remove it, or name another --workdir")


def keep(
    workdir: Path,
    config: Mapping,
    windows: ProbeWindows,
    encoder: Encoder,
    run: Trained,
    scores: Mapping,
    folds: int,
) -> Path:
    """The folder of the classifier, trained now or kept already.

    Args:
      config: of the probe.
      run: what `encoder` was made of.
      scores: what the folds said of each method, as `report.score_results` gives it.
      folds: their number.
    """
    folder, method, cfg = workdir / FOLDER, config["classifier"], ProbeConfig(**config["probe"])
    if folder.exists():
        return folder
    params = train_on_all(method, windows, cfg, encoder, number=folds)
    found, subjects = scores["methods"][method]["summary"], len(set(windows.subject.tolist()))
    lines = [
        f"- {label}: {100 * found[key]['mean']:.1f} ± {100 * found[key]['se']:.1f} %, mean ± standard error over "
        f"{subjects} subjects of {Path(config['data']['dir']).name}, each left out of training ({folds} folds)."
        for key, label in SCORES.items()
    ]
    kept = {
        "method": method,
        "labels": list(windows.names),
        "codes": [int(code) for code in windows.codes],
        "layers": list(chosen_layers(cfg.layers, run.config["model"]["layers"] + 1)),
        "hidden": cfg.hidden if RECIPES[method].head == "mlp" else 0,
        "data": Path(config["data"]["dir"]).name,
        "subjects": subjects,
        "hours": windows.hours,
        "encoder_step": run.step,
        "tuned": RECIPES[method].unfreeze_at < 1,
        "scores": lines,
    }

    def write(draft: Path) -> None:
        draft.mkdir()
        write_atomically(draft / "config.json", json_bytes({**run.config, "classifier": kept}))
        write_atomically(draft / "normalization.npz", npz_bytes(run.normalization))
        for name in ("data_manifest.json", "imported.json"):  # where the encoder comes from
            if (Path(config["encoder"]) / name).exists():
                shutil.copyfile(Path(config["encoder"]) / name, draft / name)
        with Checkpoints(draft / "checkpoints") as checkpoints:
            state = {"params": params, "model_state": {}}
            checkpoints.save(cfg.steps, state, {"config": dict(run.config)}, wait=True)

    write_whole(folder, write)
    return folder
