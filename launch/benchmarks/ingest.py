"""A raw file read beside scikit-digital-health and taken through all of ingest; what 100,000 hours would take."""

import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from data_pipelines.ingest.one import ingest_one
from data_pipelines.ingest.people import Person, Sensor
from data_pipelines.ingest.settings import IngestSettings
from data_pipelines.raw import Report
from data_pipelines.readers import raw_files
from data_pipelines.shards import ENDING, LABELLED, SHARDS, Cut
from launch.benchmarks.memory import of_ingest
from launch.benchmarks.timing import Seconds, in_turns, timed

PROJECTED_H = 100_000
CORES = 64  # of a usual node
PLACE = "wrist"
WINDOW_S, SHORT_S = 300.0, 10.0  # the second for recordings of less than an hour


def measure(data: str | None, repeats: int) -> dict[str, list[dict]]:
    """One row of rates and two of what they make of 100,000 hours, with one sensor and with two.

    Raises:
      ValueError: no raw file is named, or it cannot be used.
    """
    if data is None:
        raise ValueError("--data=FILE is missing: --what ingest measures on a raw file, such as a week's .cwa")
    path, report = Path(data).resolve(), Report()
    for _ in raw_files.open_file(path).read(report):
        pass
    hours = report.samples / report.effective_rate_hz / 3600
    with tempfile.TemporaryDirectory() as folder:
        window = WINDOW_S if hours >= 1 else SHORT_S
        found = in_turns(_candidates(path, Path(folder), window), repeats, "ingest")
        rate = {name: hours / statistics.median(one.cpu for one in times) for name, times in found.items()}
        written = sum(file.stat().st_size for file in Path(folder, "0", SHARDS).glob(f"*{ENDING}"))
        before, peak = of_ingest(path, Path(folder), window)
    row = {
        "file": path.name,
        "hours": hours,
        "read_per_core_s": rate["read"],
        "skdh_per_core_s": rate.get("skdh"),
        "ratio": rate["read"] / rate["skdh"] if "skdh" in rate else None,
        "ingest_per_core_s": rate["ingest"],
        "before_mib": before,
        "peak_mib": peak,
        "mb_in_per_h": path.stat().st_size / 1e6 / hours,
        "mb_out_per_h": written / 1e6 / hours,
    }
    return {"ingest": [row], "ingest_projected": [projected(row, sensors) for sensors in (1, 2)]}


def projected(row: dict, sensors: int) -> dict:
    """What `PROJECTED_H` hours of so many sensors would take at the measured rates."""
    sensor_hours = PROJECTED_H * sensors
    core_h = sensor_hours / row["ingest_per_core_s"] / 3600
    return {
        "hours": PROJECTED_H,
        "sensors": sensors,
        "core_h": core_h,
        "node_min": core_h / CORES * 60,
        "gb_in": sensor_hours * row["mb_in_per_h"] / 1000,
        "gb_out": sensor_hours * row["mb_out_per_h"] / 1000,
    }


def whole(path: Path, out: Path, window: float) -> None:
    """Ingests the file, as one person's, in this process."""
    for part in (SHARDS, LABELLED):
        (out / part).mkdir(parents=True)
    person = Person("one", "one", path.parent, (Sensor(path.name, PLACE),))
    ingest_one(person, IngestSettings(Cut(sensors=(PLACE,), window_s=window, stride_s=window)), out)


def _candidates(path: Path, folder: Path, window: float) -> dict[str, Callable[[], Seconds]]:
    calls = iter(range(1_000))

    def read() -> None:
        for _ in raw_files.open_file(path).read(Report()):
            pass

    def ingest() -> None:
        whole(path, folder / str(next(calls)), window)

    candidates = {"read": lambda: timed(read), "ingest": lambda: timed(ingest)}
    try:
        from skdh.io import ReadCwa
    except ModuleNotFoundError:
        print("scikit-digital-health is left out: it is not installed (pip install -e '.[ingest]')", file=sys.stderr)
        return candidates

    def skdh() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of time zones
            ReadCwa().predict(file=str(path))

    if path.name.lower().endswith(".cwa"):
        candidates["skdh"] = lambda: timed(skdh)
    return candidates
