"""Recordings -> a prepared folder: in parallel over recordings, resumable, and never half-written.

Whatever the number of workers, the bytes written are the same: every shard depends on its recording and the
settings only, and the statistics are merged in order of the names.
"""

import contextlib
import dataclasses
import os
from pathlib import Path

from tqdm import tqdm

from data_pipelines import sources
from data_pipelines.folder import check_out, finish, sweep
from data_pipelines.locks import locked
from data_pipelines.processes import outcomes
from data_pipelines.shards import LABELLED, SHARDS, Cut, prepare_one

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
        plain = {"layout": layout, **self.cut.recorded()}
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
      OSError: the disk is full, or another process is preparing `out`.
    """
    settings = settings or PrepareSettings()
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    found = sources.find(layout, input, seed=settings.seed, subjects=settings.subjects, hours=settings.hours)
    out, recorded = Path(out), settings.recorded(layout)
    check_out(out, recorded, {source.name for source in found})
    for folder in (out, out / SHARDS, out / LABELLED):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(out):
        sweep(out)
        try:
            sidecars = _prepare_all(found, settings.cut, recorded, out, workers, progress)
        except BaseException:
            sweep(out)
            for folder in (out / SHARDS, out / LABELLED, out):
                with contextlib.suppress(OSError):  # what holds finished recordings stays
                    folder.rmdir()
            raise
        return finish(sidecars, layout, recorded, out)


def _prepare_all(
    found: list[sources.Source], how: Cut, recorded: dict, out: Path, workers: int, progress: bool
) -> list[dict]:
    """Sidecars in the order of `found`; ValueError naming all that failed, after all were tried."""
    jobs = [(source, how, recorded, out) for source in found]
    done: dict[int, dict] = {}
    failed: dict[int, Exception] = {}
    windows = 0
    with tqdm(total=len(jobs), desc="prepare", unit="recording", disable=not progress, smoothing=0.1) as bar:
        for index, outcome in outcomes(prepare_one, jobs, workers):
            try:
                done[index], _ = outcome()
                windows += done[index]["entry"]["windows"]
            except ChildProcessError as error:
                failed[index] = ValueError(f"{found[index].name}: {error}")
            except (ValueError, OSError) as error:
                failed[index] = error
            bar.set_postfix(windows=windows, failed=len(failed))
            bar.update()
    if failed:
        sentences = [str(failed[index]) for index in sorted(failed)]
        if len(sentences) == 1:
            raise ValueError(sentences[0])
        more = f"; and {len(sentences) - LISTED} more" if len(sentences) > LISTED else ""
        listed = "; ".join(f"({number}) {sentence}" for number, sentence in enumerate(sentences[:LISTED], 1))
        raise ValueError(f"{len(sentences)} of {len(jobs)} recordings cannot be used: {listed}{more}")
    return [done[index] for index in range(len(jobs))]
