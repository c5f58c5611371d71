"""`selfpab compare`: pre-trainings that differ in some settings, each probed at several checkpoints."""

import json
import sys
from functools import partial
from pathlib import Path

from launch.command_line import config_flags, run_job
from selfpab_jax.train.stop import EXIT_STATUS, StopRequest

DESCRIPTION = """Pre-trains every arm with every seed, probes each run at several checkpoints, and sets the pre-training
losses against the scores. With --resume what is finished is not done again."""


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 75 stopped early (run again with --resume), 2 a mistake, 1 a failed run."""
    return run_job("compare", partial(_compare, argv))


def _compare(argv: list[str] | None) -> int:
    with StopRequest() as stop:
        config, flags = config_flags("compare", argv, description=DESCRIPTION)
        config, workdir = json.loads(config.to_json()), Path(flags.workdir)
        runs = [(arm, seed) for arm in config["arms"] for seed in config["seeds"]]
        pretrain = {(arm, seed): _pretrain_config(config, arm, seed) for arm, seed in runs}
        check(config, next(iter(pretrain.values()), {}))
        from launch import pretrain as job
        from launch.run_folder import open_run_folder

        open_run_folder(workdir, config, resume=flags.resume, may_differ=("pretrain_data", "probe_data"))
        for (arm, seed), settings in pretrain.items():
            print(f"pre-training {arm}, seed {seed}", file=sys.stderr)
            folder = workdir / "runs" / f"{arm}_s{seed}"
            if not job.run(settings, folder, resume=(folder / "config.json").exists(), stop=stop):
                print(f"stopped early and saved; go on with: selfpab compare ... --workdir={workdir} --resume")
                return EXIT_STATUS
    spacing, steps = settings["train"]["keep_every"], settings["train"]["steps"]
    print(_probe_all(config, workdir, list(range(spacing, steps + 1, spacing))))
    print(f"run folder: {workdir}; pictures in figures/, reconstructions in runs/*/figures/")
    return 0


def check(config: dict, pretrain: dict) -> None:
    """Raises ValueError for what is missing or does not fit, before anything is trained."""
    for field in ("arms", "seeds", "methods"):
        if not config[field]:
            raise ValueError(f"--config.{field} is empty: name at least one")
    for field, what in (("pretrain_data", "a prepared folder"), ("probe_data", "a prepared folder with labels")):
        if not config[field]:
            raise ValueError(f"--config.{field} is missing: name {what}")
        if not Path(config[field]).is_dir():
            raise FileNotFoundError(f"--config.{field}: found no folder {config[field]}")
    steps, count = pretrain["train"]["steps"], config["checkpoints"]
    if count < 1 or steps % count:
        raise ValueError(f"--config.checkpoints is {count}, expected 1 or more that divide train.steps ({steps})")
    known = [f"{arm} {method}" for arm in config["arms"] for method in config["methods"]] + config["controls"]
    if config["baseline"] not in known:
        raise ValueError(f"--config.baseline is '{config['baseline']}', expected one of {', '.join(known)}")


def _load(name: str, settings: list[str]) -> dict:
    """A config file's fields with these settings ("field=value") applied."""
    from launch.config_file import load_config, set_field

    config = load_config(name)
    for setting in settings:
        set_field(config, f"--config.{setting}", name)
    return json.loads(config.to_json())


def _pretrain_config(config: dict, arm: str, seed: int) -> dict:
    """What an arm trains with; checkpoints are kept, and validated, where they are probed."""
    pretrain = _load(config["pretrain"], [*config["settings"], *config["arms"][arm]])
    spacing = max(1, pretrain["train"]["steps"] // max(1, config["checkpoints"]))
    for name in ("valid_every", "save_every"):  # the closest that divides
        wanted = min(pretrain["train"][name], spacing)
        pretrain["train"][name] = next(n for n in range(wanted, 0, -1) if spacing % n == 0)
    pretrain["train"]["keep_every"] = spacing
    pretrain["data"]["dir"], pretrain["seed"] = config["pretrain_data"], seed
    return pretrain


def _probe_all(config: dict, workdir: Path, steps: list[int]) -> str:
    """The tables, after every probe has been run; report and pictures lie in the work folder."""
    from launch import probe
    from launch.comparison import collect, conclude

    base = _load(config["probe"], config["probe_settings"])
    base["data"]["dir"] = config["probe_data"]

    def run(name: str, encoder: Path, which: str, methods: list[str], seeds: list[int]) -> Path:
        folder = workdir / "probes" / name
        settings = base | {"encoder": str(encoder), "which": which, "methods": methods, "seeds": seeds}
        probe.run(settings, folder, resume=(folder / "config.json").exists())
        return folder

    rows, final = [], {}
    for arm in config["arms"]:
        for seed in config["seeds"]:
            encoder = workdir / "runs" / f"{arm}_s{seed}"
            for step in steps:
                print(f"probing {arm}, seed {seed}, step {step}", file=sys.stderr)
                last, methods = step == steps[-1], config["methods"] if step == steps[-1] else config["methods"][:1]
                folder = run(f"{arm}_s{seed}_{step}", encoder, str(step), methods, [seed])
                rows.append(collect(folder, encoder, arm, seed, step, methods[0], config["metrics"]))
                final |= {(arm, seed): folder} if last else {}
    controls = None
    if config["controls"]:
        controls = run("controls", encoder, "latest", config["controls"], config["seeds"])
    return conclude(workdir, config, rows, final, controls)


if __name__ == "__main__":
    raise SystemExit(main())
