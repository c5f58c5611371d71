"""Validation: the same batches with the same masks each time, so that losses of a run compare."""

from collections.abc import Callable, Iterable

import jax
import numpy as np

from selfpab_jax.train.step import State
from selfpab_jax.train.stop import RUN_AHEAD, StallWatch, StopRequest


def validate(
    state: State, valid_step: Callable, batches: Iterable, key, stop: StopRequest, flags: dict, watch: StallWatch
) -> tuple[dict[str, float] | None, bool]:
    """(mean metrics over the validation batches, whether a stop was asked of any process).

    Once all processes know of a stop, None takes the place of the metrics, unless all batches were done by then.
    Batch i is always altered with fold_in(key, i): every validation of a run sees the same masks.
    """
    sums = []
    for i, batch in enumerate(batches):
        rng = jax.random.fold_in(key, i)
        sums.append(valid_step(state["params"], state["model_state"], batch, rng, flags[stop.requested]))
        if len(sums) > RUN_AHEAD:
            if sums[-1 - RUN_AHEAD]["stop"]:  # waits for this step
                return None, True
            watch.beat()
    totals = jax.tree.map(lambda *parts: float(np.sum(parts)), *jax.device_get(sums))
    rows, stopped = totals.pop("rows"), totals.pop("stop") > 0
    return {f"valid/{name}": value / rows for name, value in totals.items()}, stopped
