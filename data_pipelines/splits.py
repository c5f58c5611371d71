"""Which windows train and which validate: by subject (default) or by window (as published); nested hours.

Windows are numbered globally: the manifest's recordings in order, and inside each its windows in order.
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Separate random streams, so that a subset of hours does not follow from the split that it is taken from.
SPLIT_STREAM, HOURS_STREAM, SUBJECTS_STREAM = 1, 2, 6  # those between are of `order`
BY = ("window", "subject")  # how hours are taken


def seeded_permutation(n: int, *seed: int) -> np.ndarray:
    """A permutation of 0..n-1, int64 [n], that depends on `n` and the seed numbers only: the ranks of `seeded_bits`."""
    return np.argsort(seeded_bits(n, *seed), kind="stable").astype(np.int64)


def seeded_bits(n: int, *seed: int) -> np.ndarray:
    """Random bits, uint64 [n], that depend on the seed numbers only; fewer are the beginning of more.

    They are the raw bits of Philox: NumPy promises never to change those (NEP 19), unlike what `Generator` makes
    of them.
    """
    return np.random.Philox(np.random.SeedSequence(seed)).random_raw(n)


def window_hours(manifest: Mapping) -> float:
    """Hours of one window of a prepared folder."""
    return manifest["settings"]["window_samples"] / manifest["sample_rate_hz"] / 3600


def subject_split(subjects: Sequence[str], valid_fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Subjects to train on and subjects to validate on, each sorted; disjoint, both non-empty.

    `valid_fraction` counts subjects, rounded, at least one. The order and repetition of `subjects` do not
    matter.

    Raises:
      ValueError: fewer than two subjects, or a fraction that leaves one side empty.
    """
    _check_fraction(valid_fraction)
    names = sorted(set(subjects))
    if len(names) < 2:
        raise ValueError(
            f"a split by subject needs at least 2 subjects with windows, found {len(names)}: "
            "add recordings or split by window"
        )
    n_valid = max(1, round(valid_fraction * len(names)))
    if n_valid == len(names):
        raise ValueError(f"valid_fraction {valid_fraction} of {len(names)} subjects leaves none to train on: use less")
    order = seeded_permutation(len(names), seed, SPLIT_STREAM)
    return sorted(names[i] for i in order[n_valid:]), sorted(names[i] for i in order[:n_valid])


def window_subjects(manifest: Mapping) -> np.ndarray:
    """The subject of every window, int64 [windows], as its number among the sorted names of all subjects."""
    recordings = manifest["recordings"]
    number = {name: at for at, name in enumerate(sorted({r["subject"] for r in recordings}))}
    subjects = np.fromiter((number[r["subject"]] for r in recordings), np.int64, len(recordings))
    return np.repeat(subjects, [r["windows"] for r in recordings])


def split_indices(
    manifest: Mapping, how: str, valid_fraction: float, seed: int, hours: float | None = None, hours_by: str = "window"
) -> tuple[np.ndarray, np.ndarray]:
    """Global window numbers to train on and to validate on, int64, each ascending.

    "subject" keeps every subject on one side. "window" splits the windows themselves, as published (SelfPAB,
    section 4): a person is then on both sides, and if the stride is shorter than a window
    (`settings.stride_s` of the manifest) so are the same samples, which makes the validation loss optimistic.

    `hours` keeps that much of the training side: the first windows of its `subset_order`, so that a smaller subset
    lies inside each larger one. A window counts its whole length even where windows overlap. Validation stays the
    same.

    Raises:
      ValueError: unknown `how` or `hours_by`, an empty side, or more hours than there are.
    """
    _check_fraction(valid_fraction)
    if how not in ("subject", "window"):
        raise ValueError(f"split is '{how}', expected 'subject' or 'window'")
    if hours_by not in BY:
        raise ValueError(f"hours_by is '{hours_by}', expected 'window' or 'subject'")
    recordings = manifest["recordings"]
    windows = np.array([r["windows"] for r in recordings], np.int64)
    total = int(windows.sum())
    if total == 0:
        raise ValueError("the prepared data hold no window: every recording is shorter than a window between long gaps")
    if how == "subject":
        used = [r["subject"] for r in recordings if r["windows"]]
        valid_subjects = set(subject_split(used, valid_fraction, seed)[1])
        is_valid = np.repeat([r["subject"] in valid_subjects for r in recordings], windows)
        train, valid = np.flatnonzero(~is_valid), np.flatnonzero(is_valid)
    else:
        n_valid = max(1, round(valid_fraction * total))
        if n_valid == total:
            raise ValueError(f"valid_fraction {valid_fraction} of {total} windows leaves none to train on")
        order = seeded_permutation(total, seed, SPLIT_STREAM)
        train, valid = np.sort(order[n_valid:]), np.sort(order[:n_valid])
    if hours is None:
        return train, valid
    subjects = window_subjects(manifest)[train] if hours_by == "subject" else None
    return nested_hours(train, hours, seed, window_hours(manifest), subjects), valid


def subset_order(indices: np.ndarray, seed: int, subjects: np.ndarray | None = None) -> np.ndarray:
    """The window numbers `indices` in the order in which subsets take them: each subset is a beginning of it.

    By window all of them are shuffled. By subject one subject follows the other, shuffled too, each with all its
    windows; these stand in the order that they have by window, so that a part of a subject is spread over its days.

    Args:
      subjects: the subject of each of `indices`, as a number; None takes them by window.
    """
    shuffled = seeded_permutation(len(indices), seed, HOURS_STREAM)
    if subjects is not None:
        names, number = np.unique(subjects, return_inverse=True)
        turn = np.empty(len(names), np.int64)
        turn[seeded_permutation(len(names), seed, SUBJECTS_STREAM)] = np.arange(len(names))
        shuffled = shuffled[np.argsort(turn[number[shuffled]], kind="stable")]
    return indices[shuffled]


def nested_hours(
    indices: np.ndarray, hours: float, seed: int, window_hours: float, subjects: np.ndarray | None = None
) -> np.ndarray:
    """`hours` worth of the window numbers `indices`, ascending; fewer hours lie inside more hours.

    Args:
      window_hours: hours of one window.
      subjects: as `subset_order`.

    Raises:
      ValueError: less than one window, or more hours than `indices` hold.
    """
    keep = round(hours / window_hours)
    if not 1 <= keep <= len(indices):
        raise ValueError(
            f"hours is {hours:g}, expected between {window_hours:.3g} (one window) and "
            f"{len(indices) * window_hours:.4g} (the training side of these data)"
        )
    return np.sort(subset_order(indices, seed, subjects)[:keep])


def _check_fraction(valid_fraction: float) -> None:
    if not 0 < valid_fraction < 1:
        raise ValueError(f"valid_fraction is {valid_fraction}, expected a number between 0 and 1, both excluded")
