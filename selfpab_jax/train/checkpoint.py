"""Checkpoints that verify themselves: saved in the background, newest and best kept, damage bypassed.

One folder per step, one item per reader: `params` and `model_state` (what probing needs), `train` (optimizer and
counters), `meta` (JSON), `checksums` (JSON, one file a process: shape, dtype and crc32 of what it saved). Orbax commits
a folder atomically but does not notice a flipped bit, so a step counts only if its leaves match their checksums.

All processes save together, each its parts. Each reads the whole, to verify it and to spread it over today's devices.
"""

import dataclasses
import json
import logging
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers
from orbax.checkpoint.future import CommitFutureAwaitingContractedSignals

from selfpab_jax.train import checksums, hosts
from selfpab_jax.train.checksums import Damaged
from selfpab_jax.train.metrics import LowestMetric
from selfpab_jax.train.sharding import abstract, spread
from selfpab_jax.train.stop import RunFailed

logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)  # what fails is raised as well
State = dict[str, Any]  # {"params", "opt_state", "model_state", "step", "skipped", "bad_streak"}
Meta = dict[str, Any]
PEERS_S = 300  # that one process's writing may take longer than another's; one whose disk is full never comes
_OWN_ITEMS = ("params", "model_state")  # every other entry of the state goes into the item "train"
_TABLES = "checksums"
_META_FILE = "meta/metadata"  # the name is Orbax's
_VERSIONS = {"jax": jax.__version__, "orbax": ocp.__version__, "numpy": np.__version__}


