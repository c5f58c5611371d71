"""Learning-rate schedule and optimizer."""

import dataclasses
import math

import jax.numpy as jnp
import optax


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a linear warm-up and decay; the defaults are the published values (Table 1)."""

    learning_rate: float = 1e-4
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-8
    weight_decay: float = 1e-5  # on every parameter, biases and norms included, as published
    warmup: float = 0.07  # share of all steps
    floor: float = 0.01  # first and last rate, as a share of the peak

    def __post_init__(self):
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"optimizer.learning_rate is {self.learning_rate}, expected a positive number")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"optimizer.warmup is {self.warmup}, expected a share from 0 to below 1")


def warmup_linear_decay(peak: float, steps: int, *, warmup: float = 0.07, floor: float = 0.01) -> optax.Schedule:
    """Rate of update n (from 0): from floor * peak up to peak over the first `warmup` of `steps`, then down again.

    With p = (n + 1) / steps the rate rises while p < warmup. The original code gives its first update the full peak
    rate; here the first update follows the line.

    Source: LinearWUSchedule of the SelfPAB code.
    """
    low = floor * peak

    def rate(count):
        p = jnp.minimum((count + 1) / steps, 1.0)
        rising = p / (warmup + 1e-6)
        falling = (p - warmup) / (1 - warmup)
        return jnp.where(p < warmup, low + rising * (peak - low), peak + falling * (low - peak))

    return rate


def adamw(cfg: OptimizerConfig, steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """(optimizer, its schedule) for a run of `steps` updates."""
    schedule = warmup_linear_decay(cfg.learning_rate, steps, warmup=cfg.warmup, floor=cfg.floor)
    update = optax.adamw(schedule, b1=cfg.b1, b2=cfg.b2, eps=cfg.eps, weight_decay=cfg.weight_decay)
    return update, schedule
