"""What a saved state must look like: shape, dtype and crc32 of the parts of every leaf, and the comparisons."""

import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

EARLIER = "checksums.json"  # the one table of checkpoints from before several processes could save: of whole leaves
Records = dict[str, dict[str, Any]]  # {'/'-joined path: {"shape", "dtype", "parts": [{"start", "shape", "crc32"}]}}


class Leaf(NamedTuple):
    """A leaf of the state, and the parts of it that this process holds: (first index on each axis, values)."""

    shape: tuple[int, ...]
    dtype: str
    parts: list[tuple[tuple[int, ...], np.ndarray]]


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


def own_parts(tree: Any) -> dict[str, Leaf]:
    """What this process saves of a tree: of each leaf the parts whose first copy lies on its devices, in host memory.

    Copied from an accelerator, a view on CPU; safe from donation either way: XLA's CPU client does not reuse a buffer
    that a view holds.
    """
    found = {
        path: (tuple(np.shape(leaf)), _dtype(leaf), _first_copies(leaf)) for path, leaf in named_leaves(tree).items()
    }
    for _, _, parts in found.values():
        for _, values in parts:
            if isinstance(values, jax.Array):
                values.copy_to_host_async()  # start all transfers before waiting for the first
    return {path: Leaf(*facts, [(at, np.asarray(v)) for at, v in parts]) for path, (*facts, parts) in found.items()}


def _dtype(leaf: Any) -> str:
    return np.asarray(leaf).dtype.name if not hasattr(leaf, "dtype") else leaf.dtype.name


def _first_copies(leaf: Any) -> list[tuple[tuple[int, ...], Any]]:
    if not isinstance(leaf, jax.Array):
        return [((0,) * np.ndim(leaf), np.array(leaf))]  # the caller may go on writing into its own array
    shards = [shard for shard in leaf.addressable_shards if shard.replica_id == 0]
    return [(tuple(axis.start or 0 for axis in shard.index), shard.data) for shard in shards]


def part_record(start: tuple[int, ...], values: np.ndarray) -> dict[str, Any]:
    """{"start", "shape", "crc32"} of a part of a leaf; the crc32 is over its bytes in row-major order."""
    # Viewed as bytes because the buffer protocol knows no bfloat16.
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)  # [bytes]
    return {"start": list(start), "shape": list(values.shape), "crc32": zlib.crc32(flat)}


def json_crc32(value: Any) -> int:
    """crc32 of the canonical JSON of `value`: the same before writing and after reading."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def checksum_table(step: int, leaves: dict[str, Leaf], meta: dict[str, Any]) -> dict[str, Any]:
    """{"step", "processes", "leaves": records, "meta_crc32", "table_crc32"}; the last one guards the table itself."""
    records = {
        path: {"shape": list(leaf.shape), "dtype": leaf.dtype, "parts": [part_record(*part) for part in leaf.parts]}
        for path, leaf in leaves.items()
    }
    table = {"step": step, "processes": jax.process_count(), "leaves": records, "meta_crc32": json_crc32(meta)}
    return {**table, "table_crc32": json_crc32(table)}


def read_verified(step: int, tables: Path, meta_file: Path) -> tuple[Records, dict[str, Any]]:
    """(records, meta) as they were written, or Damaged.

    Args:
      tables: folder with the table of each process that took part in saving, `<process>.json`.
    """
    records: Records = {}
    try:
        meta, count, number = json.loads(meta_file.read_bytes()), 1, 0
        earlier = (tables / EARLIER).exists()
        while number < count:
            table = json.loads((tables / (EARLIER if earlier else f"{number}.json")).read_bytes())
            table_crc32 = table.pop("table_crc32")
            if table_crc32 != json_crc32(table) or table["step"] != step:
                raise Damaged("its list of checksums does not match its own checksum")
            if table["meta_crc32"] != json_crc32(meta):
                raise Damaged("its meta does not match its checksum")
            for path, record in table["leaves"].items():
                known = records.setdefault(path, {"shape": record["shape"], "dtype": record["dtype"], "parts": []})
                if earlier:
                    start = [0] * len(record["shape"])
                    known["parts"] += [{"start": start, "shape": record["shape"], "crc32": record["crc32"]}]
                else:
                    known["parts"] += record["parts"]
            number, count = number + 1, 1 if earlier else table["processes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"its checksums or meta cannot be read ({one_line(error)})") from error
    return records, meta


def refuse_non_finite(step: int, leaves: dict[str, Leaf]) -> None:
    """Raises ValueError naming the first leaf with a NaN or an infinity."""
    for path, leaf in leaves.items():
        for _, values in leaf.parts:
            if jnp.issubdtype(values.dtype, jnp.inexact) and not np.isfinite(values).all():
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
    """Raises Damaged naming the first leaf whose bytes are not, or not all, the ones that were saved."""
    for path, array in arrays.items():
        record, covered = saved[path], 0
        for part in record["parts"]:
            at = tuple(slice(start, start + size) for start, size in zip(part["start"], part["shape"], strict=True))
            covered += array[at].size
            if part_record(tuple(part["start"]), array[at]) != part:
                raise Damaged(f"leaf {path} does not match its checksum")
        # Parts do not overlap, each was the first copy of its own place.
        if covered != array.size or (list(array.shape), array.dtype.name) != (record["shape"], record["dtype"]):
            raise Damaged(f"leaf {path} does not match its checksums")


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
