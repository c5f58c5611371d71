"""A program for tests: `selfpab pretrain` and `selfpab local` with a witness of what each process does.

    python witnessed.py pretrain [flags]
    python witnessed.py local [flags] pretrain [flags]
    python witnessed.py local [flags] turns FILE    several calls of pretrain in each process: `turns`

Beside a run folder it leaves `<folder>.batches.<process>`, a line "step row sha256" for each row of a batch that goes
to a step, and `<folder>.npz`, the final state, with the names of the leaves that were spread in `<folder>.json`.
To take half the time it draws nothing, and goes without torch, which tensorboardX imports where there is one.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

sys.modules["torch"] = None
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def witness(terminate_at: int | None = None) -> None:
    """Makes pretrain leave its traces; with the batch of step `terminate_at` SIGTERM comes to this process."""
    import jax
    import numpy as np

    from data_pipelines import pipeline
    from launch import pictures, pretrain, started
    from selfpab_jax.train import checksums, sharding

    start, run, train_batches, on_host = started.start, pretrain.run, pipeline.train_batches, sharding.on_host

    def witnessed(workdir: Path, *args, start_step, rows, **order):
        with (
            open(f"{workdir}.batches.{jax.process_index()}", "a") as file,
            train_batches(*args, start_step=start_step, rows=rows, **order) as batches,
        ):
            for step, batch in enumerate(batches, start_step + 1):
                hashes = [
                    hashlib.sha256(b"".join(batch[name][i].tobytes() for name in sorted(batch))).hexdigest()
                    for i in range(len(rows))
                ]
                file.write("".join(f"{step} {row} {found}\n" for row, found in zip(rows, hashes, strict=True)))
                file.flush()
                if step == terminate_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    def kept(workdir: Path, tree, mesh):
        whole = on_host(tree, mesh)
        if "opt_state" in tree and jax.process_index() == 0:
            np.savez(f"{workdir}.npz", **checksums.named_leaves(whole))
            spread = [name for name, leaf in checksums.named_leaves(tree).items() if any(leaf.sharding.spec)]
            Path(f"{workdir}.json").write_text(json.dumps(spread))
        return whole

    def watched(config, workdir: Path, **how):
        def without_preview(*args, **how):
            begun = start(*args, **how)
            return begun._replace(method=begun.method._replace(preview=lambda *_: {}))

        started.start = without_preview
        pipeline.train_batches = lambda *args, **order: contextlib.closing(witnessed(workdir, *args, **order))
        sharding.on_host = lambda tree, mesh: kept(workdir, tree, mesh)
        try:
            return run(config, workdir, **how)
        finally:
            started.start, pretrain.run = start, run
            pipeline.train_batches, sharding.on_host = train_batches, on_host

    pretrain.run, pictures.draw = watched, lambda *_: None


def turns(file: str, *place: str) -> int:
    """The status of the last of several calls of pretrain; the processes connect once.

    FILE holds [{"argv": its flags, "last": more of them for the last process, "terminate": the step at which that one
    gets SIGTERM, "package": a version of jax for that one}]. Turn i of process p leaves what it says in `FILE.i.p`, and
    its status and seconds in the last line.
    """
    import time

    from launch import agreement, cluster, pretrain
    from selfpab_jax.train import hosts

    calls = json.loads(Path(file).read_text())
    count, process = (int(flag.partition("=")[2]) for flag in place[-2:])
    connect, leave, version = cluster.connect, hosts.leave, agreement.version
    agreement.SEEN_S = 1
    for i, call in enumerate(calls):
        special = call if process == count - 1 else {}
        cluster.connect = connect if i == 0 else lambda *_: None
        odd = {"jax": special["package"]} if "package" in special else {}
        agreement.version = lambda name, odd=odd: odd.get(name) or version(name)
        hosts.leave = lambda _: None
        witness(special.get("terminate"))
        began = time.monotonic()
        with (
            open(f"{file}.{i}.{process}", "w") as said,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            status = pretrain.main([*call["argv"], *special.get("last", []), *place])
            print(status, round(time.monotonic() - began, 1))
    if status not in (0, 75):
        leave(status)
    return status


def main(job: str, *argv: str) -> int:
    if job == "local":
        from launch import local

        local.SHARED, run = (*local.SHARED, "turns"), local.run
        local.run = lambda commands, *how: run([[sys.executable, __file__, *given[3:]] for given in commands], *how)
        return local.main(list(argv))
    if job == "turns":
        return turns(*argv)
    from launch import pretrain

    witness()
    return pretrain.main(list(argv))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
