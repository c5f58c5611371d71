"""Each process finds its place from flags or from what SLURM, Kubernetes and TPU runtimes set, and joins the run."""

import os
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from launch import cluster
from launch.cluster import Place, connect, place
from launch.config_line import config_flags
from launch.local import _port as free_port
from launch.schedulers import first_host
from selfpab_jax.train.stop import RunFailed

PROJECT = Path(__file__).resolve().parents[2]
NONE = Namespace(coordinator=None, processes=None, process=None, heartbeat=60)

SLURM = {
    "SLURM_JOB_ID": "1000",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
}
KUBERNETES = {
    "JAX_COORDINATOR_ADDRESS": "run-workers-0-0.run",
    "JAX_COORDINATOR_PORT": "6002",
    "NNODES": "4",
    "JOB_COMPLETION_INDEX": "3",
}
TPU = {"TPU_WORKER_HOSTNAMES": "w0,w1,w2,w3", "TPU_WORKER_ID": "1"}
SLICES = {"MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1", "MEGASCALE_COORDINATOR_ADDRESS": "head:8080"}


def flags(coordinator=None, processes=None, process=None, heartbeat=60) -> Namespace:
    return Namespace(coordinator=coordinator, processes=processes, process=process, heartbeat=heartbeat)


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        (flags("h:1234", 2, 1), {}, Place("h:1234", 2, 1, None, "flags")),
        (flags("h:1234", 2, 1), SLURM, Place("h:1234", 2, 1, None, "flags")),
        (flags("h:1234", 1, 0), SLURM, None),
        (flags("auto"), {}, Place(None, 0, 0, None, "flags")),
        (NONE, {}, None),
        (NONE, SLURM, Place("gpu07:62440", 8, 6, (2,), "SLURM", 2)),  # 61440 + 1000
        (NONE, SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x8)"}, Place("gpu07:62440", 8, 6, None, "SLURM", 2)),
        (NONE, SLURM | {"CUDA_VISIBLE_DEVICES": "0"}, Place("gpu07:62440", 8, 6, None, "SLURM", 2)),
        (NONE, SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, Place("gpu07:62440", 8, 6, (2,), "SLURM", 2)),
        (NONE, SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, None),
        (NONE, {"SLURM_JOB_ID": "1000", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, None),
        (NONE, KUBERNETES, Place("run-workers-0-0.run:6002", 4, 3, None, "Kubernetes", 4)),
        (NONE, KUBERNETES | TPU, Place("run-workers-0-0.run:6002", 4, 3, None, "Kubernetes", 4)),
        (NONE, KUBERNETES | {"JAX_COORDINATOR_ADDRESS": "h:7"}, Place("h:7", 4, 3, None, "Kubernetes", 4)),
        (NONE, {"JOB_COMPLETION_INDEX": "3", "NNODES": "1"}, None),
        (NONE, {"NNODES": "4", "NODE_RANK": "3"}, None),  # torch users export these
        (NONE, TPU, Place("w0:8482", 4, 1, None, "TPU", 4)),
        (NONE, TPU | SLICES, Place("head:8482", 8, 5, None, "TPU", 8)),
        (NONE, TPU | {"JOB_COMPLETION_INDEX": "1"}, Place("w0:8482", 4, 1, None, "TPU", 4)),
        (NONE, {"TPU_WORKER_HOSTNAMES": "localhost", "JOB_COMPLETION_INDEX": "1"}, None),
    ],
)
def test_place(given, environ, expected):
    assert place(given, environ) == expected


