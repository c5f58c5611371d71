"""What is shipped for SLURM, Kubernetes and TPUs parses, and sets the variables that are read."""

import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from launch.cluster import Place, place
from launch.config_line import config_flags

PROJECT = Path(__file__).resolve().parents[2]
LAUNCH = PROJECT / "launch"
SCRIPTS = [
    *LAUNCH.glob("slurm/*"),
    *LAUNCH.glob("gke/*.sh"),
    *LAUNCH.glob("tpu/*.sh"),
    *PROJECT.glob("tests/slurm/*.sh"),
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_the_pods_of_the_jobset_find_their_places():
    yaml = pytest.importorskip("yaml")
    jobset = yaml.safe_load((LAUNCH / "gke" / "jobset.yaml").read_text())
    [workers] = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    environ = {variable["name"]: variable["value"] for variable in container["env"]}
    assert job["completions"] == job["parallelism"] == 2
    assert job["completionMode"] == "Indexed"  # Kubernetes then sets JOB_COMPLETION_INDEX
    first_pod = f"{jobset['metadata']['name']}-{workers['name']}-0-0.{jobset['metadata']['name']}"
    flags = Namespace(coordinator=None, processes=None, process=None, heartbeat=60)
    for index in (0, 1):
        found = place(flags, environ | {"JOB_COMPLETION_INDEX": str(index)})
        assert found == Place(f"{first_pod}:6002", 2, index, None, "Kubernetes", 2)
    assert container["ports"] == [{"containerPort": 6002}]
    python, _, package, name, *argv = container["command"]
    assert (python, package, name) == ("python", "launch", "pretrain")
    assert config_flags("pretrain", argv)[1].resume


def scaling(tmp_path: Path, task: int, *more: str) -> subprocess.CompletedProcess:
    """Runs scaling.sbatch with a stand-in for srun that shows its arguments."""
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DATA": "/data", "RUNS": "/runs", "SLURM_ARRAY_TASK_ID": str(task)}
    environ |= {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5"}
    command = ["bash", "launch/slurm/scaling.sbatch", *more]
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize(("task", "hours", "seed"), [(0, 10, 0), (1, 10, 1), (3, 100, 0), (14, 100000, 2)])
def test_each_task_of_the_array_is_one_run(tmp_path, task, hours, seed):
    ran = scaling(tmp_path, task, "--config.train.steps=9")
    assert ran.returncode == 0, ran.stderr
    _, argv = ran.stdout.split("pretrain\n")
    expected = ["--config=configs/selfpab.py", "--config.data.dir=/data", f"--workdir=/runs/hours-{hours}-seed-{seed}"]
    expected += ["--resume", f"--config.data.hours={hours}", f"--config.seed={seed}", "--config.train.steps=9"]
    assert argv.split() == expected
    config, _ = config_flags("pretrain", argv.split())
    assert (config.data.hours, config.seed) == (hours, seed)


def test_the_array_is_as_long_as_there_are_runs(tmp_path):
    assert "#SBATCH --array=0-14 " in (LAUNCH / "slurm" / "scaling.sbatch").read_text()
    too_far = scaling(tmp_path, 15)
    assert too_far.returncode == 2
    assert "there are only 15 runs" in too_far.stderr
