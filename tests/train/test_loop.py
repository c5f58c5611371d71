"""The loop's own bookkeeping, with steps that compute nothing."""

from itertools import repeat
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from selfpab_jax.train import loop
from selfpab_jax.train.metrics import MetricsWriter


@pytest.mark.parametrize("log_every", [1, 2, 3, 50])
def test_steps_that_finish_are_no_stall(monkeypatch, log_every):
    """However often the metrics are logged."""
    beats = []
    monkeypatch.setattr(loop.StallWatch, "beat", lambda watch: beats.append(watch))
    metrics = {"loss": 1.0, "learning_rate": 1.0, "skipped": 0, "bad_streak": 0, "stop": False}
    nothing = lambda *_, **__: None  # noqa: E731
    state = loop.fit(
        {"step": 0, "params": None, "model_state": None},
        loop.LoopConfig(20, log_every=log_every, stall_s=0),
        train_step=lambda state, *_: (state | {"step": state["step"] + 1}, metrics),
        valid_step=lambda *_: {"loss": np.ones(()), "rows": np.ones(()), "stop": np.zeros(())},
        train_batches=repeat({"acceleration": [0]}),
        valid_batches=lambda: [{}],
        key=None,
        valid_key=jax.random.key(0),
        flags={False: None},
        checkpoints=SimpleNamespace(best_metric=nothing, check_for_errors=nothing, save=nothing, wait=nothing),
        meta={},
        writer=MetricsWriter(None),
        stop=SimpleNamespace(requested=False, nothing_to_save=True),
    )
    assert state["step"] == 20 and len(beats) > 20 / 3
