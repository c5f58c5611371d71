"""Times and accelerations of a npy file: a two-dimensional array, or one of named fields."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_pipelines.readers.declared_checks import nearest

ROWS = 1 << 17
MARK = b"\x93NUMPY"


def fields(path: Path, columns: Mapping[str, str | int], numeric_time: bool) -> dict[str, str | int]:
    """Checks that the file has the columns and returns them.

    Args:
      columns: role -> the field's name, or the column's number from 0 in an array [S, columns].
      numeric_time: times are numbers; otherwise they must be datetime64.

    Raises:
      ValueError: not a npy file of numbers, or a column is missing.
    """
    array = _array(path)
    named = array.dtype.names
    if array.ndim != (1 if named else 2):
        raise ValueError(
            f"{path}: holds an array of shape {array.shape}, expected [samples, columns], or [samples] of named fields"
        )
    for role, column in columns.items():
        if named and column not in named:
            near = nearest(str(column), named)
            raise ValueError(
                f"{path}: --columns says {role}={column}, but there is no such field"
                + (f", the nearest is {near}" if near else "")
                + f"; expected one of {', '.join(named)}"
            )
        if not named and not (isinstance(column, int) and column < array.shape[1]):
            raise ValueError(
                f"{path}: --columns says {role}={column}, but the {array.shape[1]} columns have no names, expected a "
                f"number from 0 to {array.shape[1] - 1}"
            )
        kind = array.dtype[column] if named else array.dtype
        if role == "time" and not numeric_time:
            if kind.kind != "M":
                raise ValueError(
                    f"{path}: times are {kind}; say with time_unit= in --columns whether they are in s, ms, us or ns"
                )
        elif kind.kind not in "fiu":
            raise ValueError(f"{path}: {role} is {kind}, expected numbers" + _hint(kind))
    return dict(columns)


def rows(path: Path, columns: Mapping[str, str | int]) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
    """Times [N] and acceleration float32 [N, 3], ROWS at once.

    Times are float64 as they stand, int64 microseconds of datetime64, None without such a column. The acceleration of
    a row without time is NaN.
    """
    for first in range(0, len(_array(path)), ROWS):
        # Mapped anew each time: what has been read of a map stays in memory as long as the map.
        array = _array(path)[first : first + ROWS]
        column = {role: array[at] if array.dtype.names else array[:, at] for role, at in columns.items()}
        with np.errstate(over="ignore"):  # infinite, left out as such
            acceleration = np.stack([column[axis].astype(np.float32) for axis in "xyz"], axis=1)
        time = column.get("time")
        if time is not None:
            time = np.array(time, "datetime64[us]" if time.dtype.kind == "M" else np.float64)
            missing = np.isnat(time) if time.dtype.kind == "M" else np.isnan(time)
            acceleration[missing] = np.nan
            time = time.astype(np.int64) if time.dtype.kind == "M" else time
        del array, column
        yield time, acceleration


def _hint(kind: np.dtype) -> str:
    return ", leave time_unit out" if kind.kind == "M" else ""


def _array(path: Path) -> np.ndarray:
    """The file's array, mapped."""
    with open(path, "rb") as file:
        mark = file.read(len(MARK))
    if mark != MARK:
        raise ValueError(f"{path}: not a npy file (it begins with {mark!r}), expected one that numpy.save wrote")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a readable npy file of numbers ({error}): write or copy it again") from error
