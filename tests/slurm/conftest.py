"""A SLURM of this machine's own, for the tests of this folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
CLUSTER = Path(__file__).with_name("cluster.sh")
MISSING = [
    name
    for name in ("sbatch", "slurmctld", "slurmd", "munged")
    if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
]

ON_SLURM = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"no {', '.join(MISSING)}: apt-get install slurmctld slurmd slurm-client munge"
    ),
    pytest.mark.skipif(not MISSING and os.geteuid() != 0, reason="the daemons of SLURM need root"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """(command, more...) -> what it prints, on a cluster of this machine that is there for a file of tests."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run(["bash", CLUSTER, "start", folder], check=True)
    environ = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

    def call(*command: str, **more: str) -> str:
        ran = subprocess.run(command, env=environ | more, cwd=PROJECT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    try:
        yield call
    finally:
        subprocess.run(["scancel", "--user=root", "--full"], env=environ, check=False)
        subprocess.run(["bash", CLUSTER, "stop", folder], check=True)
