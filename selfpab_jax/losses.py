"""Reconstruction losses: predictions, targets and explicit masks in, a float32 scalar out."""

import jax.numpy as jnp


def mean_over_valid(per_sample, valid=None):
    """Mean of [B] over the rows where `valid` [B] is True (all rows if None); 0 if there is none."""
    if valid is None:
        return per_sample.mean()
    weight = valid.astype(per_sample.dtype)
    return jnp.sum(per_sample * weight) / jnp.maximum(weight.sum(), 1)


def masked_l1(prediction, target, cells, valid=None):
    """Mean over samples of each sample's mean absolute error over its altered cells.

    A sample weighs the same however many of its cells are altered; a sample without any contributes 0.

    Args:
      prediction, target: [B, T, F].
      cells: bool [B, T, F], True where the loss looks.
      valid: bool [B], False for rows that pad a batch.

    Source: SelfPAB (doi 10.1007/s10489-024-05322-3), equation of the masked L1 loss; reduction as in its code.
    """
    error = jnp.abs(prediction.astype(jnp.float32) - target.astype(jnp.float32))
    count = cells.sum(axis=(-2, -1))
    per_sample = jnp.where(cells, error, 0).sum(axis=(-2, -1)) / jnp.maximum(count, 1)  # [B]
    return mean_over_valid(per_sample, valid)
