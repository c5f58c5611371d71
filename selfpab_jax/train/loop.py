"""The one training loop of every method."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from tqdm import tqdm

from selfpab_jax.train.checkpoint import Checkpoints
from selfpab_jax.train.metrics import MetricsWriter, train_means
from selfpab_jax.train.step import State
from selfpab_jax.train.stop import RunFailed, StopRequest

RUN_AHEAD = 2  # steps dispatched beyond the one known to be done: hides the host's work, bounds the delay of a stop

TOO_MANY_BAD = (
    "{} updates in a row were not finite (up to step {}); the parameters from before them are saved: "
    "lower optimizer.learning_rate or look at the data"
)


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """When things happen, in steps.

    Attributes:
      steps: length of the run. log_every: steps between rows of metrics (averaged over them).
      valid_every, save_every: steps between validations and between checkpoints.
      keep_every: checkpoints at multiples of it are kept for good; 0 keeps the newest two and the best only.
      max_bad_streak: so many updates in a row that are not finite end the run.
    """

    steps: int
    log_every: int = 50
    valid_every: int = 500
    save_every: int = 500
    keep_every: int = 0
    max_bad_streak: int = 10

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value < (least := 0 if name == "keep_every" else 1):
                raise ValueError(f"train.{name} is {value}, expected {least} or more")
        if self.keep_every % self.save_every:
            raise ValueError(f"train.keep_every is {self.keep_every}, expected a multiple of save_every, or 0")

    def validates(self, step: int) -> bool:
        """Whether the state after `step` is validated."""
        return step % self.valid_every == 0 or step == self.steps


def validate(state: State, valid_step: Callable, batches: Iterable, key, stop: StopRequest) -> dict[str, float] | None:
    """Mean metrics over the validation batches, or None if a stop was asked for meanwhile.

    Batch i is always altered with fold_in(key, i): every validation of a run sees the same masks.
    """
    sums = []
    for i, batch in enumerate(batches):
        if stop.requested:
            return None
        sums.append(valid_step(state["params"], state["model_state"], batch, jax.random.fold_in(key, i)))
        if len(sums) > RUN_AHEAD:
            sums[-1 - RUN_AHEAD]["loss"].block_until_ready()
    totals = jax.tree.map(lambda *parts: float(np.sum(parts)), *jax.device_get(sums))
    rows = totals.pop("rows")
    return {f"valid/{name}": value / rows for name, value in totals.items()}


def fit(
    state: State,
    cfg: LoopConfig,
    *,
    train_step: Callable,
    valid_step: Callable,
    train_batches: Iterator[dict[str, jax.Array]],
    valid_batches: Callable[[], Iterable[dict[str, jax.Array]]],
    key: jax.Array,
    valid_key: jax.Array,
    checkpoints: Checkpoints,
    meta: dict,
    writer: MetricsWriter,
    stop: StopRequest,
) -> State:
    """The state after training from its step to `cfg.steps`, or to a stop request; it has been saved.

    Args:
      train_batches: batches on the devices, from the state's step on.
      valid_batches: gives the validation batches afresh at each call.
      key, valid_key: PRNG keys of the training steps and of the fixed validation masks.
      meta: stored with each checkpoint; enough to rebuild the model.

    Raises:
      RunFailed: `cfg.max_bad_streak` updates in a row were not finite; the last good parameters have been saved.
    """
    step = saved = int(state["step"])
    # A stop in the midst of a validation saves the state without one: it is then the first thing to do.
    unvalidated = step > 0 and cfg.validates(step) and not writer.has(step, "valid/loss")
    pending, since, best = [], time.perf_counter(), checkpoints.best_metric()
    bar = tqdm(total=cfg.steps, initial=step, desc="pretrain", unit="step", file=sys.stderr, smoothing=0.05)
    # Inside the loop every transfer is meant: a stray NumPy array or float() would stall each step unseen.
    with bar, jax.transfer_guard_host_to_device("disallow"):
        while (step < cfg.steps or unvalidated) and not stop.requested:
            if not unvalidated:
                batch = next(train_batches)
                state, metrics = train_step(state, batch, key)
                stop.nothing_to_save = False
                step += 1
                unvalidated = cfg.validates(step)
                pending.append(metrics)
                if len(pending) > RUN_AHEAD:
                    pending[-1 - RUN_AHEAD]["loss"].block_until_ready()
                bar.update()
                checkpoints.check_for_errors()
            if pending and (step % cfg.log_every == 0 or step == cfg.steps):
                values = train_means(jax.device_get(pending))  # one transfer
                rate = len(pending) * len(batch["acceleration"]) / (time.perf_counter() - since)
                writer.write(step, values | {"train/windows_per_s": rate})
                bar.set_postfix(loss=f"{values['train/loss']:.4f}")
                pending, since = [], time.perf_counter()
                if values["train/bad_streak"] >= cfg.max_bad_streak:
                    checkpoints.save(step, state, meta, wait=True)
                    raise RunFailed(TOO_MANY_BAD.format(cfg.max_bad_streak, step))
            valid = loss = None
            if unvalidated:
                began = time.perf_counter()
                with jax.transfer_guard_host_to_device("allow"):
                    valid = validate(state, valid_step, valid_batches(), valid_key, stop)
                since += time.perf_counter() - began
                if valid is None:
                    break
                unvalidated, loss = False, valid["valid/loss"]
            is_best = loss is not None and (best is None or loss < best)
            if step % cfg.save_every == 0 or is_best or step == cfg.steps:  # the best also off the grid
                stop.nothing_to_save = False
                checkpoints.save(step, state, meta, metric=loss)
                saved, best = step, loss if is_best else best
            if valid:
                # The last thing of a step: a row that stands says that a resumed run need not validate again.
                writer.write(step, valid)
                bar.write(f"step {step}: valid loss {loss:.4f}", file=sys.stderr)
        if saved < step:
            checkpoints.save(step, state, meta)
    checkpoints.wait()
    stop.nothing_to_save = True
    return state
