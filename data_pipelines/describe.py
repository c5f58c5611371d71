"""What a prepared folder holds, in numbers: hours, people, what was left out and why, and what its subsets take."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.ingest import clocks
from data_pipelines.splits import (
    BY,
    SUBJECTS_STREAM,
    seeded_permutation,
    split_indices,
    subset_order,
    window_hours,
    window_subjects,
)

SPLIT = ("subject", 0.1, 0)  # data.split, data.valid_fraction and data.split_seed of the pre-training configs


@dataclasses.dataclass(frozen=True)
class Cohort:
    """The numbers of a prepared folder; None where its manifest does not know.

    Attributes:
      subject_hours: float64 [subjects], hours in windows of each, in the order of their names; overlaps count once.
      recorded_h: hours recorded; without the gaps if the folder is of `prepare`, which does not know these.
      dropped_h: hours in no window by reason; with those in windows they make up the recorded ones.
      wear_h: hours in which all sensors of a recording have samples and are worn.
      subject_days: days on which a person has a window, over all people.
      days: first and last of these days, as ISO dates.
      by_hour: int64 [24], windows that begin in each hour of the day.
      device_rates: how many files there are of each nominal rate in Hz.
      failed: name -> reason of recordings that could not be used.
    """

    subject_hours: np.ndarray
    recorded_h: float
    dropped_h: dict[str, float]
    wear_h: float | None
    subject_days: int | None
    days: tuple[str, str] | None
    by_hour: np.ndarray | None
    device_rates: dict[float, int] | None
    failed: dict[str, str] | None

    @property
    def hours(self) -> float:
        """Hours in windows."""
        return float(self.subject_hours.sum())

    @property
    def cumulative_hours(self) -> np.ndarray:
        """Hours of the first, the first two, ... subjects with windows, float64, in an order of seed 0."""
        order = seeded_permutation(len(self.subject_hours), SPLIT[2], SUBJECTS_STREAM)
        shuffled = self.subject_hours[order]
        return np.cumsum(shuffled[shuffled > 0])


class RawFiles(NamedTuple):
    """What was found in the raw files of an ingested folder, and decided about them.

    Attributes:
      files: how many there are; of these
      calibrated: those whose gain was corrected.
      orientations: how many have each status, see `ingest.flips`.
      bad: why blocks (or rows) could not be read -> file -> how many of them.
      paired, aligned: recordings in which clocks were compared, and those in which all of them were aligned.
      unrelated: names of recordings whose sensors never move together.
      equal: names of files of the same content, by content.
    """

    files: int
    calibrated: int
    orientations: dict[str, int]
    bad: dict[str, dict[str, int]]
    paired: int
    aligned: int
    unrelated: list[str]
    equal: list[tuple[str, ...]]


class Subset(NamedTuple):
    """The first windows of a subset's order: `windows` of them, of so many `subjects`."""

    hours: float
    by: str
    windows: int
    subjects: int


def describe(manifest: Mapping) -> Cohort:
    """The numbers of a manifest of `prepare` or `ingest`."""
    entries = manifest["recordings"]
    number = {name: at for at, name in enumerate(sorted({entry["subject"] for entry in entries}))}
    hours, dropped, recorded = np.zeros(len(number)), Counter(), 0.0
    for entry in entries:
        seconds, in_windows, reasons = seconds_of(entry, manifest["sample_rate_hz"])
        recorded += seconds
        dropped.update(reasons)
        hours[number[entry["subject"]]] += in_windows / 3600
    wear = _known(entries, "wear_s")
    by_day = _known(entries, "days")
    by_hour = _known(entries, "window_hours")
    people = {(e["subject"], day) for e, some in zip(entries, by_day or [], strict=False) for day in some}
    dates = sorted({day for _, day in people})
    sources = [s for e in entries for s in (e["source"] if isinstance(e["source"], list) else [e["source"]])]
    rates = _known(sources, "rate_hz")
    failed = manifest.get("failed")
    return Cohort(
        subject_hours=hours,
        recorded_h=recorded / 3600,
        dropped_h={reason: seconds / 3600 for reason, seconds in dropped.items()},
        wear_h=None if wear is None else sum(wear) / 3600,
        subject_days=None if by_day is None else len(people),
        days=(dates[0], dates[-1]) if dates else None,
        by_hour=None if by_hour is None else np.sum(by_hour, axis=0, dtype=np.int64),
        device_rates=None if rates is None else dict(sorted(Counter(rates).items())),
        failed=None if failed is None else {one["name"]: one["reason"] for one in failed},
    )


