"""From weights trained elsewhere to a run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.manifest import json_bytes, npz_bytes, write_atomically
from launch.run_folder import IMPORTED, POSITIONS
from selfpab_jax.interop.exports import write_whole
from selfpab_jax.signals.stft import N_BINS, SENSORS, sensor_channels
from selfpab_jax.train.checkpoint import Checkpoints


def chosen_sensors(given: list[str] | None, told: list[str] | None, features: int, where: str) -> list[str]:
    """The sensors that an encoder of so many features looks at.

    Args:
      given: by the caller. told: by the file.

    Raises:
      ValueError: it is open which, or the three contradict each other.
    """
    if given and told and given != told:
        named, made = " and ".join(given), " and ".join(told)
        raise ValueError(f"--sensors names {named}, but {where} was made for {made}: leave the flag out")
    of_one = features_of(SENSORS[:1])
    sensors = given or told or (list(SENSORS) if features == features_of(SENSORS) else None)
    if sensors is None and features == of_one:
        raise ValueError(
            f"{where} takes {features} features, those of one sensor (MonoSelfPAB), and does not tell which: add "
            "--sensors=back or --sensors=thigh; imported twice it serves both"
        )
    if sensors is None or features != features_of(sensors):
        expected = f"{of_one} for one sensor (MonoSelfPAB), {features_of(SENSORS)} for both (SelfPAB)"
        found = f"{where} takes {features} features" + (f", --sensors names {' and '.join(sensors)}" if given else "")
        raise ValueError(f"{found}; expected {expected}")
    return sensors


def features_of(sensors: Sequence[str]) -> int:
    """Spectrogram features of these sensors."""
    channels = sensor_channels(sensors)
    return (channels.stop - channels.start) * N_BINS


def write_imported(
    folder: Path,
    config: Mapping,
    normalization: Mapping[str, np.ndarray],
    params: Mapping,
    positions: np.ndarray | None,
    source: Mapping,
) -> None:
    """A run folder of parameters trained elsewhere, whole or not at all.

    Args:
      normalization: {} where the statistics are not known.
      positions: kept for exports, None where ours are the same.
      source: where the parameters come from, and the training `step`.
    """

    def write(draft: Path) -> None:
        draft.mkdir()
        write_atomically(draft / "config.json", json_bytes(config))
        write_atomically(draft / IMPORTED, json_bytes(source))
        if normalization:
            write_atomically(draft / "normalization.npz", npz_bytes(normalization))
        if positions is not None:
            np.save(draft / POSITIONS, positions, allow_pickle=False)
        with Checkpoints(draft / "checkpoints") as checkpoints:
            checkpoints.save(source["step"], {"params": params, "model_state": {}}, {"config": config}, wait=True)

    if folder.is_dir():
        folder.rmdir()  # an empty one would keep the new one from taking its place
    write_whole(folder, write)
