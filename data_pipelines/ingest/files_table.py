"""A line for each raw file of an ingested folder: what was in it, and what was done to it."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_pipelines.describe import raw_files
from data_pipelines.shards import read_sidecar, sidecar_path

COLUMNS = (
    *("recording", "subject", "place", "file", "device", "nominal_hz", "effective_hz", "range_g", "first", "last"),
    *("samples", "blocks", "bad_blocks", "gaps", "missing_s", "longest_gap_s", "clock_jumps", "largest_jump_s"),
    *("calibration", "error_before_g", "error_after_g", "orientation", "clock", "lag_s", "drift_ppm", "equal_to"),
    "failed",
)


def files_table(folder: str | Path, manifest: Mapping) -> str:
    """csv text with the columns COLUMNS; of files of recordings that failed there is nothing but the reason.

    Args:
      folder: written by `ingest`.
      manifest: of the folder.

    Raises:
      ValueError: the folder is not one of raw files; FileNotFoundError: a sidecar is gone.
    """
    if "failed" not in manifest:
        raise ValueError(f"{folder} was not made of raw files by selfpab ingest, so that no file is described there")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    equal = _equal(manifest)
    for entry in manifest["recordings"]:
        writer.writerows(row | {"equal_to": equal.get(row["file"])} for row in _rows(Path(folder), entry))
    for one in manifest["failed"]:
        row = {"recording": one["name"], "subject": one.get("subject"), "failed": one["reason"]}
        writer.writerows(row | file for file in one.get("files", [{}]))  # earlier releases knew no more
    return text.getvalue()


def _equal(manifest: Mapping) -> dict[str, str]:
    """File -> those of the same content, for files that have such."""
    found = raw_files(manifest)
    groups = found.equal if found else []
    return {file: "; ".join(other for other in group if other != file) for group in groups for file in group}


def _rows(folder: Path, entry: Mapping) -> Iterator[dict]:
    path = sidecar_path(folder, entry["name"])
    sidecar = read_sidecar(path)
    if sidecar is None:
        raise FileNotFoundError(f"{path} does not exist or cannot be read: run selfpab ingest again")
    for place, one in sidecar["sensors"].items():
        report, calibration, clock = one["report"], one["calibration"], one["clock"] or {"status": None}
        corrected = clock if clock["status"] == "aligned" else {}  # else its zeros are no measurement
        yield {
            "recording": entry["name"],
            "subject": entry["subject"],
            "place": place,
            "file": one["file"],
            "device": one["device"],
            "nominal_hz": one["rate_hz"],
            "effective_hz": report["effective_rate_hz"],
            "range_g": one["range_g"],
            "first": str(np.datetime64(report["first_us"], "us")),
            "last": str(np.datetime64(report["last_us"], "us")),
            **{name: report[name] for name in ("samples", "blocks", "gaps", "clock_jumps")},
            **{name: _round(report[name], 3) for name in ("missing_s", "longest_gap_s", "largest_jump_s")},
            "bad_blocks": "; ".join(f"{count} {reason}" for reason, count in report["bad_blocks"].items()),
            "calibration": calibration["status"],
            "error_before_g": _round(calibration["error_before_g"], 5),
            "error_after_g": _round(calibration["error_after_g"], 5),
            "orientation": one["orientation"]["status"],
            "clock": clock["status"],
            "lag_s": _round(corrected.get("offset_s"), 3),
            "drift_ppm": _round(corrected.get("drift_ppm"), 2),
        }


def _round(value: float | None, digits: int) -> float | None:
    """None, an empty cell, stays None."""
    return None if value is None else round(value, digits)
