"""The meshes of devices that the benchmark measures on."""

from collections.abc import Mapping, Sequence

import jax
from jax.sharding import Mesh

from launch.methods import entry
from selfpab_jax.train import sharding


def meshes(asked: Sequence[Mapping[str, int]]) -> list[Mesh]:
    """The meshes asked for, each of the first devices; by default one CPU device, or all accelerators.

    Raises:
      ValueError: fewer devices than a mesh needs.
    """
    devices, found = jax.devices(), []
    on_cpu = jax.default_backend() == "cpu"
    for axes in asked or [{"data": 1 if on_cpu else len(devices)}]:
        cfg = sharding.MeshConfig(**axes)
        count = cfg.data * cfg.fsdp * cfg.tensor or len(devices)
        if count > len(devices):
            more = f" or set XLA_FLAGS=--xla_force_host_platform_device_count={count}" if on_cpu else ""
            named = ",".join(f"{axis}={size}" for axis, size in axes.items())
            raise ValueError(f"--mesh {named} needs {count} devices, found {len(devices)}: choose a smaller mesh{more}")
        found.append(sharding.make_mesh(cfg, devices[:count]))
    return found


def on_one_cpu(found: Sequence[Mesh]) -> bool:
    """Whether a mesh among them is one CPU device, as PyTorch's side is."""
    return jax.default_backend() == "cpu" and any(mesh.size == 1 for mesh in found)


def check(config: Mapping, found: Sequence[Mesh], batches: Sequence[int]) -> None:
    """Raises ValueError unless the config describes a pre-training and each batch divides over each mesh."""
    entry(config)
    for mesh in found:
        for batch in batches:
            sharding.check_divides(batch, mesh, config["train"]["accumulate"])
