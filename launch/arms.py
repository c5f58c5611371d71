"""The arms of a comparison: what each pre-trains and is probed with, checked before anything is trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Runs = Mapping[tuple[str, int], dict]  # (arm, seed) -> config of its pre-training
# What the comparison sets itself.
OWN = ("data.dir", "seed", "seeds", "train.keep_every", "encoder", "which", "methods", "classifier", "baseline")


def pretrain_configs(config: Mapping) -> Runs:
    """What every arm and seed trains with; checkpoints are kept, and validated, where they are probed."""
    runs = {}
    for arm, settings in config["arms"].items():
        for seed in config["seeds"]:
            run = _load("pretrain", config["pretrain"], [*config["settings"], *settings], "train")
            spacing = max(1, run["train"]["steps"] // max(1, config["checkpoints"]))
            for name in ("valid_every", "save_every"):  # the closest that divides
                wanted = min(run["train"][name], spacing)
                run["train"][name] = next(n for n in range(wanted, 0, -1) if spacing % n == 0)
            run["train"]["keep_every"] = spacing
            run["data"]["dir"], run["seed"] = config["pretrain_data"], seed
            runs[arm, seed] = run
    return runs


def probe_config(config: Mapping) -> dict:
    """What every checkpoint is probed with; encoder, methods and seeds are still to be set."""
    base = _load("probe", config["probe"], config["probe_settings"], "probe")
    base["data"]["dir"] = config["probe_data"]
    return base


def check(config: Mapping, runs: Runs) -> None:
    """Raises ValueError or FileNotFoundError for what is missing or does not fit, before anything is trained."""
    for field in ("arms", "seeds", "methods"):
        if not config[field]:
            raise ValueError(f"--config.{field} is empty: name at least one")
    if len(set(config["seeds"])) < len(config["seeds"]):
        raise ValueError(f"--config.seeds names a seed twice: {config['seeds']}")
    for field, what in (("pretrain_data", "a prepared folder"), ("probe_data", "a prepared folder with labels")):
        if not config[field]:
            raise ValueError(f"--config.{field} is missing: name {what}")
        if not Path(config[field]).is_dir():
            raise FileNotFoundError(f"--config.{field}: found no folder {config[field]}")
    steps, count = sorted({run["train"]["steps"] for run in runs.values()}), config["checkpoints"]
    if len(steps) > 1:
        raise ValueError(f"arms train for {' and '.join(map(str, steps))} steps, expected the same train.steps in all")
    if count < 1 or steps[0] % count:
        raise ValueError(f"--config.checkpoints is {count}, expected 1 or more that divide train.steps ({steps[0]})")
    known = [f"{arm} {method}" for arm in config["arms"] for method in config["methods"]] + config["controls"]
    if config["baseline"] not in known:
        raise ValueError(f"--config.baseline is '{config['baseline']}', expected one of {', '.join(known)}")
    _check_library(config, runs)


def _check_library(config: Mapping, runs: Runs) -> None:
    """The part of `check` that asks the library and the data."""
    from data_pipelines.labelled import load_labelled
    from data_pipelines.manifest import read_manifest, read_normalization
    from launch import probe
    from launch.methods import build, check_data, check_fits, check_run
    from selfpab_jax.evaluate.compare import check_names
    from selfpab_jax.evaluate.probe import ProbeConfig

    check_names([*config["methods"], *config["controls"]], config["seeds"])
    base = probe_config(config)
    probe.check(base | {"encoder": "to be trained"})
    ProbeConfig(**base["probe"])
    folder = config["pretrain_data"]
    manifest, normalization = read_manifest(folder), read_normalization(folder)
    labelled, tokens = load_labelled(config["probe_data"])[0], {}
    for (arm, _), run in runs.items():
        if arm not in tokens:
            check_data(run, manifest, folder)
            method = build(run, normalization)
            check_run(method, manifest, run["data"])
            check_fits(method, labelled.channels, labelled.rate_hz, config["probe_data"])
            tokens[arm] = tuple(method.tokens)
    if len(set(tokens.values())) > 1:
        raise ValueError(f"arms have tokens of other lengths ({tokens}), their scores would not compare")


def _load(field: str, name: str, settings: Sequence[str], group: str) -> dict:
    """The fields of a config file, which must hold `group`, with these settings ("field=value") applied."""
    from launch.config_file import load_config, set_field

    config = load_config(name)
    if group not in config:
        raise ValueError(f"--config.{field}: {name} describes no {field}, it has no field {group}")
    for setting in settings:
        own = setting.split("=")[0]
        if own in OWN:
            raise ValueError(f"setting {setting}: the comparison sets {own} itself; leave it out")
        set_field(config, f"--config.{setting}", name)
    return json.loads(config.to_json())
