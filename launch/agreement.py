"""Whether all processes of a run start from the same config, data, code and packages, and see one run folder."""

import hashlib
import platform
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from launch.config_file import PROJECT
from launch.run_folder import flatten
from selfpab_jax.train import hosts

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "array-record", "numpy", "scipy")
ROOMS = ("configs", "data_pipelines", "launch", "selfpab_jax")
SEEN_S = 30  # network file systems show a new file late
SHOWN = 4  # differences in one message


def check_same(config: Mapping, data_hash: str) -> None:
    """Raises ValueError on all processes unless they agree; nothing has been compiled by then."""
    import jax

    devices = jax.local_devices()
    mine = {f"--config.{name}": value for name, value in flatten(config).items()}
    mine |= {"hash of the data manifest": data_hash, "hash of the project's code": code_hash()}
    mine |= {f"version of {name}": version(name) for name in PACKAGES} | {
        "version of Python": platform.python_version()
    }
    mine |= {"devices": f"{len(devices)} x {devices[0].device_kind}"}
    everyone = hosts.gather([socket.gethostname(), mine])
    if found := differences([facts for _, facts in everyone]):
        process, words = found
        raise ValueError(
            f"{hosts.name(process, everyone[process][0])} differs from the others: {words}; start all processes of a "
            "run with the same command, data and environment"
        )


def differences(facts: Sequence[Mapping]) -> tuple[int, str] | None:
    """(the process that differs most, in which facts), None where all agree.

    The majority is right; where there is none, the lowest process.
    """
    usual = {name: _usual([each.get(name) for each in facts]) for each in facts for name in each}
    odd = [[name for name in usual if each.get(name) != usual[name]] for each in facts]
    process = max(range(len(facts)), key=lambda i: len(odd[i]))
    if not odd[process]:
        return None
    words = [f"{name} is {facts[process].get(name)!r} there, {usual[name]!r} elsewhere" for name in odd[process]]
    more = len(words) - SHOWN
    return process, "; ".join(words[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _usual(values: Sequence) -> object:
    counts = Counter(map(repr, values))
    return max(values, key=lambda value: counts[repr(value)])  # the first of equals


def code_hash() -> str:
    """SHA-256 over the project's Python files, names included."""
    total = hashlib.sha256()
    for file in sorted(file for room in ROOMS for file in (PROJECT / room).rglob("*.py")):
        total.update(str(file.relative_to(PROJECT)).encode() + file.read_bytes())
    return total.hexdigest()


def check_shared(file: Path) -> None:
    """Raises ValueError, on all processes, unless all see `file` as the first process has just written it."""
    written = hosts.from_first(hosts.is_first() and hashlib.sha256(file.read_bytes()).hexdigest())
    with hosts.together():
        deadline = time.monotonic() + SEEN_S
        while not (file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == written):
            if time.monotonic() > deadline:
                raise ValueError(
                    f"--workdir: {file} is not here as the first process wrote it: name a folder on a file system that "
                    "all hosts share"
                )
            time.sleep(0.5)
