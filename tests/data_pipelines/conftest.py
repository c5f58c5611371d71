"""Recordings written as csv files, and what preparing makes of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.manifest import json_bytes, manifest_hash
from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from selfpab_jax.signals.stft import CHANNELS

STUCK = """
import signal, sys, time
sys.path.insert(0, {project!r})
from data_pipelines import shards
from launch import {job}

write, count = shards._write_shard, 0

def stuck(path, *rest):
    global count
    count += 1
    if count > {after}:
        path.with_name(path.name + ".stuck.partial").touch()
        time.sleep(600)
    return write(path, *rest)

shards._write_shard = stuck
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    sys.exit({job}.main())
"""


def _write_csv(path: Path, stretches: list[tuple[float, int]], seed: int = 0) -> None:
    """A csv of stretches (seconds of gap before, samples) of noise around -1 g, labels in turn by minute."""
    rng = np.random.default_rng(seed)
    clock = 1_600_000_000_000_000
    lines = ["timestamp," + ",".join(CHANNELS) + ",label"]
    for gap_s, samples in stretches:
        clock += round(gap_s * 1e6)
        values = rng.normal(0, 0.3, (samples, 6)).round(5)
        values[:, ::3] -= 1
        stamps = (clock + 20_000 * np.arange(samples)).astype("datetime64[us]")
        labels = np.array([1, 6, 7])[np.arange(samples) // 3000 % 3]
        rows = zip(stamps, values.tolist(), labels.tolist(), strict=True)
        lines += [f"{str(t).replace('T', ' ')},{','.join(map(str, v))},{k}" for t, v, k in rows]
        clock += 20_000 * samples
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("csv")
    _write_csv(folder / "S1.csv", [(0, 20_000), (3, 10_000)], 1)  # joined: 30,000 samples
    _write_csv(folder / "S2.csv", [(0, 16_000), (30, 40_000), (6, 2_000)], 2)  # split twice
    _write_csv(folder / "S3.csv", [(0, 9_000)], 3)  # too short for a window
    return folder


@pytest.fixture(scope="session")
def prepare_harth():
    """(input folder, output folder, workers) -> manifest; windows overlap by half."""

    def run(folder: Path, out: Path, workers: int = 1) -> dict:
        settings = PrepareSettings(Cut(stride_s=150))
        return prepare(folder, "harth", out, settings, workers=workers, progress=False)

    return run


@pytest.fixture(scope="session")
def prepared(recordings, prepare_harth, tmp_path_factory) -> Path:
    """The prepared folder of `recordings`, here in place of the synthetic cohort."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare_harth(recordings, out)
    return out


def rewrite(folder: Path, change) -> None:
    """Applies `change` to a prepared folder's manifest and makes its hash right again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    manifest["hash"] = manifest_hash(manifest)
    (folder / "manifest.json").write_bytes(json_bytes(manifest))


@pytest.fixture
def that_gets_stuck(tmp_path):
    """(job, after) -> a program like that job, whose workers write so many shards each and hang at the next one."""

    def write(job: str, after: int) -> Path:
        program = tmp_path / "gets_stuck.py"  # a file, which worker processes read too
        program.write_text(STUCK.format(job=job, after=after, project=str(Path(__file__).parents[2])))
        return program

    return write
