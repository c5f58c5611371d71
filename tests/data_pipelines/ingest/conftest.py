"""A small cohort of Axivity files: people who walk, stand and sit, with a sensor at the back and one at the thigh."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from data_pipelines.ingest import pairs, people
from data_pipelines.ingest.settings import IngestSettings
from data_pipelines.shards import Cut
from tests.data_pipelines import cwa_writer

RATE_HZ, TRUE_HZ = 50, 50.2  # nominal, and by the device's clock
MINUTES = 12.3  # and so not whole windows
START = "2020-03-02T09:59:57.51"
WALK, STAND, SIT = range(3)
DOWN = {"back": ([-1, 0, 0], [-1, 0, 0], [-0.94, 0, -0.34]), "thigh": ([-1, 0, 0], [-1, 0, 0], [-0.1, 0, -0.995])}
SETTINGS = IngestSettings(Cut(window_s=60.0, stride_s=60.0))
TABLE = "file,person,place,orientation\n"


class Signal(NamedTuple):
    """Samples of a sensor: seconds after the start, float64 [S], and g, float64 [S, 3]."""

    seconds: np.ndarray
    acceleration: np.ndarray


def signal(place: str, seed: int, minutes: float = MINUTES) -> Signal:
    """Walking, standing and sitting, two minutes each in turn, as a sensor at this place reads them."""
    seconds = np.arange(round(minutes * 60 * TRUE_HZ)) / TRUE_HZ
    rng = np.random.default_rng([seed, place == "thigh"])
    doing = (seconds // 120).astype(int) % 3
    found = np.asarray(DOWN[place])[doing] + rng.normal(0, 0.004, (len(seconds), 3))
    step = 2 * np.pi * 1.9 * seconds + seed
    swing = np.stack([0.3 * np.sin(step), 0.1 * np.sin(step / 2), 0.2 * np.sin(2 * step + 1)], axis=1)
    return Signal(seconds, found + swing * (doing == WALK)[:, None])


def write_cwa(path: Path, measured: Signal, **how) -> Path:
    """A packed AX3 file of the signal."""
    return cwa_writer.write(path, measured.acceleration, rate_hz=RATE_HZ, true_rate_hz=TRUE_HZ, start=START, **how)


def write_csv(path: Path, measured: Signal) -> Path:
    """The signal as text, with the columns time, x, y, z."""
    clock = int(np.datetime64(START, "us").astype(np.int64)) + np.rint(measured.seconds * 1e6).astype(np.int64)
    rows = zip(
        np.datetime_as_string(clock.astype("datetime64[us]")), measured.acceleration.round(7).tolist(), strict=True
    )
    path.write_text("\n".join(["time,x,y,z", *(f"{time},{x},{y},{z}" for time, (x, y, z) in rows)]) + "\n")
    return path


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """Folder with raw/ and pairs.csv: persons a, b, c and broken, whose thigh file is none."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "raw").mkdir()
    table = TABLE
    for seed, person in enumerate(["a", "b", "c", "broken"]):
        for place in ("back", "thigh"):
            name = f"{person}_{place}.cwa"
            table += f"{name},{person},{place},\n"
            write_cwa(folder / "raw" / name, signal(place, seed), device=seed)
    (folder / "raw" / "broken_thigh.cwa").write_bytes(b"no recording at all")
    (folder / "pairs.csv").write_text(table)
    return folder


@pytest.fixture(scope="session")
def persons(cohort) -> list[people.Person]:
    """Those of the cohort's pairing table."""
    return pairs.read(cohort / "raw", cohort / "pairs.csv", SETTINGS.cut.sensors).people


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
