"""What SLURM, Kubernetes and TPU runtimes tell a process about its place, in environment variables."""

import re
from collections.abc import Mapping
from typing import NamedTuple

TPU_PORT = 8482  # jax's own for TPU VMs


class Place(NamedTuple):
    """Where this process stands among those of its run; coordinator None and processes 0: jax is to find out."""

    coordinator: str | None  # host:port
    processes: int
    process: int
    local_devices: tuple[int, ...] | None  # None: all of the host's
    source: str  # flags, SLURM, Kubernetes or TPU
    hosts: int = 1  # flags do not say


def slurm(environ: Mapping[str, str]) -> Place | None:
    """The place of a task of an srun step; None in a step of one task and in the shell of a batch script.

    Raises:
      ValueError: variables that SLURM sets are missing, here as in the other functions.
    """
    if int(environ.get("SLURM_STEP_NUM_TASKS", 1)) < 2:
        return None
    names = ("SLURM_STEP_NODELIST", "SLURM_JOB_ID", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")
    nodes, *numbers = _values(environ, "SLURM", *names)
    job, tasks, task, local = map(int, numbers)
    step, restart = (int(environ.get(name, 0)) for name in ("SLURM_STEP_ID", "SLURM_RESTART_COUNT"))
    # Above the ports that Linux hands out for connections. Jobs that follow one another in the queue get different
    # ports, and so do the steps and restarts of a job: what they replace may still be ending on the same host.
    port = 61440 + (job + 251 * step + 1021 * restart) % 4096
    per_node = re.findall(r"(\d+)(?:\(x\d+\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    # Where SLURM shows each task a GPU of its own (--gpus-per-task), that one has number 0 in every task.
    sees_one = "," not in environ.get("CUDA_VISIBLE_DEVICES", ",")
    devices = (local,) if max(map(int, per_node)) > 1 and not sees_one else None
    hosts = int(environ.get("SLURM_STEP_NUM_NODES", 1))
    return Place(f"{first_host(nodes)}:{port}", tasks, task, devices, "SLURM", hosts)


def first_host(nodes: str) -> str:
    """`r1b` of the SLURM node list `r[1-2,7]b,x`."""
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", re.match(r"(\[[^]]*\]|[^,[])+", nodes)[0])


def tpu(environ: Mapping[str, str]) -> Place | None:
    """The place of a worker of one or several TPU slices; None where there are no TPU workers."""
    slices = int(environ.get("MEGASCALE_NUM_SLICES", 1))
    if slices < 2 and "TPU_WORKER_HOSTNAMES" not in environ:
        return None
    hosts = _values(environ, "TPU", "TPU_WORKER_HOSTNAMES")[0].split(",")
    if slices * len(hosts) == 1:  # not None: what a job of several single hosts has besides says nothing more
        return Place(f"{hosts[0]}:{TPU_PORT}", 1, 0, None, "TPU")
    worker, head, index = _values(environ, "TPU", "TPU_WORKER_ID")[0], hosts[0], "0"
    if slices > 1:
        head, index = _values(environ, "TPU", "MEGASCALE_COORDINATOR_ADDRESS", "MEGASCALE_SLICE_ID")
    count = slices * len(hosts)
    process = int(index) * len(hosts) + int(worker)
    return Place(f"{head.split(':')[0]}:{TPU_PORT}", count, process, None, "TPU", count)


def kubernetes(environ: Mapping[str, str]) -> Place | None:
    """The place of a pod of an indexed job, by the variables that launch/gke/jobset.yaml or XPK set; None elsewhere."""
    if not {"JOB_COMPLETION_INDEX", "JAX_COORDINATOR_ADDRESS"} & environ.keys():
        return None
    count = environ.get("NNODES") or environ.get("JAX_PROCESS_COUNT")
    if count == "1":
        return None
    host, index = _values(environ, "Kubernetes", "JAX_COORDINATOR_ADDRESS", "JOB_COMPLETION_INDEX")
    if not count:
        raise ValueError("Kubernetes: NNODES is not set, expected the number of pods, or 1 where each trains alone")
    address = host if ":" in host else f"{host}:{_values(environ, 'Kubernetes', 'JAX_COORDINATOR_PORT')[0]}"
    return Place(address, int(count), int(index), None, "Kubernetes", int(count))


def _values(environ: Mapping[str, str], source: str, *names: str) -> list[str]:
    """The values of variables that only make sense together."""
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise ValueError(
            f"{source}: {' and '.join(missing)} not set: without, each host would train alone; set what is missing, or "
            "name --coordinator, --processes and --process"
        )
    return [environ[name] for name in names]
