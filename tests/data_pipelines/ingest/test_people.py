"""Pairing tables and single files: who is who, and every way in which a table can be wrong."""

from pathlib import Path

import pytest

from data_pipelines.ingest.people import Person, Sensor, from_table, one_file_each

PLACES = ("back", "thigh")
TABLE = """file,person,place,orientation
a/7_back.cwa,7,back,
a/7_thigh.cwa,7,thigh,"-x,-y,z"
3b.cwa,3,back,auto
3t.cwa,3,thigh,xyz
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def table(folder: Path, text: str) -> Path:
    path = folder.parent / "pairs.csv"
    path.write_text(text)
    return path


def test_a_table_names_the_sensors_of_each_person(folder):
    three = Person("3", "3", folder, (Sensor("3b.cwa", "back", "auto"), Sensor("3t.cwa", "thigh", "xyz")))
    seven = Person("7", "7", folder, (Sensor("a/7_back.cwa", "back"), Sensor("a/7_thigh.cwa", "thigh", "-x,-y,z")))
    assert from_table(folder, table(folder, TABLE), PLACES) == [three, seven]


@pytest.mark.parametrize(
    "text",
    [
        "place;file;person\nthigh;t.cwa;1\nback;b.cwa;1\n",
        "\ufeffFile, Person ,Place\n\nt.cwa, 1 ,thigh\nb.cwa,1,back\n\n",
        "file\tperson\tplace\nt.cwa\t1\tthigh\nb.cwa\t1\tback\n",
    ],
)
def test_delimiters_order_of_columns_and_rows_do_not_matter(folder, text):
    one = Person("1", "1", folder, (Sensor("b.cwa", "back"), Sensor("t.cwa", "thigh")))
    assert from_table(folder, table(folder, text), PLACES) == [one]


def test_several_recordings_of_a_person(folder):
    text = "file,person,place,recording\nb1.cwa,1,back,week1\nt1.cwa,1,thigh,week1\nb2.cwa,1,back,week2\n"
    first, second = from_table(folder, table(folder, text), PLACES)
    assert (first.name, first.subject, second.name, second.subject) == ("1_week1", "1", "1_week2", "1")
    assert [sensor.place for sensor in second.sensors] == ["back"]  # that it lacks one is said when its turn comes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected the columns file, person, place"),
        ("file,person\na.cwa,1\n", "expected the columns file, person, place"),
        ("file,person,place,sex\na.cwa,1,back,f\n", "the first line is 'file, person, place, sex'"),
        ("file,person,place\n", "holds no row"),
        ("file,person,place\na.cwa,1\n", "line 2: found 2 cells, expected 3"),
        ("file,person,place\na.cwa,,back\n", "line 2: person is empty"),
        ("file,person,place\na.cwa,1,hip\n", "line 2: place is 'hip', expected one of back, thigh"),
        ("file,person,place\n/etc/a.cwa,1,back\n", "expected a path below the input folder"),
        ("file,person,place\n../a.cwa,1,back\n", "expected a path below the input folder"),
        ("file,person,place\na.cwa,1,back\na.cwa,2,back\n", "line 3: file a.cwa is on line 2 already"),
        ("file,person,place\na.cwa,1,back\nb.cwa,1,back\n", "line 3: 1 has a back sensor already"),
        ("file,person,place\na.cwa,1/2,back\n", "person is '1/2', expected letters"),
        ("file,person,place,orientation\na.cwa,1,back,sideways\n", "line 2: "),
        ("file,person,place,recording\na.cwa,1_2,back,\nb.cwa,1,thigh,2\n", "1_2 is a recording of 1_2 already"),
    ],
)
def test_a_wrong_table_is_one_sentence_with_its_line(folder, text, words):
    path = table(folder, text)
    with pytest.raises(ValueError) as error:
        from_table(folder, path, PLACES)
    assert words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_no_table_no_folder_no_text(folder):
    with pytest.raises(FileNotFoundError, match="pairing table"):
        from_table(folder, folder / "no.csv", PLACES)
    with pytest.raises(FileNotFoundError, match="input folder"):
        from_table(folder / "no", table(folder, TABLE), PLACES)
    path = folder.parent / "latin.csv"
    path.write_bytes("file,person,place\nÅse.cwa,1,back\n".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        from_table(folder, path, PLACES)


def test_without_a_table_each_file_is_a_person(folder):
    (folder / "deep").mkdir()
    for name in ("1000001_90001_0_0.cwa", "deep/P_2.CWA.gz", ".hidden.cwa", "notes.txt", "deep/x.csv"):
        (folder / name).touch()
    found = one_file_each(folder, "wrist")
    assert [(one.name, one.subject, one.sensors[0].file) for one in found] == [
        ("1000001_90001_0_0", "1000001", "1000001_90001_0_0.cwa"),
        ("P_2", "P_2", "deep/P_2.CWA.gz"),
        ("x", "x", "deep/x.csv"),
    ]
    (folder / "x.npy").touch()
    with pytest.raises(ValueError, match="name the same recording"):
        one_file_each(folder, "wrist")


def test_nothing_to_find(folder):
    with pytest.raises(FileNotFoundError, match="no raw file found"):
        one_file_each(folder, "wrist")


def test_the_stamp_follows_files_and_their_description(folder):
    (folder / "a.cwa").write_bytes(b"1")
    one = Person("1", "1", folder, (Sensor("a.cwa", "back"),))
    turned = Person("1", "1", folder, (Sensor("a.cwa", "back", "-x,-y,z"),))
    stamp = one.stamp()
    assert stamp == one.stamp() != turned.stamp()
    (folder / "a.cwa").write_bytes(b"12")
    assert one.stamp() != stamp
