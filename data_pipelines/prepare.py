"""Recordings -> a prepared folder: in parallel over recordings, resumable, and never half-written.

Whatever the number of workers, the bytes written are the same: every shard depends on its recording and the
settings only, and the statistics are merged in order of the names.
"""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_pipelines import moments, sources
from data_pipelines.contract import channels_of
from data_pipelines.manifest import (
    MANIFEST,
    MOVEMENT,
    NORMALIZATION,
    PARTIAL,
    VERSION,
    json_bytes,
    manifest_hash,
    npz_bytes,
    write_atomically,
)
from data_pipelines.processes import outcomes
from data_pipelines.shards import LABELLED, SHARDS, Cut, prepare_one, read_sidecar

SAMPLES = "_samples"  # end of the names of settings that follow from others
LISTED = 20  # broken recordings named in one error


@dataclasses.dataclass(frozen=True)
class PrepareSettings:
    """How to cut; for the synthetic layout only: which cohort, how many people, how many hours of each."""

    cut: Cut = Cut()
    seed: int = 0
    subjects: int = sources.synthetic.SUBJECTS
    hours: float = 1.0

    def recorded(self, layout: str) -> dict:
        """The settings that decide the result for this layout, as the manifest holds them."""
        cut = self.cut
        plain = {"layout": layout, **dataclasses.asdict(cut), "sensors": list(cut.sensors)}
        plain |= {f"window{SAMPLES}": cut.window, f"stride{SAMPLES}": cut.stride, f"block{SAMPLES}": cut.block}
        if layout == "synthetic":
            plain |= {"seed": self.seed, "subjects": self.subjects, "hours": self.hours}
        return plain


def prepare(
    input: str | Path | None,
    layout: str,
    out: str | Path,
    settings: PrepareSettings | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict:
    """The manifest of the prepared folder `out`, which is made or completed.

    Recordings that are in `out` already, from the same source and settings, with correct checksums, are not
    done again. Stopped half-way, the folder has no manifest yet and the same call continues.

    Args:
      input: folder of the recordings; None for the synthetic layout.
      layout: a name of `sources.LAYOUTS`, or "synthetic".
      workers: processes; None is one per core, 1 runs in this process.
      progress: a bar on stderr.

    Raises:
      ValueError: recordings that cannot be used (all of them named), no window in all of them, a bad setting.
      FileNotFoundError: no such input.
      FileExistsError: `out` holds something else or was prepared with other settings.
      OSError: the disk is full, another process is preparing `out`, or a worker died.
    """
    settings = settings or PrepareSettings()
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    found = sources.find(layout, input, seed=settings.seed, subjects=settings.subjects, hours=settings.hours)
    out, recorded = Path(out), settings.recorded(layout)
    _check_out(out, recorded, {source.name for source in found})
    for folder in (out, out / SHARDS, out / LABELLED):
        folder.mkdir(parents=True, exist_ok=True)
    with _only_one(out):
        _sweep(out)
        try:
            sidecars = _prepare_all(found, settings.cut, recorded, out, workers, progress)
        except BaseException:
            _sweep(out)
            for folder in (out / SHARDS, out / LABELLED, out):
                with contextlib.suppress(OSError):  # what holds finished recordings stays
                    folder.rmdir()
            raise
        return _finish(sidecars, layout, recorded, out)


def _check_out(out: Path, recorded: dict, names: set[str]) -> None:
    """Raises FileExistsError unless `out` is new, empty, or a part of this very preparation."""
    if not out.exists():
        return
    foreign = sorted({path.name for path in out.iterdir()} - {SHARDS, LABELLED, MANIFEST, NORMALIZATION, MOVEMENT})
    foreign = [name for name in foreign if not name.endswith(PARTIAL)]
    if foreign:
        raise FileExistsError(
            f"{out} exists and holds {', '.join(foreign[:5])}: choose a new or empty folder with --out"
        )
    sidecars = sorted((out / SHARDS).glob("*.json"))
    previous = next((sidecar for path in sidecars if (sidecar := read_sidecar(path))), None)
    if previous is None:
        return
    old = previous["settings"] | {"version": previous["version"]}
    new = recorded | {"version": VERSION}
    differing = [key for key in sorted(old | new) if old.get(key) != new.get(key) and not key.endswith(SAMPLES)]
    differing = ["version"] if "version" in differing else differing
    if differing:
        words = ", ".join(f"{key} {old.get(key)} (now {new.get(key)})" for key in differing)
        raise FileExistsError(f"{out} was prepared with {words}: choose another --out or delete that folder")
    others = [path.stem for path in sidecars if path.stem not in names]
    if others:
        raise FileExistsError(
            f"{out} holds recordings that are not in the input ({', '.join(others[:5])}): choose another "
            "--out or delete that folder"
        )


@contextlib.contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """Holds a lock on the folder itself, which vanishes with the process and leaves no file."""
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{out} is being prepared by another process: wait for it or choose another --out") from None
        yield
    finally:
        os.close(handle)


def _sweep(out: Path) -> None:
    """Removes what a killed process was writing."""
    for folder in (out, out / SHARDS, out / LABELLED):
        for path in folder.glob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)


