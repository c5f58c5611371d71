"""The training step by mesh and batch size: time, work, memory, and what its input costs."""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
from jax.sharding import Mesh

from data_pipelines.manifest import read_manifest, read_normalization
from launch.benchmarks import feed
from launch.benchmarks.peak import square_products, training_flop
from launch.benchmarks.timing import Seconds, in_turns, timed
from launch.benchmarks.training import Training
from launch.methods import build, check_data, check_run
from selfpab_jax.objectives.method import Method, acceleration_g
from selfpab_jax.train import sharding

TURN_S, MOST_STEPS = 0.2, 20  # short steps are timed several at a time, as they run in training
COUNTED = 512  # windows of a turn of the input


def measure(
    config: Mapping, found: Sequence[Mesh], batches: Sequence[int], repeats: int, data: str | None, trace: Path | None
) -> list[dict]:
    """A row (`columns.STEPS`) for each mesh and batch size.

    Args:
      data: a prepared folder; None for a synthetic one.
      trace: folder for a profile of the last row.
    """
    with feed.prepared(data, feed.made_up(config)) as folder:
        manifest = read_manifest(folder)
        check_data(config, manifest, folder)
        method = build(config, read_normalization(folder))
        check_run(method, manifest, config["data"] | {"dir": str(folder)})
        every = [(mesh, batch) for mesh in found for batch in batches]
        last = [None] * (len(every) - 1) + [trace]
        return [_row(config, method, *one, repeats, folder, to) for one, to in zip(every, last, strict=True)]


def _row(
    config: Mapping, method: Method, mesh: Mesh, batch: int, repeats: int, folder: Path, trace: Path | None
) -> dict:
    name = ",".join(f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1) or "one device"
    read = partial(feed.read, folder, config, batch, sharding.rows_of_process(mesh, batch))
    with read() as host_batches:
        windows = next(host_batches)
    training = Training(config, method, mesh, windows)
    on_devices = training.put(windows)
    transform = jax.jit(lambda rows: method.inputs(acceleration_g(rows)))
    multiply, products = square_products(mesh, config["model"]["dtype"])
    counted = -(-COUNTED // batch)

    def read_alone() -> Seconds:
        with read() as host_batches:
            return timed(lambda: [next(host_batches) for _ in range(counted)] and None)

    candidates = {
        "step": _several(partial(training.run, on_devices)),
        "inputs": _several(lambda times: jax.block_until_ready([transform(on_devices) for _ in range(times)])),
        "matrix product": partial(timed, multiply),
        "input": read_alone,
    }
    times = in_turns(candidates, repeats, f"{name}, batch {batch}")
    step, inputs, peak, reading = ([seconds.wall for seconds in one] for one in times.values())
    with read() as host_batches:
        waiting = feed.waiting_share(training, map(training.put, host_batches), repeats)
    if trace:
        print(training.trace(on_devices, trace), file=sys.stderr)
    samples = windows["acceleration"].shape[-1]
    flop, best = batch * training_flop(config, method.tokens.count(samples)), products / min(peak)
    median = statistics.median
    return {
        "mesh": name,
        "devices": mesh.size,
        "device": mesh.devices.flat[0].device_kind,
        "dtype": config["model"]["dtype"],
        "batch": batch,
        "step_min_s": min(step),
        "step_median_s": median(step),
        "windows_per_s": batch / median(step),
        "tflop_per_step": flop / 1e12,
        "peak_tflop_per_s": best / 1e12,
        "utilisation": flop / min(step) / best,
        "input_windows_per_s": counted * batch / median(reading),
        "waiting_share": waiting,
        "stft_share": median(inputs) / median(step),
        "memory_mib": training.memory[0] / 2**20,
        "memory_by": training.memory[1],
        "compile_s": training.compile_s,
    }


def _several(run):
    """() -> Seconds of one of the steps that `run(times)` makes; as many at a time as make a turn worth timing."""
    run(1)  # compiles
    began = time.perf_counter()
    run(1)
    times = min(MOST_STEPS, max(1, round(TURN_S / (time.perf_counter() - began))))
    return lambda: Seconds(*(value / times for value in timed(partial(run, times))))
