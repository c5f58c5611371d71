"""Normalisation statistics that belong to imported weights: the published csv files, or one of our npz files."""

from pathlib import Path

import numpy as np

from selfpab_jax.interop.weight_files import readable


def magnitude_of(folder: Path) -> str:
    """The kind of magnitudes that the folder's statistics are of, "linear" or "log"; of the published csv files linear.

    Raises:
      ValueError: a normalization.npz with statistics of both kinds, or of neither.
    """
    file = folder / "normalization.npz"
    if not file.is_file():
        return "linear"
    with readable(file), file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        kinds = [kind for kind in ("linear", "log") if f"{kind}_mean" in arrays]
    if len(kinds) != 1:
        raise ValueError(
            f"{file} has statistics of {' and '.join(kinds) or 'no known'} magnitudes, and the weights do not tell on "
            "which they were trained: add --magnitude=linear or --magnitude=log"
        )
    return kinds[0]


def read_statistics(folder: Path, magnitude: str) -> dict[str, np.ndarray]:
    """{"<magnitude>_mean", "<magnitude>_std"} float32, from mean.csv and std.csv or from a normalization.npz.

    The csv files are the published ones: one number a line and no header; 156 lines, or 78 for one sensor.

    Raises:
      FileNotFoundError: neither is in the folder; ValueError: not the numbers they should hold.
    """
    found, file = {}, folder / "normalization.npz"
    if file.is_file():
        with readable(file), file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            keys = [key for key in (f"{magnitude}_mean", f"{magnitude}_std") if key in arrays]
            found = {key: arrays[key].astype(np.float64) for key in keys}
        if len(found) < 2:
            raise ValueError(f"{file} has no statistics of {magnitude} magnitudes")
    else:
        for name in ("mean", "std"):
            file = folder / f"{name}.csv"
            if not file.is_file():
                raise FileNotFoundError(f"--norm: found neither {name}.csv nor normalization.npz in {folder}")
            found[f"{magnitude}_{name}"] = _csv_column(file)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        found = {key: values.astype(np.float32) for key, values in found.items()}
    mean, std = found.values()
    alike = mean.ndim == 1 and mean.shape == std.shape and mean.size > 0
    if not alike or not np.isfinite([mean, std]).all() or (std < 0).any():
        raise ValueError(
            f"--norm: {folder} holds {mean.size} means and {std.size} standard deviations, expected as many of both, "
            "finite, and no negative deviation"
        )
    return found


def _csv_column(file: Path) -> np.ndarray:
    values = []
    for number, line in enumerate(file.read_text(errors="replace").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append(float(line))
        except ValueError as error:
            raise ValueError(f"{file} line {number}: found {line[:40]!r}, expected one number a line") from error
    return np.array(values)
