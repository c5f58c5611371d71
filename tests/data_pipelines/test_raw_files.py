"""Which reader opens which file, and what is said before one does."""

import pytest

from data_pipelines.readers import declared, raw_files

COLUMNS = declared.parse("time=t,x=x,y=y,z=z,unit=g,rate=100")


@pytest.mark.parametrize("ending", raw_files.ENDINGS)
def test_a_file_of_no_bytes(tmp_path, ending):
    (tmp_path / f"1{ending}").touch()
    with pytest.raises(ValueError) as error:
        raw_files.open_file(tmp_path / f"1{ending}", COLUMNS)
    assert str(error.value) == f"{tmp_path / f'1{ending}'}: is empty (0 bytes): copy it again"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1.CWA", "no Axivity .cwa file"),
        ("1.cwa.gz", "no Axivity .cwa file"),
        ("1.Bin", "not a GENEActiv file"),
        ("1.npy", "say with --columns, or in the pairing table's column columns, what its columns are"),
        ("1.txt", "no raw sensor file, expected a name that ends in .cwa, "),
    ],
)
def test_the_end_of_the_name_tells_the_reader(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=words):
        raw_files.open_file(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        raw_files.open_file(tmp_path / f"no{name}")
