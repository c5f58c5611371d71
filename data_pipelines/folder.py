"""The folder that `prepare` and `ingest` fill: claimed by one of them, swept after a stop, finished by the manifest."""

import base64
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data_pipelines import moments
from data_pipelines.contract import channels_of
from data_pipelines.manifest import (
    MANIFEST,
    MOVEMENT,
    NORMALIZATION,
    PARTIAL,
    VERSION,
    draft,
    file_crc32,
    json_lines,
    manifest_hash,
    npz_bytes,
    write_atomically,
)
from data_pipelines.readers import declared
from data_pipelines.shards import LABELLED, SAMPLES, SHARDS, SIDECAR_VERSION, read_sidecar

FAILED = "failed"  # folder with a note for each recording that could not be used
OURS = {SHARDS, LABELLED, FAILED, MANIFEST, NORMALIZATION, MOVEMENT}


def check_out(out: Path, recorded: dict, names: Collection[str]) -> None:
    """Raises FileExistsError unless `out` is new, empty, or a part of this very preparation."""
    if not out.exists():
        return
    foreign = sorted({path.name for path in out.iterdir()} - OURS)
    foreign = [name for name in foreign if not name.endswith(PARTIAL)]
    if foreign:
        raise FileExistsError(
            f"{out} exists and holds {', '.join(foreign[:5])}: choose a new or empty folder with --out"
        )
    sidecars = sorted((out / SHARDS).glob("*.json"))
    known = filter(None, map(read_sidecar, sidecars))
    previous = next((sidecar for sidecar in known if {"settings", "version"} <= sidecar.keys()), None)
    if previous is None:
        return
    old = previous["settings"] | {"version": previous["version"]}
    new = recorded | {"version": SIDECAR_VERSION}
    differing = [key for key in sorted(old | new) if old.get(key) != new.get(key) and not key.endswith(SAMPLES)]
    differing = ["version"] if "version" in differing else differing
    if differing:
        words = ", ".join(f"{key} {_in_words(old.get(key))} (now {_in_words(new.get(key))})" for key in differing)
        raise FileExistsError(f"{out} was prepared with {words}: choose another --out or delete that folder")
    others = [path.stem for path in sidecars if path.stem not in names]
    if others:
        there = " and ".join(name for name in (SHARDS, LABELLED, FAILED) if (out / name).is_dir())
        raise FileExistsError(
            f"{out} holds recordings that are not in the input ({', '.join(others[:5])}): choose another --out or "
            f"delete what these names have in {there}"
        )


def _in_words(value: object) -> str:
    """A setting for people; what is declared of columns as --columns says it."""
    if isinstance(value, dict):
        return declared.text(declared.Declared(**value))
    return "none" if value is None else str(value)


def sweep(out: Path) -> None:
    """Removes what a killed process was writing."""
    for folder in (out, out / SHARDS, out / LABELLED, out / FAILED):
        for path in folder.glob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)


def finish(
    sidecars: Iterable[Mapping], layout: str, recorded: Mapping, out: Path, failed: Sequence[Mapping] | None = None
) -> dict:
    """Writes normalization.npz, movement.npz and, last of all, manifest.json, which is returned.

    Args:
      sidecars: in the order in which the manifest has the recordings; held one at a time.
      failed: what the manifest says of the recordings that could not be used, where these do not stop the others.

    Raises:
      ValueError: no window in all of them; then they are removed, as other settings may find some.
    """
    entries, moved, merged = [], [], moments.empty()
    for sidecar in sidecars:
        entries.append(sidecar["entry"])
        moved.append(np.frombuffer(base64.b64decode(sidecar["movement"]), "<f4"))
        merged = moments.merge([merged, moments.Moments.from_json(sidecar["moments"])])
    windows = sum(entry["windows"] for entry in entries)
    if windows == 0:
        _take_back(entries, out)
        raise ValueError(_no_window(entries, recorded))
    normalization_crc = write_atomically(out / NORMALIZATION, npz_bytes(moments.statistics(merged)))
    with draft(out / MOVEMENT) as partial, partial.open("wb") as file:  # gigabytes of a large cohort's short windows
        np.savez(file, allow_pickle=False, movement=np.concatenate(moved, dtype=np.float32))
    movement_crc = file_crc32(out / MOVEMENT)
    labels = {int(code): name for entry in entries for code, name in entry["labels"].items()}
    manifest = {
        "version": VERSION,
        "layout": layout,
        "settings": recorded,
        "channels": list(channels_of(recorded["sensors"])),
        "sample_rate_hz": recorded["rate_hz"],
        "activities": {str(code): labels[code] for code in sorted(labels)},  # those that occur
        "recordings": entries,
        "hours": round(sum(entry["hours"] for entry in entries), 6),
        "subjects": len({entry["subject"] for entry in entries}),
        "windows": windows,
        "normalization_crc32": normalization_crc,
        "movement_crc32": movement_crc,
    } | ({} if failed is None else {"failed": list(failed)})
    manifest["hash"] = manifest_hash(manifest)
    write_atomically(out / MANIFEST, json_lines(manifest))
    return manifest


def _take_back(entries: Sequence[Mapping], out: Path) -> None:
    """Removes recordings without a window, and what an earlier run made of others, so that `out` is free again."""
    for name in (MANIFEST, NORMALIZATION, MOVEMENT):
        (out / name).unlink(missing_ok=True)
    for entry in entries:
        for name in (entry["shard"], entry["labelled"], f"{SHARDS}/{entry['name']}.json"):
            if name:
                (out / name).unlink(missing_ok=True)
    for folder in (out / SHARDS, out / LABELLED, out):
        with contextlib.suppress(OSError):  # what holds something else stays
            folder.rmdir()


def _no_window(entries: Sequence[Mapping], recorded: Mapping) -> str:
    """What is in the way of windows, and what to do."""
    none = f"{len(entries)} recordings give no window of {recorded['window_s']:g} s: "
    if all("dropped" in entry for entry in entries):
        lost = {reason: sum(entry["dropped"][reason] for entry in entries) for reason in entries[0]["dropped"]}
        words = ", ".join(f"{reason} {seconds:,.0f} s" for reason, seconds in lost.items() if seconds)
        return none + f"all that was recorded is left out ({words}): choose a shorter --window or relax that rule"
    longest = max(entry["longest_s"] for entry in entries)
    idle = ", keep non-wear with --nonwear 0" if any(entry["nonwear_s"] for entry in entries) else ""
    return none + (
        f"the longest stretch worn without a gap over {recorded['max_gap_s']:g} s lasts {longest:g} s, expected "
        f"{recorded['window_s']:g} s: choose a shorter --window, raise --max-gap{idle} or add longer recordings"
    )
