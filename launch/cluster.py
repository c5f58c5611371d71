"""How the processes of one run find each other and join."""

import argparse
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping

from launch.schedulers import Place, kubernetes, slurm, tpu
from selfpab_jax.train.stop import RunFailed

FLAGS: dict[str, dict] = {
    "coordinator": {"metavar": "HOST:PORT", "help": "where process 0 waits for the others; auto: jax asks the TPU VM"},
    "processes": {"metavar": "N", "type": int, "help": "how many processes this run has, over all hosts"},
    "process": {"metavar": "I", "type": int, "help": "which of them this one is, 0 to N-1"},
    "heartbeat": {"metavar": "SECONDS", "type": int, "default": 60},
}
FLAGS["heartbeat"]["help"] = "a process silent for so long counts as dead and ends the others (default: %(default)s)"
# Images pulled and libraries read cold can take longer than jax's own 300 s; a host that never comes should not hold
# the others much longer.
CONNECT_S = 600
SHUTDOWN_S = 30


def place(flags: argparse.Namespace, environ: Mapping[str, str]) -> Place | None:
    """The place of this process, None where it is alone; flags go before the environment.

    Raises:
      ValueError: half of what is needed is there, or out of range; each host would otherwise train alone.
    """
    if flags.heartbeat < 1:
        raise ValueError(f"--heartbeat: found {flags.heartbeat}, expected 1 second or more")
    # XPK names no coordinator for TPUs: their pods have an index, but the host names are in the TPU's own variables.
    others = (kubernetes, tpu) if "JAX_COORDINATOR_ADDRESS" in environ else (tpu, kubernetes)
    found = _flags(flags) or slurm(environ) or others[0](environ) or others[1](environ)
    if not found or not found.coordinator:
        return found
    host, _, port = found.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"{found.source}: the coordinator is {found.coordinator!r}, expected HOST:PORT")
    if not 0 <= found.process < found.processes:
        raise ValueError(f"{found.source}: process {found.process} of {found.processes}, expected 0 to N-1 of N")
    return found if found.processes > 1 else None


def _flags(flags: argparse.Namespace) -> Place | None:
    given = {"--coordinator": flags.coordinator, "--processes": flags.processes, "--process": flags.process}
    missing = [flag for flag in given if given[flag] is None]
    if flags.coordinator == "auto" and len(missing) == 2:
        return Place(None, 0, 0, None, "flags")
    if missing and len(missing) < 3:
        raise ValueError(f"{' and '.join(missing)} missing: --coordinator, --processes and --process go together")
    return None if missing else Place(*given.values(), None, "flags")


def connect(place: Place, heartbeat_s: int) -> None:
    """Joins the run; afterwards jax knows the devices of all processes. Call it before any other use of jax.

    Raises:
      RunFailed: the coordinator's port is taken or unreachable, or its name leads back to this host.
    """
    import jax

    deadline = time.monotonic() + CONNECT_S
    jax.config.update("jax_enable_preemption_service", False)  # its C++ handler would take SIGTERM away from ours
    jax.config.update("jax_check_proxy_envs", False)
    arguments: dict = {"heartbeat_timeout_seconds": heartbeat_s, "shutdown_timeout_seconds": SHUTDOWN_S}
    if place.coordinator:
        host = _reach(place, deadline)
        # gRPC would send what goes between our own hosts through a site's web proxy.
        past = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        os.environ["no_grpc_proxy"] = ",".join(filter(None, (past, host)))
        names = ("coordinator_address", "num_processes", "process_id", "local_device_ids")
        arguments |= dict(zip(names, place[:4], strict=True)) | {"cluster_detection_method": "deactivate"}
    left = max(deadline - time.monotonic(), 1)
    absent = threading.Timer(left, _give_up, (place,))  # before jax aborts with a page of C++ addresses
    absent.start()
    try:
        jax.distributed.initialize(**arguments, initialization_timeout=int(left) + 60)
    except (RuntimeError, ValueError) as error:
        raise RunFailed(f"--coordinator={place.coordinator or 'auto'}: jax cannot join the run: {error}") from error
    finally:
        absent.cancel()
    if place.processes not in (0, jax.process_count()):
        raise RunFailed(f"{place.source}: announced {place.processes} processes, jax sees {jax.process_count()}")


def _reach(place: Place, deadline: float) -> str:
    """The coordinator's host, once its port answers; for process 0, once the port is known to be free."""
    host, port = place.coordinator.replace("[", "").replace("]", "").rsplit(":", 1)
    own_name = host.split(".")[0] == socket.gethostname().split(".")[0]
    while True:
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
            if place.hosts > 1 and not own_name and (address.startswith("127.") or address == "::1"):
                raise RunFailed(f"{place.coordinator} is {address} here, this host itself: mend /etc/hosts")
            if place.process == 0:
                break
            socket.create_connection((host, port), timeout=5).close()
            return host
        except OSError as error:
            if time.monotonic() > deadline:
                raise RunFailed(f"no answer from process 0 at {place.coordinator}: {error}") from error
            time.sleep(0.5)
    try:  # gRPC would share the port with a listener of the same user without a word
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", int(port)))
    except OSError as error:
        raise RunFailed(f"cannot listen at {place.coordinator}: {error.strerror}; choose another port") from error
    return host


def _give_up(place: Place) -> None:
    where = f"{place.processes or 'the'} processes came to {place.coordinator or 'the coordinator'}"
    print(f"selfpab: error: not all of {where} within {CONNECT_S} s", file=sys.stderr, flush=True)
    os._exit(1)
