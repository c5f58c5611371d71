"""The processes of one run: small values passed between all of them, without a device and without a compilation."""

import contextlib
import itertools
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax

# The client of the coordination service has no public name; Orbax takes it from here as well.
from jax._src import distributed

from selfpab_jax.train.stop import RunFailed

WAIT_S = 600  # hosts of one job may start minutes apart
LEAVE_S = 3
_NUMBERS = itertools.count()


def is_first() -> bool:
    """Whether this process writes metrics and pictures."""
    return jax.process_index() == 0


def name(process: int, host: str) -> str:
    """How messages call a process."""
    return f"process {process} on {host}"


def gather(value: Any) -> list[Any]:
    """Every process's `value` (plain JSON) in the order of the processes; all must call it, in the same order.

    Raises:
      RunFailed: another process has gone, or does not come within ten minutes.
    """
    if jax.process_count() == 1:
        return [json.loads(json.dumps(value))]
    client, topic = distributed.global_state.client, f"selfpab/{next(_NUMBERS)}"
    try:
        client.key_value_set(f"{topic}/{jax.process_index():08d}", json.dumps(value))
        client.wait_at_barrier(topic, WAIT_S * 1000)
        found = sorted(client.key_value_dir_get(topic))
    except jax.errors.JaxRuntimeError as error:
        raise RunFailed(f"the processes of this run cannot reach one another any more ({first_line(error)})") from error
    return [json.loads(content) for _, content in found]


def from_first(value: Any) -> Any:
    """The first process's `value` (plain JSON), on all of them."""
    return gather(value if is_first() else None)[0]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is done inside succeeds on all processes or raises on all: ValueError naming the first that failed."""
    failure = None
    try:
        yield
    except (ValueError, OSError) as error:
        failure = error
    found = gather(None if failure is None else [socket.gethostname(), str(failure)])
    if failure is not None and len(found) == 1:
        raise failure
    failed = [i for i, said in enumerate(found) if said]
    if failed:
        raise ValueError(f"{name(failed[0], found[failed[0]][0])}: {found[failed[0]][1]}") from failure


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Where this process is one of several, what the runtime raises inside becomes a RunFailed that says so."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise RunFailed(
            f"lost another process, or the way to it ({first_line(error)}); run again with --resume"
        ) from error


def leave(status: int) -> None:
    """Ends this process at once where it is one of several: a clean exit would wait for the others to come along.

    The first one takes the coordination service with it, and what still asks that aborts; so it lets the others, if
    they leave as well, go before.
    """
    if jax.distributed.is_initialized():
        if sys.exc_info()[0]:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        client, deadline = distributed.global_state.client, time.monotonic() + LEAVE_S
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if not is_first():
                client.key_value_set(f"selfpab/left/{jax.process_index()}", "")
                os._exit(status)
            for other in range(1, jax.process_count()):
                left = max(deadline - time.monotonic(), 0)
                client.blocking_key_value_get(f"selfpab/left/{other}", int(1000 * left))
            time.sleep(0.5)  # between their last word and their end
        os._exit(status)


def first_line(error: BaseException) -> str:
    """The first line of a message, short enough to stand inside a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