class Checkpoints:
    """The checkpoints of one run: the newest `keep`, the one with the lowest metric, multiples of `keep_every`.

    folder: created if absent; what a killed process left unfinished in it is removed. read_only: for readers of a run
    that may still be training; nothing in the folder is changed, and a missing one raises FileNotFoundError.
    """

    def __init__(self, folder: str | os.PathLike[str], *, keep: int = 2, keep_every: int = 0, read_only: bool = False):
        if keep < 1:
            raise ValueError(f"keep: found {keep}, expected 1 or more; keep the newest at least.")
        self._folder, self._read_only = Path(folder).absolute(), read_only
        if read_only and not self._folder.is_dir():
            raise FileNotFoundError(f"{self._folder}: no such folder, expected the checkpoints of a run.")
        self._metrics: dict[int, float] = {}
        policies = [checkpoint_managers.LatestN(keep), LowestMetric(self._metrics)]
        policies += [checkpoint_managers.EveryNSteps(keep_every)] if keep_every else []
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=not read_only,
                cleanup_tmp_directories=not read_only,
                # Opening reads no metadata, so that one damaged step does not hide the others.
                lightweight_initialize=True,
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                async_options=ocp.AsyncOptions(timeout_secs=PEERS_S),
            ),
        )
        # Reads without waiting for other processes: one of them may find damage where the others find none.
        me = jax.process_index()
        alone = {"primary_host": me, "active_processes": {me}, "barrier_sync_key_prefix": f"reader-{me}"}
        alone = {"multiprocessing_options": ocp.options.MultiprocessingOptions(**alone)}
        handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(**alone))
        self._reader = ocp.Checkpointer(handler, **alone)
        self._metrics.update(hosts.from_first(list(self._read_metrics(warn=False).items())))

    def steps(self) -> list[int]:
        """Steps in the folder, oldest first; the last may be in the making, and none is verified."""
        return sorted(self._manager.all_steps())

    def best_metric(self) -> float | None:
        """The lowest metric saved so far, None where no step has one."""
        return min(self._metrics.values(), default=None)

    def save(self, step: int, state: State, meta: Meta, *, metric: float | None = None, wait: bool = False) -> bool:
        """True once `state` is being saved as `step`, False where that step has been saved before.

        The newest step is saved anew if it had no metric and now gets one. What is saved are the values at the time of
        the call; the caller may donate the buffers at once.
        meta: plain JSON; "step", "metric" and "versions" are added. metric: the lower the better; a step
        without one, or with NaN, is never the best. wait: return when all is on disk.
        Raises ValueError, with nothing written, on a non-finite leaf; RunFailed if a save failed.
        """
        if self._read_only:
            raise ValueError(f"{self._folder}: opened read-only, cannot save step {step}; open it to write.")
        self.wait()  # one save at a time; a failure surfaces before the next begins
        step, newest = int(step), max(self.steps(), default=-1)
        metric = float(metric) if metric is not None and math.isfinite(metric) else None
        if step in self.steps() and (step < newest or metric is None or step in self._metrics):
            return False
        if step < newest:
            raise ValueError(f"{self._folder}: found step {newest}, cannot save step {step} after it.")
        leaves = checksums.own_parts(state)
        checksums.refuse_non_finite(step, leaves)
        meta = checksums.as_json({**meta, "step": step, "metric": metric, "versions": _VERSIONS})
        items = {name: ocp.args.StandardSave(tree) for name, tree in _items(state).items()}
        items |= {"meta": ocp.args.JsonSave(meta), _TABLES: _ChecksumSave(step, leaves, meta)}
        if metric is not None:
            self._metrics[step] = metric
        if step == newest:
            self._manager.delete(step)
        try:
            self._manager.save(step, args=ocp.args.Composite(**items))
        except Exception as error:
            self._metrics.pop(step, None)  # else a step that does not exist could count as the best
            if isinstance(error, OSError):
                raise RunFailed(f"{self._folder}: saving failed ({checksums.one_line(error)}).") from error
            raise
        if wait:
            self.wait()
        return True

    def restore_latest(self, target_state: State) -> tuple[State, Meta] | None:
        """(state, meta) of the newest step that verifies, bit for bit; None where nothing was saved yet.

        target_state: arrays or `jax.ShapeDtypeStruct`s: shapes, dtypes and the shardings wanted. Damaged
        steps are named in a warning and move to `damaged-<step>`, so that they can be saved anew.
        Raises ValueError on a missing or extra leaf, another shape or dtype, and if every step is damaged.
        """
        self.wait()
        newest_first = hosts.from_first(self.steps())[::-1]  # network file systems show some hosts a new step late
        if not newest_first:
            return None
        step, state, meta = self._first_sound(newest_first, abstract(target_state), None)
        if not self._read_only:
            self._set_aside([damaged for damaged in newest_first if damaged > step])
        return state, meta

    def restore_params(self, target: State, *, which: str = "best") -> tuple[Any, Any, Meta]:
        """(params, model_state, meta) of the "best", the "latest" or a numbered step ("500") that verifies.

        target: {"params", "model_state"} as in `restore_latest`; other entries are ignored.
        Raises FileNotFoundError where there is no such step, ValueError as `restore_latest` does.
        """
        wanted = abstract({name: target.get(name, {}) for name in _OWN_ITEMS})
        _, state, meta = self._first_sound(self._ranked(which), wanted, _OWN_ITEMS)
        return state["params"], state["model_state"], meta

    def read_meta(self, which: str = "latest") -> Meta:
        """The verified meta of the "best" or "latest" step: enough to rebuild the model and its target."""
        return self._first_sound(self._ranked(which), {}, ())[2]

    def check_for_errors(self) -> None:
        """Raises RunFailed if a save in the background has failed; cheap enough for every step."""
        # Not Orbax's check_for_errors: it takes the error away from the thread which then, seeing none, goes
        # on to delete older steps.
        if not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Returns when nothing is being saved any more; RunFailed if the last save failed."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._manager.reload()  # Orbax would still list the failed step as the newest
            for step in set(self._metrics) - set(self.steps()):
                del self._metrics[step]
            raise RunFailed(f"{self._folder}: saving failed ({checksums.one_line(error)}).") from error

    def close(self) -> None:
        """Waits for the last save, RunFailed if it failed, and lets go of the folder."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ranked(self, which: str) -> list[int]:
        """Steps, the one that `which` wants first, then those to fall back on (none for a number)."""
        if which not in ("best", "latest") and not which.isdecimal():
            raise ValueError(f'which: found {which!r}, expected "best", "latest" or the number of a step; choose one.')
        self.wait()
        self._manager.reload()  # another process may have saved since
        newest_first = self.steps()[::-1]
        if which.isdecimal() and int(which) not in newest_first:
            kept = ", ".join(map(str, reversed(newest_first)))
            raise FileNotFoundError(f"{self._folder}: found no checkpoint of step {which}, only {kept or 'none'}.")
        if which.isdecimal():
            return [int(which)]
        if not newest_first:
            raise FileNotFoundError(f"{self._folder}: found no checkpoint, expected one; train first.")
        if which == "latest":
            return newest_first
        metrics = self._read_metrics(warn=True)
        if not metrics and len(newest_first) > 1:
            raise FileNotFoundError(f'{self._folder}: found no checkpoint with a metric; ask for "latest".')
        return sorted(metrics, key=lambda step: (metrics[step], -step)) or newest_first  # the only one is the best

    def _read_metrics(self, *, warn: bool) -> dict[int, float]:
        metrics = {}
        for step in self.steps():
            try:
                metrics[step] = self._read_verified(step)[1]["metric"]
            except Damaged as error:
                if warn:
                    self._warn(step, error)
        return {step: metric for step, metric in metrics.items() if metric is not None}

    def _read_verified(self, step: int) -> tuple[checksums.Records, Meta]:
        place = self._folder / str(step)
        return checksums.read_verified(step, place / _TABLES, place / _META_FILE)

    def _warn(self, step: int, error: Any) -> None:
        if hosts.is_first():
            warnings.warn(f"{self._folder}: step {step} is damaged and passed over: {error}.", stacklevel=4)

    def _first_sound(
        self, steps: Sequence[int], target: State, entries: Sequence[str] | None
    ) -> tuple[int, State, Meta]:
        """The first of `steps` that verifies on all processes; entries: what to read of the state, None for all."""
        for step in steps:
            state, meta, failure = {}, {}, None
            try:
                state, meta = self._read(step, target, entries)
            except Damaged as error:
                failure = str(error)
            failures = [said for said in hosts.gather(failure) if said]
            if not failures:
                return step, state, meta
            self._warn(step, failures[0])
        raise ValueError(
            f"{self._folder}: found only damaged checkpoints (step {', '.join(map(str, steps))}), expected a "
            "sound one; bring the folder back from a copy or train anew."
        )

    def _read(self, step: int, target: State, entries: Sequence[str] | None) -> tuple[State, Meta]:
        saved, meta = self._read_verified(step)
        if entries is not None:
            saved = {path: record for path, record in saved.items() if path.split("/")[0] in entries}
        # The records are sound here, so a difference is the caller's wrong target and no damage.
        checksums.refuse_other_leaves(self._folder / str(step), saved, target)
        on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), target)
        items = {name: ocp.args.StandardRestore(tree) for name, tree in _items(on_host).items()}
        place = self._folder / str(step)
        try:
            read = self._reader.restore(place, args=ocp.args.Composite(**items)) if items else {}
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise  # trouble of this machine, not of the checkpoint
        except Exception as error:  # damaged files make Orbax raise nearly anything
            raise Damaged(f"it cannot be read ({checksums.one_line(error)})") from error
        own = {name: read[name] for name in _OWN_ITEMS if name in items}
        state = {**on_host, **own, **(read["train"] if "train" in items else {})}
        checksums.refuse_wrong_values(saved, checksums.named_leaves(state))
        return spread(state, target), meta

    def _set_aside(self, steps: Sequence[int]) -> None:
        for step in steps:
            place = self._folder / f"damaged-{step}"
            while place.exists():
                place = place.with_name(f"{place.name}-again")
            if hosts.is_first():
                (self._folder / str(step)).rename(place)
            self._metrics.pop(step, None)
        hosts.gather(None)  # the others look when it is done
        self._manager.reload()


class _ChecksumHandler(ocp.AsyncCheckpointHandler):
    """Computes the checksums in Orbax's background thread, from what `save` took to host memory when it was called."""

    async def async_save(self, directory: Any, args: "_ChecksumSave") -> list[Any]:
        async def write() -> None:
            table = checksums.checksum_table(args.step, args.leaves, args.meta)
            (directory / f"{jax.process_index()}.json").write_text(json.dumps(table))

        return [CommitFutureAwaitingContractedSignals(write(), name="checksums")]

    # Orbax saves asynchronously here, and reading goes without it: checksums.read_verified.
    save = restore = None


@ocp.args.register_with_handler(_ChecksumHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class _ChecksumSave(ocp.args.CheckpointArgs):
    step: int
    leaves: dict[str, checksums.Leaf]
    meta: Meta


def _items(state: State) -> dict[str, Any]:
    """{item: its part of the state}; without leaves there is no item, Orbax does not write empty ones."""
    items = {name: state.get(name, {}) for name in _OWN_ITEMS}
    items["train"] = {name: tree for name, tree in state.items() if name not in _OWN_ITEMS}
    return {name: tree for name, tree in items.items() if jax.tree.leaves(tree)}
