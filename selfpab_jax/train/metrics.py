"""Metrics as JSON lines (the source of truth) and as TensorBoard event files."""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from selfpab_jax.train.stop import RunFailed


def read_metrics(file: Path) -> list[dict]:
    """The rows of a `metrics.jsonl`; a last line cut short by a crash is left out."""
    rows = []
    if file.exists():
        for line in file.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def train_means(rows: list[dict]) -> dict[str, float]:
    """One row for several steps: means over the updates that were made, how many were not, the last learning rate."""
    made = [row for row in rows if not row["skipped"]] or rows
    values = {f"train/{name}": float(np.mean([row[name] for row in made])) for name in rows[0]}
    values["train/learning_rate"] = float(rows[-1]["learning_rate"])
    values["train/skipped"] = int(sum(row["skipped"] for row in rows))
    values["train/bad_streak"] = int(max(row["bad_streak"] for row in rows))
    values["train/stop"] = any(row["stop"] for row in rows)
    return values


class MetricsWriter:
    """Appends rows to `metrics.jsonl` and scalars to `tensorboard/` of a run folder.

    Args:
      folder: the run folder; None, in processes other than the first, to write nothing.
      resume_step: rows of later steps, written by a run that was then interrupted, are taken out.
    """

    def __init__(self, folder: Path | None, resume_step: int = 0):
        self._writes, self._names = folder is not None, {}
        if not self._writes:
            return
        self._file = Path(folder) / "metrics.jsonl"
        kept = [row for row in read_metrics(self._file) if row["step"] <= resume_step]
        self._names = {row["step"]: row.keys() for row in kept}  # of the last row of a step
        draft = self._file.with_suffix(".tmp")
        draft.write_text("".join(json.dumps(row) + "\n" for row in kept))
        os.replace(draft, self._file)
        self._stream = self._file.open("a", buffering=1)
        # Its thread dies of a full disk, and a bounded queue would then hold up the training for good.
        how = {"purge_step": resume_step + 1, "max_queue": 0}
        self._tensorboard = SummaryWriter(str(Path(folder) / "tensorboard"), **how)

    def has(self, step: int, name: str) -> bool:
        """Whether the last row of `step`, written before the run was interrupted, has a value of that name."""
        return name in self._names.get(step, ())

    def write(self, step: int, values: dict[str, float]) -> None:
        """One row: the step, the time (s since 1970) and the values; RunFailed where it cannot be written."""
        if not self._writes:
            return
        try:
            self._stream.write(json.dumps({"step": step, "time": round(time.time(), 3)} | values) + "\n")
        except OSError as error:
            raise RunFailed(f"{self._file}: cannot be written ({error.strerror})") from error
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writes:
            # What could not be written has been said, or is TensorBoard's copy only; the error under way must not be
            # hidden by another.
            for part in (self._stream, self._tensorboard):
                with contextlib.suppress(OSError):
                    part.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class LowestMetric:
    """Orbax preservation policy: keeps the step with the lowest metric, the newer of two equals."""

    def __init__(self, metrics: dict[int, float]):
        self._metrics = metrics

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [info.step for info in checkpoints]
        scored = [step for step in steps if step in self._metrics]
        best = min(scored, key=lambda step: (self._metrics[step], -step), default=None)
        return [step == best for step in steps]
