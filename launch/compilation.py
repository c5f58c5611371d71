"""Compiled programs kept on disk, so that a run that starts again need not compile them anew."""

import os
from collections import Counter
from pathlib import Path

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"  # told of every program, one read from disk too
FROM_CACHE = "/jax/compilation_cache/cache_hits"
_COUNTS: Counter[str] = Counter()


def keep_compiled() -> None:
    """Switches the persistent compilation cache on; called before anything is compiled, after connecting processes.

    A folder named by JAX_COMPILATION_CACHE_DIR (or jax.config) is used as it is. Else accelerators get
    selfpab_jax/compiled in $XDG_CACHE_HOME or ~/.cache, and CPUs none.
    """
    if not _COUNTS:
        _COUNTS.update({COMPILED: 0, FROM_CACHE: 0})
        jax.monitoring.register_event_listener(lambda event, **_: _count(event))
        jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: _count(event))
    # A program compiled for one type of CPU may crash on another, and hosts of several types share a home folder.
    if jax.config.jax_compilation_cache_dir is None and jax.default_backend() != "cpu":
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(caches / "selfpab_jax" / "compiled"))


def report() -> str:
    """How many programs since `keep_compiled` came from the cache, and how many were compiled anew."""
    found = _COUNTS[FROM_CACHE]
    where = jax.config.jax_compilation_cache_dir or "none (JAX_COMPILATION_CACHE_DIR names one)"
    return f"{found} programs from the compilation cache, {_COUNTS[COMPILED] - found} compiled anew; cache: {where}"


def _count(event: str) -> None:
    if event in _COUNTS:
        _COUNTS[event] += 1
