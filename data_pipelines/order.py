"""Which window comes when: one endless sequence of visits, a pure function of the seed.

Epoch after epoch, each a global shuffle seeded by (seed, epoch). So the order depends on neither hosts nor
threads, batches run across the ends of epochs, and resuming needs only the position.
"""

import functools

import numpy as np

from data_pipelines.splits import seeded_bits, seeded_permutation

# Separate random streams; splits.py has 1, 2 and 6.
EPOCH_STREAM, START_STREAM, MOVEMENT_STREAM = 3, 4, 5
SAMPLING = ("uniform", "movement")


def check_order(sampling: str, random_start: bool, split: str) -> None:
    """Raises ValueError for an unknown sampling, and for random starts where windows are split one by one."""
    if sampling not in SAMPLING:
        raise ValueError(f"data.sampling is '{sampling}', expected one of {', '.join(SAMPLING)}")
    if random_start and split == "window":
        raise ValueError(
            "data.random_start is True with data.split 'window', so visits would reach into windows that validate: "
            "split by subject, or start windows where they were cut"
        )


class Visits:
    """The endless sequence of visits to the windows `indices`.

    Args:
      indices: global window numbers.
      weights: how often each of them is visited, relative to the others; an epoch is as many visits as there are
        windows. None, or nothing but zeros: each window once per epoch.
    """

    def __init__(self, indices: np.ndarray, seed: int, weights: np.ndarray | None = None):
        self._indices, self._seed = np.asarray(indices), seed
        self._weights = weights if weights is not None and np.any(weights) else None
        # Four epochs: threads that read ahead may be in the next ones.
        self._epoch = functools.lru_cache(maxsize=4)(self._order_of)
        self._starts = functools.lru_cache(maxsize=4)(self._bits_of)

    def numbers(self, places: np.ndarray) -> np.ndarray:
        """Window numbers of the visits at these places of the sequence, int64 [len(places)]."""
        return self._indices[self._gather(self._epoch, places, np.int64)]

    def draws(self, places: np.ndarray) -> np.ndarray:
        """Random bits of the same visits, uint64 [len(places)], that decide where their windows start."""
        return self._gather(self._starts, places, np.uint64)

    def _gather(self, values_of_epoch, places: np.ndarray, dtype) -> np.ndarray:
        epoch, offset = np.divmod(places, len(self._indices))
        found = np.empty(len(places), dtype)
        for e in np.unique(epoch):  # more than one where a batch crosses epochs
            here = epoch == e
            found[here] = values_of_epoch(int(e))[offset[here]]
        return found

    def _order_of(self, epoch: int) -> np.ndarray:
        order = seeded_permutation(len(self._indices), self._seed, EPOCH_STREAM, epoch)
        if self._weights is None:
            return order
        first = (seeded_bits(1, self._seed, MOVEMENT_STREAM, epoch)[0] >> np.uint64(11)) * 2.0**-53
        return np.repeat(np.arange(len(order)), systematic(self._weights, float(first)))[order]

    def _bits_of(self, epoch: int) -> np.ndarray:
        return seeded_bits(len(self._indices), self._seed, START_STREAM, epoch)


def systematic(weights: np.ndarray, first: float) -> np.ndarray:
    """How often each of n windows is visited in n visits, int64 [n]: n * weight / sum, rounded down or up.

    Systematic resampling: n points one apart, the first at `first` (0 to 1, 1 excluded), on the axis on which each
    window has its expected visits as its length.
    """
    n, ends = len(weights), np.cumsum(weights, dtype=np.float64)
    visited = np.minimum(np.ceil(ends * (n / ends[-1]) - first), n).astype(np.int64)
    visited[ends == ends[-1]] = n  # whatever the rounding, n visits in all
    return np.diff(visited, prepend=0)