def _prepare_all(
    found: list[sources.Source], how: Cut, recorded: dict, out: Path, workers: int, progress: bool
) -> list[dict]:
    """Sidecars in the order of `found`; ValueError naming all that failed, after all were tried."""
    jobs = [(source, how, recorded, out) for source in found]
    done: dict[int, dict] = {}
    failed: dict[int, Exception] = {}
    with tqdm(total=len(jobs), desc="prepare", unit="recording", disable=not progress, smoothing=0.1) as bar:
        for index, outcome in outcomes(prepare_one, jobs, workers):
            try:
                done[index], _ = outcome()
            except ChildProcessError:
                raise
            except (ValueError, OSError) as error:
                failed[index] = error
            bar.set_postfix(windows=sum(sidecar["entry"]["windows"] for sidecar in done.values()), failed=len(failed))
            bar.update()
    if failed:
        sentences = [str(failed[index]) for index in sorted(failed)]
        if len(sentences) == 1:
            raise ValueError(sentences[0])
        more = f"; and {len(sentences) - LISTED} more" if len(sentences) > LISTED else ""
        listed = "; ".join(f"({number}) {sentence}" for number, sentence in enumerate(sentences[:LISTED], 1))
        raise ValueError(f"{len(sentences)} of {len(jobs)} recordings cannot be used: {listed}{more}")
    return [done[index] for index in range(len(jobs))]


def _finish(sidecars: list[dict], layout: str, recorded: dict, out: Path) -> dict:
    """Writes normalization.npz, movement.npz and, last of all, manifest.json."""
    entries = [sidecar["entry"] for sidecar in sidecars]
    windows = sum(entry["windows"] for entry in entries)
    if windows == 0:
        longest = max(entry["longest_s"] for entry in entries)
        idle = ", keep non-wear with --nonwear 0" if any(entry["nonwear_s"] for entry in entries) else ""
        raise ValueError(
            f"{len(entries)} recordings give no window of {recorded['window_s']:g} s: the longest stretch worn without "
            f"a gap over {recorded['max_gap_s']:g} s lasts {longest:g} s, expected {recorded['window_s']:g} s: choose "
            f"a shorter --window, raise --max-gap{idle} or add longer recordings"
        )
    merged = moments.merge(moments.Moments.from_json(sidecar["moments"]) for sidecar in sidecars)
    normalization_crc = write_atomically(out / NORMALIZATION, npz_bytes(moments.statistics(merged)))
    moved = np.asarray([value for sidecar in sidecars for value in sidecar["movement"]], np.float32)
    movement_crc = write_atomically(out / MOVEMENT, npz_bytes({"movement": moved}))
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
    }
    manifest["hash"] = manifest_hash(manifest)
    write_atomically(out / MANIFEST, json_bytes(manifest))
    return manifest
