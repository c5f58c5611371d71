"""Who trains and who is tested: subject-disjoint folds in the published order, and the validation share."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Fold:
    """One round of cross-validation; no subject is on both sides."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Share:
    """The frame ranges of one segment: `validation` first, `train` after it; either may be empty."""

    validation: slice
    train: slice


def _shuffled(subjects: Iterable[str], seed: int) -> list[str]:
    """The distinct subjects, sorted, then shuffled by the NumPy generator the published folds came from."""
    names = sorted(set(subjects))
    if len(names) < 2:
        raise ValueError(f"cross-validation needs at least 2 subjects, got {names}")
    np.random.RandomState(seed).shuffle(names)
    return names


def _fold(names: Sequence[str], start: int, stop: int) -> Fold:
    return Fold(train=tuple(sorted([*names[:start], *names[stop:]])), test=tuple(names[start:stop]))


def leave_one_subject_out(subjects: Iterable[str], seed: int = 42) -> list[Fold]:
    """One fold per subject, in the shuffled order; the others (sorted) train.

    Args:
      subjects: names, in any order; repeated names (several recordings) count once.

    Raises:
      ValueError: fewer than two subjects.

    Source: SelfPAB's downstream code (FOLDS: 0): sorted names, np.random.seed(42), shuffle.
    """
    names = _shuffled(subjects, seed)
    return [_fold(names, index, index + 1) for index in range(len(names))]


def group_k_fold(subjects: Iterable[str], k: int, seed: int = 42) -> list[Fold]:
    """k folds of consecutive subjects in the shuffled order; sizes are ceil(n / k), the last one the rest.

    14 subjects in 5 folds are 3, 3, 3, 3, 2. Where that rule would leave a fold without subjects (6 in 4:
    2, 2, 2, 0) the sizes are as even as possible instead (2, 2, 1, 1).

    Raises:
      ValueError: fewer than two subjects, k < 2, or more folds than subjects.

    Source: SelfPAB's downstream code (FOLDS: k).
    """
    names = _shuffled(subjects, seed)
    n = len(names)
    if not 2 <= k <= n:
        raise ValueError(f"{n} subjects cannot be cut into {k} folds, choose 2 to {n} folds")
    step = math.ceil(n / k)
    bounds = [min(index * step, n) for index in range(k + 1)]
    if bounds[-2] >= n:
        sizes = [n // k + (index < n % k) for index in range(k)]
        bounds = [sum(sizes[:index]) for index in range(k + 1)]
    return [_fold(names, start, stop) for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


def first_fraction_validation(segment_frames: Sequence[int], fraction: float = 0.2) -> list[Share]:
    """For each segment of ONE training subject which frames validate (its first 20 %) and which train.

    The boundary is counted over the subject's segments in the order given, which should be that of time, so
    it falls inside at most one of them. The two frames at the boundary overlap by half a second.

    Args:
      segment_frames: number of frames of each segment.
      fraction: share of the subject's frames, 0 <= fraction < 1, rounded to the nearest frame.

    Raises:
      ValueError: a fraction out of range.

    Source: SelfPAB (doi 10.1007/s10489-024-05322-3): the first 20 % of each training subject validate.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the validation fraction is {fraction}, expected at least 0 and less than 1")
    left = round(fraction * sum(segment_frames))
    shares = []
    for frames in segment_frames:
        boundary = min(left, frames)
        left -= boundary
        shares.append(Share(validation=slice(0, boundary), train=slice(boundary, frames)))
    return shares
