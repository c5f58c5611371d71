"""What a finished pre-training run shows of itself."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from selfpab_jax.evaluate.figures import loss_curves
from selfpab_jax.objectives.method import Method
from selfpab_jax.train.metrics import read_metrics


def draw(workdir: Path, parts: Mapping[str, np.ndarray], method: Method, picture: Callable) -> None:
    """Draws the loss curves, and what the method reconstructs of one window, into `figures/` of the run folder."""
    loss_curves(read_metrics(workdir / "metrics.jsonl"), workdir / "figures" / "loss.png")
    picture(parts, workdir / "figures" / "reconstruction.png", method)
