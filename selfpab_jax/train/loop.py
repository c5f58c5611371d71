"""The one training loop of every method."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import jax
from tqdm import tqdm

from selfpab_jax.train.checkpoint import Checkpoints
from selfpab_jax.train.hosts import from_first, is_first
from selfpab_jax.train.metrics import MetricsWriter, train_means
from selfpab_jax.train.step import State
from selfpab_jax.train.stop import RUN_AHEAD, RunFailed, StallWatch, StopRequest
from selfpab_jax.train.validate import validate

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
      accumulate: parts into which a batch is cut, for batches that do not fit into memory.
      stall_s: seconds without a finished step after which a process gives up; 0: never. Compiling counts too.
    """

    steps: int
    log_every: int = 50
    valid_every: int = 500
    save_every: int = 500
    keep_every: int = 0
    max_bad_streak: int = 10
    accumulate: int = 1
    stall_s: int = 1800

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value < (least := 0 if name in ("keep_every", "stall_s") else 1):
                raise ValueError(f"train.{name} is {value}, expected {least} or more")
        if self.keep_every % self.save_every:
            raise ValueError(f"train.keep_every is {self.keep_every}, expected a multiple of save_every, or 0")

    def validates(self, step: int) -> bool:
        """Whether the state after `step` is validated."""
        return step % self.valid_every == 0 or step == self.steps


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
    flags: dict[bool, jax.Array],
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
      flags: see `sharding.flags`. A stop asked of one process reaches all within a step, so that all end at the same.
      meta: stored with each checkpoint; enough to rebuild the model.

    Raises:
      RunFailed: `cfg.max_bad_streak` updates in a row were not finite; the last good parameters have been saved.
    """
    step = saved = int(state["step"])
    # A stop in the midst of a validation saves the state without one: it is then the first thing to do.
    unvalidated = step > 0 and cfg.validates(step) and not from_first(writer.has(step, "valid/loss"))
    pending, waited, since, stopping = [], 0.0, time.perf_counter(), False
    best, shown = checkpoints.best_metric(), {"total": cfg.steps, "initial": step, "disable": not is_first()}
    bar = tqdm(desc="pretrain", unit="step", file=sys.stderr, smoothing=0.05, **shown)
    # Inside the loop every transfer is meant: a stray NumPy array or float() would stall each step unseen.
    with bar, StallWatch(cfg.stall_s) as watch, jax.transfer_guard_host_to_device("disallow"):
        while (step < cfg.steps or unvalidated) and not stopping:
            if not unvalidated:
                asked = time.perf_counter()
                batch = next(train_batches)
                waited += time.perf_counter() - asked
                state, metrics = train_step(state, batch, key, flags[stop.requested])
                stop.nothing_to_save = False
                step += 1
                unvalidated = cfg.validates(step)
                pending.append(metrics)
                if len(pending) > RUN_AHEAD:
                    stopping = bool(pending[-1 - RUN_AHEAD]["stop"])  # waits for this step
                    watch.beat()
                bar.update()
                checkpoints.check_for_errors()
            if pending and (step % cfg.log_every == 0 or step == cfg.steps):
                values = train_means(jax.device_get(pending))  # one transfer
                watch.beat()
                stopping |= bool(values.pop("train/stop"))
                spent = time.perf_counter() - since
                values |= {"train/windows_per_s": len(pending) * len(batch["acceleration"]) / spent}
                writer.write(step, values | {"train/input_wait_share": waited / spent})
                bar.set_postfix(loss=f"{values['train/loss']:.4f}")
                pending, waited, since = [], 0.0, time.perf_counter()
                if values["train/bad_streak"] >= cfg.max_bad_streak:
                    checkpoints.save(step, state, meta, wait=True)
                    raise RunFailed(TOO_MANY_BAD.format(cfg.max_bad_streak, step))
            valid = loss = None
            if unvalidated and not stopping:
                began = time.perf_counter()
                with jax.transfer_guard_host_to_device("allow"):
                    valid, stopping = validate(state, valid_step, valid_batches(), valid_key, stop, flags, watch)
                since += time.perf_counter() - began
                if valid is None:
                    break
                unvalidated, loss = False, valid["valid/loss"]
            is_best = loss is not None and math.isfinite(loss) and (best is None or loss < best)
            if step % cfg.save_every == 0 or is_best or step == cfg.steps:  # the best also off the grid
                stop.nothing_to_save = False
                checkpoints.save(step, state, meta, metric=loss)
                saved, best = step, loss if is_best else best
            if valid:
                # The last thing of a step: a row that stands says that a resumed run need not validate again.
                writer.write(step, valid)
                if is_first():
                    bar.write(f"step {step}: valid loss {loss:.4f}", file=sys.stderr)
        if saved < step:
            checkpoints.save(step, state, meta)
        checkpoints.wait()
    stop.nothing_to_save = jax.process_count() == 1  # several stop together also while they draw pictures
    return state
