"""What a saved state must look like: crc32, shape and dtype of every leaf, and the comparisons with them."""

import json
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Records = dict[str, dict[str, Any]]  # {'/'-joined path: {"crc32", "shape", "dtype"}}


class Damaged(Exception):
    """What is on disk is not what was saved; the message tells what differs."""


def named_leaves(tree: Any) -> dict[str, Any]:
    """{'/'-joined path: leaf}, in the order of the tree; ValueError if two leaves would share a path."""
    leaves: dict[str, Any] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        if path in leaves:
            raise ValueError(f"state: found two leaves named {path!r}, expected distinct names; rename one.")
        leaves[path] = leaf
    return leaves


def host_arrays(tree: Any) -> dict[str, np.ndarray]:
    """{path: array in host memory}: copied from an accelerator, a view on CPU; safe from donation either way.

    XLA's CPU client does not reuse a buffer that a view holds: a step that donates it gets fresh memory.
    """
    leaves = {path: _one_replica(leaf) for path, leaf in named_leaves(tree).items()}
    for leaf in leaves.values():
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()  # start all transfers before waiting for the first
    # A caller may go on writing into its own numpy arrays, never into a jax.Array.
    return {path: np.asarray(leaf) if isinstance(leaf, jax.Array) else np.array(leaf) for path, leaf in leaves.items()}


def _one_replica(leaf: Any) -> Any:
    replicated = isinstance(leaf, jax.Array) and leaf.is_fully_replicated
    return leaf.addressable_shards[0].data if replicated else leaf


def leaf_record(array: np.ndarray) -> dict[str, Any]:
    """{"crc32", "shape", "dtype"} of one array; the crc32 is over its bytes in row-major order."""
    # Viewed as bytes because the buffer protocol knows no bfloat16.
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # [bytes]
    return {"crc32": zlib.crc32(flat), "shape": list(array.shape), "dtype": array.dtype.name}


def json_crc32(value: Any) -> int:
    """crc32 of the canonical JSON of `value`: the same before writing and after reading."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def checksum_table(step: int, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> dict[str, Any]:
    """{"step", "leaves": records, "meta_crc32", "table_crc32"}; the last one guards the table itself."""
    leaves = {path: leaf_record(array) for path, array in arrays.items()}
    table = {"step": step, "leaves": leaves, "meta_crc32": json_crc32(meta)}
    return {**table, "table_crc32": json_crc32(table)}


def read_verified(step: int, table_file: Path, meta_file: Path) -> tuple[Records, dict[str, Any]]:
    """(records, meta) as they were written, or Damaged."""
    try:
        table, meta = json.loads(table_file.read_bytes()), json.loads(meta_file.read_bytes())
        table_crc32 = table.pop("table_crc32")
        if table_crc32 != json_crc32(table) or table["step"] != step:
            raise Damaged("its list of checksums does not match its own checksum")
        if table["meta_crc32"] != json_crc32(meta):
            raise Damaged("its meta does not match its checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"its checksums or meta cannot be read ({one_line(error)})") from error
    return table["leaves"], meta


def refuse_non_finite(step: int, arrays: dict[str, np.ndarray]) -> None:
    """Raises ValueError naming the first leaf with a NaN or an infinity."""
    for path, array in arrays.items():
        if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array).all():
            raise ValueError(
                f"state: found a non-finite value in leaf {path} at step {step}, expected finite values; "
                "nothing was saved, look at the steps before."
            )


def refuse_other_leaves(where: Path, saved: Records, target: Any) -> None:
    """Raises ValueError unless `target` (leaves with shape and dtype) is the saved tree, leaf by leaf."""
    wanted = named_leaves(target)
    advice = "use the config this checkpoint was made with"
    if missing := sorted(set(wanted) - set(saved)):
        raise ValueError(f"{where}: found no leaf {_some(missing)}, expected by the target; {advice}.")
    if extra := sorted(set(saved) - set(wanted)):
        raise ValueError(f"{where}: found leaf {_some(extra)}, not expected by the target; {advice}.")
    for path, leaf in wanted.items():
        found, expected = tuple(saved[path]["shape"]), tuple(leaf.shape)
        if found != expected:
            raise ValueError(f"{where}: leaf {path}: found shape {found}, expected {expected}; {advice}.")
        found, expected = saved[path]["dtype"], leaf.dtype.name
        if found != expected:
            raise ValueError(f"{where}: leaf {path}: found dtype {found}, expected {expected}; {advice}.")


def refuse_wrong_values(saved: Records, arrays: dict[str, np.ndarray]) -> None:
    """Raises Damaged naming the first leaf whose bytes are not the ones that were saved."""
    for path, array in arrays.items():
        if leaf_record(array) != saved[path]:
            raise Damaged(f"leaf {path} does not match its checksum")


def as_json(meta: dict[str, Any]) -> dict[str, Any]:
    """`meta` as it will be read back; ValueError if JSON cannot hold it."""
    try:
        return json.loads(json.dumps(meta))
    except TypeError as error:
        raise ValueError(f"meta: found {error}, expected what JSON can hold; convert it first.") from error


def one_line(error: BaseException) -> str:
    """Type and message of an exception, short enough to stand inside a sentence."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
