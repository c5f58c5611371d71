"""`selfpab pretrain`: pre-trains an encoder on a prepared folder."""

import json
import sys
from functools import partial
from pathlib import Path

from launch.command_line import config_flags, run_job
from selfpab_jax.train.stop import EXIT_STATUS, StopRequest

DESCRIPTION = "Pre-trains an encoder on the windows of a prepared folder; a second call with --resume goes on."


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 75 stopped early (run again with --resume), 2 a mistake, 1 a failed run."""
    return run_job("pretrain", partial(_pretrain, argv))


def _pretrain(argv: list[str] | None) -> int:
    # First of all, so that a stop is answered during the heavy imports and the first compilation too.
    with StopRequest() as stop:
        config, flags = config_flags("pretrain", argv, description=DESCRIPTION)
        finished = run(json.loads(config.to_json()), Path(flags.workdir), resume=flags.resume, stop=stop)
    if not finished:
        print(f"stopped early and saved; go on with: selfpab pretrain ... --workdir={flags.workdir} --resume")
    return 0 if finished else EXIT_STATUS


def run(config: dict, workdir: Path, *, resume: bool, stop: StopRequest) -> bool:
    """Trains until `config["train"]["steps"]` or a stop request; True when the end was reached."""
    import jax
    import numpy as np

    from data_pipelines.manifest import npz_bytes, read_manifest, read_normalization, write_atomically
    from data_pipelines.pipeline import eval_batches, train_batches
    from data_pipelines.splits import split_indices
    from launch.methods import build, check_run, entry
    from launch.run_folder import digest, open_run_folder
    from selfpab_jax.models.functional import model_state, parameter_count, split
    from selfpab_jax.objectives.method import acceleration_g
    from selfpab_jax.train import loop, optim, sharding, step
    from selfpab_jax.train.checkpoint import Checkpoints
    from selfpab_jax.train.metrics import MetricsWriter

    if "train" not in config:
        raise ValueError("--config: the file describes no pre-training, expected one such as configs/selfpab.py")
    data, mesh = config["data"], sharding.data_mesh()
    sharding.check_divides(data["batch_size"], mesh)
    if not data["dir"]:
        raise ValueError("--config.data.dir is missing: name a folder written by `selfpab prepare`")
    manifest, normalization = read_manifest(data["dir"]), read_normalization(data["dir"])
    share = (data["split"], data["valid_fraction"], data["split_seed"])
    train, valid = split_indices(manifest, *share, hours=data["hours"] or None)
    cfg = loop.LoopConfig(**config["train"])
    method = build(config, normalization)
    check_run(method, manifest, data)
    merge, params, extra = split(method.model)
    optimizer, schedule = optim.adamw(optim.OptimizerConfig(**config["optimizer"]), cfg.steps)
    # The manifest's hash stands for the data: a run is not resumed on other windows.
    open_run_folder(workdir, config | {"data_hash": manifest["hash"]}, resume=resume, may_differ=("data.dir",))
    write_atomically(workdir / "normalization.npz", npz_bytes(normalization))
    write_atomically(workdir / "data_manifest.json", (Path(data["dir"]) / "manifest.json").read_bytes())
    print(
        f"{parameter_count(params):,} parameters on {mesh.size} device(s); {len(train)} windows to train on, "
        f"{len(valid)} to validate on; {cfg.steps} steps of {data['batch_size']} "
        f"({cfg.steps * data['batch_size'] / len(train):.1f} epochs)",
        file=sys.stderr,
    )

    state = step.init_state(params, extra, optimizer, mesh)
    key = jax.device_put(jax.random.key(config["seed"]), sharding.replicated(mesh))
    train_key, valid_key = jax.random.split(key)
    process = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    put = partial(sharding.to_devices, mesh=mesh)

    def valid_batches():
        with eval_batches(data["dir"], batch=data["batch_size"], indices=valid, **process) as host_batches:
            yield from map(put, host_batches)

    with Checkpoints(workdir / "checkpoints", keep_every=cfg.keep_every) as checkpoints:
        restored = checkpoints.restore_latest(state) if resume else None
        state = state if restored is None else restored[0]
        start = int(state["step"])
        order = {"global_batch": data["batch_size"], "seed": config["seed"], "indices": train, "start_step": start}
        order |= {name: data[name] for name in ("random_start", "sampling")}
        with MetricsWriter(workdir, start) as writer, train_batches(data["dir"], **order, **process) as batches:
            state = loop.fit(
                state,
                cfg,
                train_step=step.make_train_step(method.objective, merge, model_state, optimizer, schedule, mesh),
                valid_step=step.make_valid_step(method.objective, merge, mesh),
                train_batches=map(put, batches),
                valid_batches=valid_batches,
                key=train_key,
                valid_key=valid_key,
                checkpoints=checkpoints,
                meta={"config": config},
                writer=writer,
                stop=stop,
            )
    if not stop.requested and jax.process_index() == 0:
        preview = jax.jit(lambda p, s, a, k: method.preview(merge(p, s), a, k))
        parts = preview(state["params"], state["model_state"], acceleration_g(next(valid_batches())), valid_key)
        pictures(workdir, {name: np.asarray(value[0]) for name, value in parts.items()}, method, entry(config).picture)
    print(f"step {int(state['step'])}; state sha256 {digest(state)}; run folder {workdir}")
    return not stop.requested


def pictures(workdir: Path, parts: dict, method, picture) -> None:
    """Draws the loss curves, and what the method reconstructs of one window, into the run folder."""
    from selfpab_jax.evaluate.figures import loss_curves
    from selfpab_jax.train.metrics import read_metrics

    loss_curves(read_metrics(workdir / "metrics.jsonl"), workdir / "figures" / "loss.png")
    picture(parts, workdir / "figures" / "reconstruction.png", method)


if __name__ == "__main__":
    raise SystemExit(main())
