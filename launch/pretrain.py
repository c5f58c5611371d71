"""`selfpab pretrain`: pre-trains an encoder on a prepared folder, as one process or as one of many."""

import json
import sys
from functools import partial
from pathlib import Path

from launch import cluster
from launch.command_line import config_flags
from launch.joined import joined, run_joined
from selfpab_jax.train.stop import EXIT_STATUS, StopRequest

DESCRIPTION = """Pre-trains an encoder on the windows of a prepared folder; a second call with --resume goes on.
Every process of a run on several hosts gets the same command; SLURM, Kubernetes and TPU VMs are recognised."""


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 75 stopped early (run again with --resume), 2 a mistake, 1 a failed run."""
    return run_joined("pretrain", partial(_pretrain, argv))


def _pretrain(argv: list[str] | None) -> int:
    # First of all, so that a stop is answered during the heavy imports and the first compilation too.
    with StopRequest() as stop:
        config, flags = config_flags("pretrain", argv, cluster.FLAGS, description=DESCRIPTION)
        with joined(flags, stop) as first:
            finished = run(json.loads(config.to_json()), Path(flags.workdir), resume=flags.resume, stop=stop)
    if not finished and first:
        print(f"stopped early and saved; go on with: selfpab pretrain ... --workdir={flags.workdir} --resume")
    return 0 if finished else EXIT_STATUS


def run(config: dict, workdir: Path, *, resume: bool, stop: StopRequest) -> bool:
    """Trains until `config["train"]["steps"]` or a stop request; True when the end was reached.

    All processes of a run call it; the first one alone writes metrics and pictures.
    """
    import jax

    from data_pipelines.pipeline import eval_batches, train_batches
    from launch import compilation, pictures, started
    from launch.methods import entry
    from launch.run_folder import digest
    from selfpab_jax.models.functional import model_state, split
    from selfpab_jax.objectives.method import acceleration_g
    from selfpab_jax.train import hosts, loop, optim, sharding, step
    from selfpab_jax.train.checkpoint import Checkpoints
    from selfpab_jax.train.metrics import MetricsWriter

    compilation.keep_compiled()
    method, mesh, cfg, train, valid, held = started.start(config, workdir, resume=resume)
    data = config["data"]
    merge, params, extra = split(method.model)
    optimizer, schedule = optim.adamw(optim.OptimizerConfig(**config["optimizer"]), cfg.steps)
    state = step.init_state(params, extra, optimizer, mesh, method.tensor_split)
    whole = sharding.replicated(mesh)
    train_key, valid_key = jax.jit(
        lambda: tuple(jax.random.split(jax.random.key(config["seed"]))), out_shardings=whole
    )()
    rows = sharding.rows_of_process(mesh, data["batch_size"])
    put = partial(sharding.to_devices, mesh=mesh, rows=data["batch_size"])

    def valid_batches():
        with eval_batches(data["dir"], batch=data["batch_size"], indices=valid, rows=rows) as host_batches:
            yield from map(put, host_batches)

    with held, Checkpoints(workdir / "checkpoints", keep_every=cfg.keep_every) as checkpoints:
        restored = checkpoints.restore_latest(state) if resume else None
        state = state if restored is None else restored[0]
        made = (method.objective, merge, model_state, optimizer, schedule, state, cfg.accumulate)
        order = {"global_batch": data["batch_size"], "seed": config["seed"], "indices": train, "rows": rows}
        order |= {name: data[name] for name in ("random_start", "sampling")} | {"start_step": int(state["step"])}
        metrics = MetricsWriter(workdir if hosts.is_first() else None, order["start_step"])
        with metrics as writer, train_batches(data["dir"], **order) as batches:
            state = loop.fit(
                state,
                cfg,
                train_step=step.make_train_step(*made),
                valid_step=step.make_valid_step(method.objective, merge, mesh),
                train_batches=map(put, batches),
                valid_batches=valid_batches,
                key=train_key,
                valid_key=valid_key,
                flags=sharding.flags(mesh),
                checkpoints=checkpoints,
                meta={"config": config},
                writer=writer,
                stop=stop,
            )
    finished = not any(hosts.gather(stop.requested))  # else the pictures wait for the next call
    if finished:
        preview = jax.jit(lambda p, s, b, k: method.preview(merge(p, s), acceleration_g(b), k))
        parts = preview(state["params"], state["model_state"], next(valid_batches()), valid_key)
        parts = sharding.on_host(parts, mesh)
        if hosts.is_first():
            pictures.draw(workdir, {name: value[0] for name, value in parts.items()}, method, entry(config).picture)
    final = sharding.on_host(state, mesh)
    if hosts.is_first():
        print(compilation.report(), file=sys.stderr)
        print(f"step {final['step']}; state sha256 {digest(final)}; run folder {workdir}")
    return finished


if __name__ == "__main__":
    raise SystemExit(main())
