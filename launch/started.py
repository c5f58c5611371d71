"""The start of a pre-training run: everything that can be wrong is found before anything is compiled or written."""

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from data_pipelines.manifest import npz_bytes, read_manifest, read_normalization, write_atomically
from data_pipelines.splits import split_indices
from launch import agreement
from launch.methods import build, check_data, check_run
from launch.run_folder import hold, open_run_folder
from selfpab_jax.models.depth import COMPUTING
from selfpab_jax.models.functional import parameter_count, split
from selfpab_jax.objectives.method import Method
from selfpab_jax.train import hosts, sharding
from selfpab_jax.train.loop import LoopConfig

# What a resumed run may change: where things lie and how they are computed, not what is computed.
MAY_DIFFER = ("data.dir", *(f"mesh.{axis}" for axis in sharding.AXES), *(f"model.{name}" for name in COMPUTING))
MAY_DIFFER += ("train.accumulate", "train.stall_s")


class Start(NamedTuple):
    """What a run begins with: method, mesh, when things happen, window numbers to train and to validate on.

    held: keeps other runs out of the run folder until it is closed.
    """

    method: Method
    mesh: Mesh
    cfg: LoopConfig
    train: np.ndarray
    valid: np.ndarray
    held: contextlib.AbstractContextManager


def start(config: dict, workdir: Path, *, resume: bool) -> Start:
    """Checks config, data and the agreement of all processes, then opens the run folder.

    Raises:
      ValueError, OSError: on all processes, if any of them finds a mistake.
    """
    with hosts.together():
        if "train" not in config:
            raise ValueError("--config: the file describes no pre-training, expected one such as configs/selfpab.py")
        data, cfg = config["data"], LoopConfig(**config["train"])
        mesh = sharding.make_mesh(sharding.MeshConfig(**config.get("mesh", {})))
        sharding.check_divides(data["batch_size"], mesh, cfg.accumulate)
        if not data["dir"]:
            raise ValueError(
                "--config.data.dir is missing: name a folder written by `selfpab prepare` or `selfpab ingest`"
            )
        manifest = read_manifest(data["dir"])
        check_data(config, manifest, data["dir"])
        normalization = read_normalization(data["dir"])
        share = (data["split"], data["valid_fraction"], data["split_seed"])
        train, valid = split_indices(manifest, *share, data["hours"] or None, data.get("hours_by", "window"))
    agreement.check_same(config, manifest["hash"])
    held = contextlib.nullcontext()
    with hosts.together():
        method = build(config, normalization)
        check_run(method, manifest, data)
        if hosts.is_first():
            # The manifest's hash stands for the data: a run is not resumed on other windows.
            described = config | {"data_hash": manifest["hash"]}
            open_run_folder(workdir, described, resume=resume, may_differ=MAY_DIFFER)
            held = hold(workdir)
            write_atomically(workdir / "normalization.npz", npz_bytes(normalization))
            write_atomically(workdir / "data_manifest.json", (Path(data["dir"]) / "manifest.json").read_bytes())
    agreement.check_shared(workdir / "data_manifest.json")
    if hosts.is_first():
        devices = f"{mesh.size} device(s)" + (f" of {jax.process_count()} processes" if jax.process_count() > 1 else "")
        print(
            f"{parameter_count(split(method.model).params):,} parameters on {devices}; {len(train)} windows to train "
            f"on, {len(valid)} to validate on; {cfg.steps} steps of {data['batch_size']} "
            f"({cfg.steps * data['batch_size'] / len(train):.1f} epochs)",
            file=sys.stderr,
        )
    return Start(method, mesh, cfg, train, valid, held)
