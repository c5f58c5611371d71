"""`selfpab compare`: pre-trainings that differ in some settings, each probed at several checkpoints."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from launch.arms import Runs, check, pretrain_configs, probe_config
from launch.command_line import config_flags, run_job, sigterm_like_ctrl_c
from selfpab_jax.train.stop import EXIT_STATUS, StopRequest

DESCRIPTION = """Pre-trains every arm with every seed, probes each run at several checkpoints, and sets the pre-training
losses against the scores. With --resume what is finished is not done again."""
# What may be changed between calls: each probe's folder refuses other settings than it was begun with.
MAY_DIFFER = ("pretrain_data", "probe_data", "probe", "probe_settings", "methods", "controls", "baseline", "metrics")


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done; 75 stopped in a pre-training, 130 in a probe (run again with --resume); 2 a mistake; 1 a
    failed run."""
    return run_job("compare", partial(_compare, argv))


def _compare(argv: list[str] | None) -> int:
    with StopRequest() as stop:
        config, flags = config_flags("compare", argv, description=DESCRIPTION)
        config, workdir = json.loads(config.to_json()), Path(flags.workdir)
        runs = pretrain_configs(config)
        check(config, runs)
        from launch import pretrain
        from launch.run_folder import open_run_folder

        open_run_folder(workdir, config, resume=flags.resume, may_differ=MAY_DIFFER)
        for (arm, seed), run in runs.items():
            print(f"pre-training {arm}, seed {seed}", file=sys.stderr)
            folder = workdir / "runs" / f"{arm}_s{seed}"
            if not pretrain.run(run, folder, resume=(folder / "config.json").exists(), stop=stop):
                print(f"stopped early and saved; go on with: selfpab compare ... --workdir={workdir} --resume")
                return EXIT_STATUS
    with sigterm_like_ctrl_c():  # the finished folds of a probe are on disk
        print(probe_all(config, workdir, runs))
    print(f"run folder: {workdir}; pictures in figures/, reconstructions in runs/*/figures/")
    return 0


def probe_all(config: Mapping, workdir: Path, runs: Runs) -> str:
    """The tables, after every probe has been run; report and pictures lie in the work folder."""
    from launch import probe
    from launch.comparison import collect, conclude

    base, methods = probe_config(config), config["methods"]

    def run(name: str, encoder: Path, which: str, methods: Sequence[str], seeds: Sequence[int]) -> Path:
        folder = workdir / "probes" / name
        settings = base | {"encoder": str(encoder), "which": which, "methods": methods, "seeds": seeds}
        probe.run(settings, folder, resume=(folder / "config.json").exists())
        return folder

    rows, final = [], {}
    for (arm, seed), pretrained in runs.items():
        encoder = workdir / "runs" / f"{arm}_s{seed}"
        last, spacing = pretrained["train"]["steps"], pretrained["train"]["keep_every"]
        for step in range(spacing, last + 1, spacing):
            print(f"probing {arm}, seed {seed}, step {step}", file=sys.stderr)
            chosen = methods if step == last else methods[:1]
            folder = run(f"{arm}_s{seed}_{step}", encoder, str(step), chosen, [seed])
            rows.append(collect(folder, encoder, arm, seed, step, methods[0], config["metrics"]))
        final[arm, seed] = folder
    controls = None
    if config["controls"]:  # of the first arm's shape and spectra
        arm, seed = next(iter(runs))
        encoder = workdir / "runs" / f"{arm}_s{seed}"
        controls = run("controls", encoder, "latest", config["controls"], config["seeds"])
    return conclude(workdir, config, rows, final, controls)


if __name__ == "__main__":
    raise SystemExit(main())
