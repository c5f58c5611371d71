"""Which reader opens which raw sensor file, by the end of its name."""

from pathlib import Path

from data_pipelines.raw import RawFile
from data_pipelines.readers import axivity, declared, geneactiv
from data_pipelines.readers.declared import Declared

AXIVITY, GENEACTIV, DECLARED = (".cwa", ".cwa.gz"), (".bin",), (".csv", ".csv.gz", ".npy")
ENDINGS = AXIVITY + GENEACTIV + DECLARED


def open_file(path: Path, columns: Declared | None = None) -> RawFile:
    """The raw file with its header read.

    Args:
      path: one of ENDINGS.
      columns: what the columns of a csv or npy file are.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that the reader cannot use, or a csv or npy file without `columns`.
    """
    name = path.name.lower()
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if not path.stat().st_size:
        raise ValueError(f"{path}: is empty (0 bytes): copy it again")
    if name.endswith(AXIVITY):
        return axivity.open_file(path)
    if name.endswith(GENEACTIV):
        return geneactiv.open_file(path)
    if not name.endswith(DECLARED):
        raise ValueError(f"{path}: no raw sensor file, expected a name that ends in {', '.join(ENDINGS)}")
    if columns is None:
        raise ValueError(
            f"{path}: say with --columns, or in the pairing table's column columns, what its columns are, such as "
            "time=time,x=x,y=y,z=z,unit=g,rate=100"
        )
    return declared.open_file(path, columns)