@pytest.mark.parametrize(
    ("given", "environ", "words"),
    [
        (flags("h:1234"), {}, "--processes and --process missing"),
        (flags(None, 2, 0), {}, "--coordinator missing"),
        (flags("auto", 2), {}, "--process missing"),
        (flags("h:1234", 2, 2), {}, "process 2 of 2"),
        (flags("h:1234", 2, -1), {}, "process -1 of 2"),
        (flags("h:1234", 0, 0), {}, "process 0 of 0"),
        (flags("h", 2, 0), {}, "'h', expected HOST:PORT"),
        (flags(":1234", 2, 0), {}, "expected HOST:PORT"),
        (flags("h:70000", 2, 0), {}, "expected HOST:PORT"),
        (flags(heartbeat=0), {}, "--heartbeat: found 0"),
        (NONE, {name: SLURM[name] for name in SLURM if name != "SLURM_PROCID"}, "SLURM_PROCID not set"),
        (NONE, {"JOB_COMPLETION_INDEX": "3"}, "JAX_COORDINATOR_ADDRESS not set"),
        (NONE, KUBERNETES | {"NNODES": ""}, "NNODES is not set"),
        (NONE, KUBERNETES | {"JAX_COORDINATOR_PORT": ""}, "JAX_COORDINATOR_PORT not set"),
        (NONE, {"TPU_WORKER_HOSTNAMES": "w0,w1"}, "TPU_WORKER_ID not set"),
        (NONE, TPU | {"MEGASCALE_NUM_SLICES": "2"}, "MEGASCALE_COORDINATOR_ADDRESS and MEGASCALE_SLICE_ID not set"),
    ],
)
def test_half_a_place_is_a_mistake(given, environ, words):
    with pytest.raises(ValueError, match=words):
        place(given, environ)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1,node2", "node1"),
        ("node1", "node1"),
        ("node[001-003,7]", "node001"),
        ("node[007,9],other", "node007"),
        ("a-[1,2]b", "a-1b"),
        ("r[1-2]n[3-4],x[1-2]", "r1n3"),
        ("gpu-a100,node[1-2]", "gpu-a100"),
    ],
)
def test_first_host(nodes, first):
    assert first_host(nodes) == first


def test_ports_of_neighbours_steps_and_restarts_differ():
    jobs = [SLURM | {"SLURM_JOB_ID": str(1000 + i)} for i in range(200)]
    same = [SLURM | {"SLURM_STEP_ID": str(i)} for i in range(1, 4)]
    same += [SLURM | {"SLURM_RESTART_COUNT": str(i)} for i in range(1, 4)]
    ports = [int(place(NONE, environ).coordinator.rpartition(":")[2]) for environ in jobs + same]
    assert len(set(ports)) == len(ports)
    assert all(61000 <= port < 2**16 for port in ports)


def test_the_flags_fit_a_config_job():
    argv = ["--config=configs/selfpab.py:smoke", "--workdir=w", "--coordinator=h:1", "--processes=2", "--process=0"]
    parsed = config_flags("pretrain", argv, cluster.FLAGS)[1]
    assert place(parsed, {}) == Place("h:1", 2, 0, None, "flags")
    assert parsed.heartbeat == 60


def test_a_port_in_use_is_said_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunFailed, match=f"cannot listen at {where}: Address already in use"):
            connect(Place(where, 2, 0, None, "flags"), 10)


def test_an_unreachable_coordinator_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.1)
    with socket.socket() as silent:  # bound, so that nobody else listens there; not listening
        silent.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RunFailed, match=f"no answer from process 0 at {where}: .*refused"):
            connect(Place(where, 2, 1, None, "flags"), 10)


@pytest.mark.parametrize("address", ["127.0.1.1", "::1"])
def test_a_host_name_that_leads_back_is_no_coordinator_of_several_hosts(address, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", (address, 1))])
    with pytest.raises(RunFailed, match=f"node1:61440 is {address} here, this host itself"):
        connect(Place("node1:61440", 2, 1, None, "SLURM", hosts=2), 10)


TWO = f"""
import os, sys
sys.path.insert(0, {str(PROJECT)!r})
os.environ |= {{"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}}
from launch import cluster
cluster.CONNECT_S = float(sys.argv[4])
place = cluster.Place(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), None, "flags")
cluster.connect(place, heartbeat_s=10)
import jax
print(jax.process_index(), jax.process_count(), jax.device_count(), os.environ["no_grpc_proxy"])
"""


def start(port: int, process: int, limit_s: float) -> subprocess.Popen:
    command = [sys.executable, "-c", TWO, f"localhost:{port}", "2", str(process), str(limit_s)]
    environ = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def test_two_processes_join_past_a_web_proxy():
    with free_port() as port:
        both = [start(port, process, 60) for process in (1, 0)]
        results = [child.communicate(timeout=60) for child in both]
    assert [child.returncode for child in both] == [0, 0], results
    assert [out.split() for out, _ in results] == [["1", "2", "4", "localhost"], ["0", "2", "4", "localhost"]]
    assert "proxy" not in "".join(error for _, error in results)


def test_who_waits_in_vain_says_so_in_a_sentence():
    with free_port() as port:
        alone = start(port, 0, 1)
        _, error = alone.communicate(timeout=60)
    assert alone.returncode == 1
    assert f"selfpab: error: not all of 2 processes came to localhost:{port} within 1.0 s" in error
    assert "Check failure" not in error