def seconds_of(entry: Mapping, rate_hz: int) -> tuple[float, float, Mapping[str, float]]:
    """Seconds of a recording: recorded, in windows, and in none by reason; see `Cohort`."""
    recorded, reasons = entry.get("recorded_s"), entry.get("dropped")
    if reasons is None:
        idle = entry["nonwear_s"]
        recorded = entry["samples"] / rate_hz
        reasons = {"non-wear": idle, "short": max(0.0, entry["dropped_s"] - idle)}
    # Without a window what is left of the difference is rounding.
    return recorded, recorded - sum(reasons.values()) if entry["windows"] else 0.0, reasons


def raw_files(manifest: Mapping) -> RawFiles | None:
    """The numbers of the raw files; None where the manifest does not know what was decided about each."""
    by_recording = {entry["name"]: entry["source"] for entry in manifest["recordings"]}
    if not all(isinstance(some, list) for some in by_recording.values()):
        return None
    sources = [source for some in by_recording.values() for source in some]
    if not all(isinstance(source.get("bad_blocks"), dict) for source in sources):
        return None
    status = {name: [one["clock"] for one in some if one["clock"]] for name, some in by_recording.items()}
    by_content: dict[tuple[int, int], list[str]] = {}
    bad: dict[str, dict[str, int]] = {}
    for source in sources:
        by_content.setdefault((source["bytes"], source["crc32"]), []).append(source["file"])
        for reason, count in source["bad_blocks"].items():
            bad.setdefault(reason, {})[source["file"]] = count
    return RawFiles(
        files=len(sources),
        calibrated=sum(source["calibration"] == "calibrated" for source in sources),
        orientations=dict(Counter(source["orientation"] for source in sources)),
        bad=bad,
        paired=sum(map(bool, status.values())),
        aligned=sum(set(found) == {"aligned"} for found in status.values()),
        unrelated=[name for name, found in status.items() if clocks.UNRELATED in found],
        equal=[tuple(names) for names in by_content.values() if len(names) > 1],
    )


def training_side(manifest: Mapping) -> tuple[float, int]:
    """Hours of the windows that the pre-training configs train on, and how many subjects these are of.

    Raises:
      ValueError: the data cannot be split.
    """
    train, _ = split_indices(manifest, *SPLIT)
    return len(train) * window_hours(manifest), len(np.unique(window_subjects(manifest)[train]))


def subsets(manifest: Mapping, amounts: Sequence[float]) -> list[Subset]:
    """The subsets of so many hours of the training side, by window and by subject; amounts beyond it are left out.

    Raises:
      ValueError: the data cannot be split.
    """
    train, _ = split_indices(manifest, *SPLIT)
    subjects = window_subjects(manifest)
    found = []
    for by in BY:
        order = subset_order(train, SPLIT[2], subjects[train] if by == "subject" else None)
        new = np.zeros(len(order), np.int64)
        new[np.unique(subjects[order], return_index=True)[1]] = 1  # where a subject comes for the first time
        touched = np.cumsum(new)
        for hours in amounts:
            windows = round(hours / window_hours(manifest))
            if 1 <= windows <= len(order):
                found.append(Subset(hours, by, windows, int(touched[windows - 1])))
    return sorted(found, key=lambda subset: subset.hours)


def _known(entries: Sequence[Mapping], field: str) -> list | None:
    """The field of all entries; None if one of them lacks it."""
    return [entry[field] for entry in entries] if all(field in entry for entry in entries) else None
