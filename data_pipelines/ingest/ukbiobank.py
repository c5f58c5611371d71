"""UK Biobank's recordings, one a file: the .cwa files that it hands out, or what its processing tool makes of them."""

from pathlib import Path

import numpy as np

from data_pipelines.contract import Recording
from data_pipelines.ingest.calibration import apply, calibrate
from data_pipelines.ingest.survey import survey
from data_pipelines.raw import CHANGED, Report
from data_pipelines.readers import raw_files, ukbiobank

EXPECTED = "files like 1000001_90001_0_0.cwa or 1000001_90001_0_0.csv.gz"


def recording_files(folder: str | Path) -> dict[str, Path]:
    """Name -> csv, csv.gz, .cwa or .cwa.gz file in order of the names; the csv one where there are both.

    Raises:
      ValueError: a packed and an unpacked file of one name.
    """
    found = ukbiobank.recording_files(folder, raw_files.AXIVITY) | ukbiobank.recording_files(folder)
    return dict(sorted(found.items()))


def read(path: str | Path) -> Recording:
    """The recording, channels wrist_x .. wrist_z, without labels; gaps left in.

    That of a .cwa file has the device's own rate and clock, and is calibrated by gravity where it allows that.

    Raises:
      ValueError, OSError: naming the file that cannot be used.
    """
    path = Path(path)
    if not path.name.endswith(raw_files.AXIVITY):
        return ukbiobank.read(path)
    file, report = raw_files.open_file(path), Report()
    found = survey(file.read(report), file.rate_hz, file.range_g)
    report.check(path, file.rate_hz)
    calibration = calibrate(found.mean, found.std, found.temperature, found.complete, found.clipped)
    acceleration, time, done = np.empty((report.samples, 3), np.float32), np.empty(report.samples, np.int64), 0
    for piece in file.read(Report()):
        part = slice(done, done + len(piece.time))
        done = part.stop
        if done <= len(time):
            time[part] = piece.time
            acceleration[part] = apply(piece.acceleration, piece.temperature, calibration)
    if done != len(time):
        raise ValueError(CHANGED.format(path))
    name = path.name.split(".")[0]
    subject = ukbiobank.participant(name)
    return Recording(subject, name, acceleration, time, channels=ukbiobank.CHANNELS, rate_hz=file.rate_hz)
