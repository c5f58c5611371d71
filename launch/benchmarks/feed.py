"""The input of the benchmark: a prepared folder, given or made up, what it yields, and steps fed by it."""

import contextlib
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from data_pipelines.pipeline import Batches, train_batches, window_count
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from launch.benchmarks.timing import Seconds, timed
from selfpab_jax.train.stop import RUN_AHEAD

STARTED = 4  # batches before the clock starts: threads run, files are open
FED_STEPS, FED_S = 6, 1.0  # steps fed by the pipeline: more than it reads ahead, and no shorter than this
SYNTHETIC = PrepareSettings(Cut(stride_s=15))  # 10 people, about 2,000 windows that overlap
PATCHES = 300  # of a window of the masked autoencoder; 3,000 s at the reference size


def made_up(config: Mapping) -> PrepareSettings:
    """A synthetic cohort that the config's method can read: 4 people, some tens of windows or more."""
    if config["objective"] == "selfpab":
        return PrepareSettings(Cut(stride_s=15), subjects=4, hours=0.5)
    window_s, sensors = PATCHES * config["model"]["patch"] / config["rate_hz"], (config["sensor"],)
    cut = Cut(stride_s=60, max_gap_s=window_s, sensors=sensors, rate_hz=config["rate_hz"], window_s=window_s)
    return PrepareSettings(cut, subjects=4, hours=1.2 * window_s / 3600)


@contextlib.contextmanager
def prepared(data: str | None, settings: PrepareSettings = SYNTHETIC) -> Iterator[Path]:
    """The prepared folder `data`, or a synthetic one that is removed afterwards."""
    if data:
        yield Path(data)
        return
    with tempfile.TemporaryDirectory(prefix="selfpab-bench-") as scratch:
        prepare(None, "synthetic", Path(scratch) / "prepared", settings)
        yield Path(scratch) / "prepared"


def read(folder: Path, config: Mapping, batch: int, rows: np.ndarray) -> Batches:
    """The batches that `selfpab pretrain` would train on, all windows among them, a few of them read already."""
    chosen = {name: config["data"][name] for name in ("random_start", "sampling")}
    order = {"global_batch": batch, "seed": config["seed"], "indices": np.arange(window_count(folder)), "rows": rows}
    batches = train_batches(folder, **order, **chosen)
    deque(islice(batches, STARTED), maxlen=0)
    return batches


def under_way(batches: Iterator, counted: int) -> Seconds:
    """What the next `counted` batches take after the first ones."""
    deque(islice(batches, STARTED), maxlen=0)
    return timed(lambda: deque(islice(batches, counted), maxlen=0))


def waiting_share(step: Callable, batches: Iterator, fewest: int) -> float:
    """Share of the time of steps that passes in next(batches), dispatched as the training loop does."""
    running, waited, steps, began = deque(), 0.0, 0, time.perf_counter()
    while steps < max(fewest, FED_STEPS) or time.perf_counter() - began < FED_S:
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        running.append(step(batch))
        steps += 1
        if len(running) > RUN_AHEAD:
            running.popleft()["stop"].block_until_ready()
    for metrics in running:
        metrics["stop"].block_until_ready()
    return waited / (time.perf_counter() - began)
