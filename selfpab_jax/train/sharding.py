"""Three mesh axes: rows are split over `data` and `fsdp`, large arrays of the state over `fsdp` and `tensor`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

AXES = ("data", "fsdp", "tensor")
ROWS = PartitionSpec(("data", "fsdp"))
SMALLEST_SPLIT = 2**12  # values: smaller arrays stay whole, gathering them costs more than they take

# End of a parameter's path -> (axis, pieces along it that must stay whole, such as heads).
TensorSplit = Mapping[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How many devices share what; their product is the number of devices.

    Attributes:
      data: copies of the state that see different rows; 0: as many as the devices allow.
      fsdp: devices that see different rows, and over which parameters and optimizer state are split.
      tensor: devices over which attention heads and feed-forward parts are split.
    """

    data: int = 0
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value < (least := 0 if name == "data" else 1):
                raise ValueError(f"mesh.{name} is {value}, expected {least} or more")


def make_mesh(cfg: MeshConfig = MeshConfig(), devices=None) -> Mesh:
    """All devices of all processes (or the given ones) as a mesh of the axes `data`, `fsdp` and `tensor`.

    Raises:
      ValueError: another number of devices than the mesh has places.
    """
    devices = jax.devices() if devices is None else devices
    shape = (cfg.data or len(devices) // (cfg.fsdp * cfg.tensor), cfg.fsdp, cfg.tensor)
    if math.prod(shape) != len(devices):
        asked = " x ".join(f"{name} {size}" for name, size in dataclasses.asdict(cfg).items())
        raise ValueError(
            f"mesh is {asked}, but there are {len(devices)} device(s): choose factors of that number (data 0 takes "
            "what the others leave)"
        )
    return jax.make_mesh(shape, AXES, devices=devices, axis_types=(AxisType.Auto,) * len(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """Rows [B, ...] are split over the devices of `data` and `fsdp`."""
    return NamedSharding(mesh, ROWS)


def row_shards(mesh: Mesh) -> int:
    """Into how many parts the rows of a batch are split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def check_divides(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Raises ValueError unless each of `accumulate` parts of a batch splits evenly over the mesh."""
    shards = row_shards(mesh)
    if batch_size < 1 or batch_size % (shards * accumulate):
        parts = f", times train.accumulate {accumulate}" if accumulate > 1 else ""
        raise ValueError(
            f"data.batch_size is {batch_size}, expected a multiple of the {shards} device(s) that share its "
            f"rows{parts}; choose such a batch size"
        )


def by_shape(tree: Any, mesh: Mesh, tensor_split: TensorSplit) -> Any:
    """The sharding of every leaf of a state: a tree like `tree` (arrays or shapes) of `NamedSharding`.

    A leaf named in `tensor_split` is split over `tensor` along its axis, where the pieces divide. Each leaf of some
    size is then split over `fsdp` along the longest of its other axes that divides; else it is whole on each device.
    The moments of the optimizer follow their parameters, because their paths end like theirs.
    """

    fsdp, tensor = mesh.shape["fsdp"], mesh.shape["tensor"]

    def one(keys, leaf) -> NamedSharding:
        path, spec = jax.tree_util.keystr(keys, simple=True, separator="/"), [None] * leaf.ndim
        for end, (axis, pieces) in tensor_split.items():
            if f"/{path}".endswith(f"/{end}") and tensor > 1 and pieces % tensor == 0:
                spec[axis] = "tensor"
        free = [i for i, size in enumerate(leaf.shape) if spec[i] is None and size % fsdp == 0]
        if free and fsdp > 1 and leaf.size >= SMALLEST_SPLIT:
            spec[max(free, key=lambda i: leaf.shape[i])] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(one, tree)


def rows_of_process(mesh: Mesh, rows: int) -> np.ndarray:
    """Which rows of a global batch of `rows` this process feeds to its devices, ascending."""
    indices = by_row(mesh).addressable_devices_indices_map((rows,)).values()
    return np.unique(np.concatenate([np.arange(rows)[index] for index in indices]))


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh, rows: int) -> dict[str, jax.Array]:
    """This process's rows (`rows_of_process`) of a global batch of `rows`, as arrays over all devices."""
    mine, sharding = rows_of_process(mesh, rows), by_row(mesh)
    # Explicit transfers, which a transfer guard around the training loop allows.
    places = {}
    for device, index in sharding.addressable_devices_indices_map((rows,)).items():
        start, stop, _ = index[0].indices(rows)
        first = np.searchsorted(mine, start)
        places[device] = slice(first, first + stop - start)

    def place(value: np.ndarray) -> jax.Array:
        parts = [jax.device_put(value[at], device) for device, at in places.items()]
        return jax.make_array_from_single_device_arrays((rows, *value.shape[1:]), sharding, parts)

    return {name: place(value) for name, value in batch.items()}


def flags(mesh: Mesh) -> dict[bool, jax.Array]:
    """{False: ..., True: ...}: a bool for each device. Each process passes its own word to a step, which hears all."""
    spread = NamedSharding(mesh, PartitionSpec(AXES))
    return {
        word: jax.make_array_from_callback((mesh.size,), spread, lambda _, w=word: np.array([w]))
        for word in (False, True)
    }


def on_host(tree: Any, mesh: Mesh) -> Any:
    """NumPy arrays of a state spread over the mesh, whole on every process; all processes must call it."""
    gather = jax.jit(lambda same: same, out_shardings=replicated(mesh))
    # Leaf by leaf: a device that holds a part of the state need not have room for all of it.
    return jax.tree.map(lambda leaf: np.asarray(leaf if leaf.is_fully_replicated else gather(leaf)), tree)


def spread(tree: Any, target: Any) -> Any:
    """NumPy arrays, whole on every process, as arrays with the shardings of `target`."""

    def one(values: np.ndarray, wanted: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.make_array_from_callback(wanted.shape, wanted.sharding, lambda index: values[index])

    return jax.tree.map(one, tree, target)


def abstract(tree: Any) -> Any:
    """`tree` as shapes, dtypes and shardings; on the first device where no sharding is given."""
    first = SingleDeviceSharding(jax.local_devices()[0])

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or first)
        return jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype, sharding=first)

    return jax.tree.map(one, tree)
