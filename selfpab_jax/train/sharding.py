"""One mesh axis, `data`: batches are split along it, the state is replicated."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh(devices=None) -> Mesh:
    """All devices (or the given ones) along the axis `data`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), devices=devices, axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """Rows [B, ...] are split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_divides(batch_size: int, mesh: Mesh) -> None:
    """Raises ValueError unless a batch splits evenly over the mesh."""
    if batch_size < 1 or batch_size % mesh.size:
        raise ValueError(
            f"data.batch_size is {batch_size}, expected a multiple of the {mesh.size} devices; choose such a batch size"
        )


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a global batch as arrays split over all devices."""
    rows = by_row(mesh)
    return {key: jax.make_array_from_process_local_data(rows, value) for key, value in batch.items()}


def abstract(tree: Any) -> Any:
    """`tree` as shapes, dtypes and shardings; on the first device where no sharding is given."""
    first = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or first)
        return jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype, sharding=first)

    return jax.tree.map(one, tree)
