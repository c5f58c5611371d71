"""The training step of a config on a mesh, compiled as `selfpab pretrain` would run it."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from selfpab_jax.models.functional import model_state, split
from selfpab_jax.objectives.method import Method
from selfpab_jax.train import optim, sharding, step

STEPS = 1000  # of the learning-rate schedule
TRACED = 3  # steps of a profile


class Training:
    """A compiled step and its state.

    Attributes:
      put: a batch on the host -> on the devices.
      compile_s: seconds of tracing and compiling.
      memory: (bytes on the fullest device, "allocator" or "compiler": who says so), after the first step.
    """

    def __init__(self, config: Mapping, method: Method, mesh: Mesh, windows: Mapping[str, np.ndarray]):
        batch, before = len(windows["scale"]), _most_used(mesh)
        merge, params, extra = split(method.model)
        optimizer, schedule = optim.adamw(optim.OptimizerConfig(**config["optimizer"]), STEPS)
        self._state = step.init_state(params, extra, optimizer, mesh, method.tensor_split)
        made = (method.objective, merge, model_state, optimizer, schedule, self._state, config["train"]["accumulate"])
        key = jax.jit(lambda: jax.random.key(config["seed"]), out_shardings=sharding.replicated(mesh))()
        self._rest = (key, sharding.flags(mesh)[False])
        self.put = partial(sharding.to_devices, mesh=mesh, rows=batch)
        first, began = self.put(windows), time.perf_counter()
        self._step = step.make_train_step(*made).lower(self._state, first, *self._rest).compile()
        self.compile_s = time.perf_counter() - began
        self.run(first)
        used = _most_used(mesh)
        # The allocator's peak is the process's: it tells of this step only where the step raised it.
        self.memory = (used, "allocator") if used > before else (self._planned(), "compiler")

    def __call__(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Metrics of one more step, which may still be under way."""
        self._state, metrics = self._step(self._state, batch, *self._rest)
        return metrics

    def run(self, batch: dict[str, jax.Array], steps: int = 1) -> None:
        """So many steps on one batch, to their end."""
        for _ in range(steps):
            self(batch)
        jax.block_until_ready(self._state)

    def trace(self, batch: dict[str, jax.Array], folder: Path) -> str:
        """Writes a profile of a few steps into the folder; where it lies and how to open it."""
        with jax.profiler.trace(str(folder)):
            self.run(batch, TRACED)
        file = max(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime, default=folder)
        return f"profile of {TRACED} steps: open {file} in https://ui.perfetto.dev, or run: xprof {folder}"

    def _planned(self) -> int:
        """Bytes of a device by the compiler: arguments, temporaries and outputs, what they share counted once."""
        plan = self._step.memory_analysis()
        used = plan.argument_size_in_bytes + plan.temp_size_in_bytes + plan.output_size_in_bytes
        return used - plan.alias_size_in_bytes


def _most_used(mesh: Mesh) -> int:
    """Peak of the bytes in use on any device since the process began; 0 where the backend does not count."""
    return max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in mesh.local_devices)
