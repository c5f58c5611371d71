"""Ingest as an array of tasks on a real SLURM: one result, as if one process had done it."""

import shlex
import sys
import time

from data_pipelines.ingest import run
from tests.data_pipelines.ingest.conftest import SETTINGS, cohort, contents, persons  # noqa: F401
from tests.slurm.conftest import ON_SLURM

pytestmark = ON_SLURM


def test_an_array_gives_the_bytes_of_one_process(slurm, cohort, persons, tmp_path):  # noqa: F811
    out, whole = tmp_path / "out", tmp_path / "whole"
    flags = [f"--input={cohort / 'raw'}", f"--pairs={cohort / 'pairs.csv'}", f"--out={out}", "--window=60"]
    engine = ["--engine=slurm", "--tasks=3", "--", "--cpus-per-task=1", f"--output={tmp_path}/log-%A-%a"]
    run.ingest(persons, SETTINGS, whole, run.local(1), progress=False)
    for _ in range(2):  # the second array finds a shard gone, and nothing that says so
        said = slurm(sys.executable, "-m", "launch", "ingest", *flags, *engine)
        assert said.startswith("Submitted batch job ")
        end = time.monotonic() + 120
        while not (out / "manifest.json").exists() or slurm("squeue", "--noheader"):
            assert time.monotonic() < end, [log.read_text() for log in tmp_path.glob("log-*")]
            time.sleep(0.5)
        assert contents(out) == contents(whole)
        (out / "shards" / "b.array_record").unlink()
    refused = shlex.join([sys.executable, "-m", "launch", "ingest", *flags, "--engine=slurm", "--", "--partition=none"])
    assert "sbatch refused" in slurm("sh", "-c", f"{refused} 2>&1 || true")
    assert (out / "manifest.json").exists()
