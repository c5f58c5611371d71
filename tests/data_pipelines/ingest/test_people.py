"""Pairing tables and single files: who is who, and every way in which a table can be wrong."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from data_pipelines.ingest.people import Person, Sensor, from_table, missing_files, one_file_each

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
        "sep=;\nfile;person;place\nt.cwa;1;thigh\nb.cwa;1;back\n",
        '\ufeff"sep=,"\r\nfile,person,place\r\nt.cwa,1,thigh\r\nb.cwa,1,back\r\n',
        "file,person,place,,\nt.cwa,1,thigh,,\nb.cwa,1,back, ,\n,,,,\n",  # columns that a spreadsheet leaves behind
        "file,person,place\n./t.cwa,1,Thigh\n.//b.cwa,1,BACK\n",
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


def test_sensors_that_are_not_asked_for_are_left_out(folder):
    text = "file,person,place\nb.cwa,1,back\nt.cwa,1,thigh\nleft.cwa,1,wrist\nright.cwa,1,wrist\nw.cwa,2,wrist\n"
    assert from_table(folder, table(folder, text), ("back",)) == [Person("1", "1", folder, (Sensor("b.cwa", "back"),))]
    with pytest.raises(ValueError, match="line 5: 1 has a wrist sensor already"):
        from_table(folder, folder.parent / "pairs.csv", ("back", "wrist"))


def test_names_may_have_letters_of_any_language(folder):
    [person] = from_table(folder, table(folder, "file,person,place\nÅse.cwa,A\u030ase,back\n"), PLACES)
    assert (person.name, person.sensors[0].file) == ("\u00c5se", "Åse.cwa")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected the columns file, person, place"),
        ("file,person\na.cwa,1\n", "expected the columns file, person, place"),
        (
            "file,person,place,sex\na.cwa,1,back,f\n",
            "column 'sex' is unknown: delete or rename it; known are file, person, place, orientation, recording",
        ),
        ("file,person,place,person\na.cwa,1,back,1\n", "column 'person' is there twice"),
        ("file,person,place,\na.cwa,1,back,\nb.cwa,1,thigh,x\n", "line 3: found 'x' in column 4, which has no name"),
        ("file,person,place\n", "holds no row"),
        ("file,person,place\na.cwa,1\n", "line 2: found 2 cells, expected 3"),
        ("file,person,place\na.cwa,,back\n", "line 2: person is empty"),
        ("sep=,\nfile,person,place\na.cwa,1\n", "line 3: found 2 cells, expected 3"),
        (
            "file,person,place,orientation\na.cwa,1,back,-x,-y,z\n",
            "line 2: found 6 cells, expected 4: put -x,-y,z in quotes",
        ),
        ("file,orientation,person,place\na.cwa,x,-Y, -z,1,back\n", "put x,-Y,-z in quotes"),
        ('file,person,place\n"a.cwa,1,back\n' + "b" * 200_000, "look for a quote that is not closed"),
        ("file,person,place\na.cwa,1,wrist\n", "holds no row of back or thigh (--sensors)"),
        ("file,person,place\na.cwa,1,hip\n", "line 2: place is 'hip', expected one of back, thigh, wrist"),
        ("file,person,place\na\\b.cwa,1,back\n", "file is a\\b.cwa, write / between folders"),
        ("file,person,place\n/etc/a.cwa,1,back\n", "expected a path below the input folder"),
        ("file,person,place\n../a.cwa,1,back\n", "expected a path below the input folder"),
        ("file,person,place\na.cwa,1,back\na.cwa,2,back\n", "line 3: file a.cwa is on line 2 already"),
        ("file,person,place\n./a.npy,1,back\na.npy,1,thigh\n", "file a.npy is on line 2 already"),
        (
            "file,person,place\na.csv,1,back\na.csv,1,thigh\n",
            "a raw file holds one sensor; where one file holds both, split it by sensor (HARTH's and HAR70+'s layouts: "
            "selfpab prepare --layout harth)",
        ),
        ("file,person,place\na.cwa,1,back\nb.cwa,1,back\n", "line 3: 1 has a back sensor already"),
        ("file,person,place\na.cwa,1/2,back\n", "person is '1/2', expected up to 60 letters"),
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
    with pytest.raises(ValueError, match="save it as CSV UTF-8"):
        from_table(folder, path, PLACES)
    (folder / "a.cwa").touch()
    for find in (lambda: from_table(folder / "a.cwa", path, PLACES), lambda: one_file_each(folder / "a.cwa", "wrist")):
        with pytest.raises(ValueError, match=r"a\.cwa is a file, expected the folder that holds it"):
            find()


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
    with pytest.raises(ValueError, match=r"deep/x\.csv and x\.npy .* rename one or name the persons in --pairs"):
        one_file_each(folder, "wrist")


def test_a_name_that_files_cannot_have_is_changed(folder):
    for name in ("P 1 (copy).cwa", "-p.cwa", "Ås\u0065\u0301.cwa", "år.csv"):
        (folder / name).touch()
    found = {one.name: one.sensors[0].file for one in one_file_each(folder, "wrist")}
    assert found == {
        "P_1__copy_": "P 1 (copy).cwa",
        "_p": "-p.cwa",
        "Ås\u00e9": "Ås\u0065\u0301.cwa",  # one letter, as most keyboards write it
        "år": "år.csv",
    }
    (folder / "P_1_(copy).cwa").touch()
    with pytest.raises(ValueError, match=r"P 1 \(copy\)\.cwa and P_1_\(copy\)\.cwa .* 'P_1__copy_'"):
        one_file_each(folder, "wrist")


def test_what_is_no_file_is_skipped_with_one_warning(folder):
    (folder / "deep.cwa").mkdir()
    for name in ("1.cwa", "deep.cwa/2.cwa"):
        (folder / name).touch()
    for name in ("a.cwa", "b.bin", "c.csv"):
        (folder / name).symlink_to(folder / "gone")
    with pytest.warns(UserWarning) as caught:
        found = one_file_each(folder, "wrist")
    assert [one.name for one in found] == ["1", "2"]
    [warning] = caught
    assert str(warning.message) == (
        f"{folder}: 4 skipped that are named like raw files, folders or links that lead nowhere: "
        "a.cwa, b.bin, c.csv, ..."
    )


def test_a_folder_that_must_not_be_read_is_named(folder, monkeypatch):
    (folder / "lost").mkdir()
    (folder / "1.cwa").touch()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "lost":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match=r"lost: not searched \(Permission denied\)"):
        assert [one.name for one in one_file_each(folder, "wrist")] == ["1"]


def test_folders_by_links_are_searched_once(folder):
    (folder / "real" / "deep").mkdir(parents=True)
    (folder.parent / "elsewhere").mkdir()
    for path in (folder / "real" / "deep" / "1.cwa", folder.parent / "elsewhere" / "2.cwa"):
        path.touch()
    for link, to in {"a": "real", "real/loop": "..", "z": "../elsewhere"}.items():
        (folder / link).symlink_to(to, target_is_directory=True)
    found = [one.sensors[0].file for one in one_file_each(folder, "wrist")]
    assert found == ["real/deep/1.cwa", "z/2.cwa"]  # a folder's own name before that of a link to it


@pytest.mark.parametrize("name", ["501_tihgh.cwa", "501_Thigh.CWA"])
def test_files_that_are_not_there_are_named_with_the_nearest(folder, name):
    for there in ("501_back.cwa", "501_thigh.cwa"):
        (folder / there).touch()
    text = f"file,person,place\n501_back.cwa,501,back\n{name},501,thigh\ndeep/7.cwa,7,back\n8.bin,8,back\n"
    path = table(folder, text)
    assert missing_files(from_table(folder, path, PLACES)) == [
        f"{path}, line 3: {name} is not in {folder}, did you mean 501_thigh.cwa?",
        f"{path}, line 4: deep/7.cwa is not in {folder}",
        f"{path}, line 5: 8.bin is not in {folder}",
    ]
    (folder / name).touch()
    assert len(missing_files(from_table(folder, path, PLACES))) == 2


def test_the_nearest_file_is_one_that_the_table_does_not_name(folder):
    (folder / "501_back.cwa").touch()
    path = table(folder, "file,person,place\n501_back.cwa,501,back\n502_back.cwa,502,back\n")
    assert missing_files(from_table(folder, path, PLACES)) == [f"{path}, line 3: 502_back.cwa is not in {folder}"]


def test_nearest_names_are_looked_for_five_times(folder):
    for number in range(9):
        (folder / f"person_{number}.cwa").touch()
    persons = [Person(f"{n}", f"{n}", folder, (Sensor(f"persn_{n}.cwa", "wrist"),)) for n in range(9)]
    texts = missing_files(persons)
    assert ["did you mean" in text for text in texts] == [True] * 5 + [False] * 4
    assert texts[0] == f"persn_0.cwa is not in {folder}, did you mean person_0.cwa?"


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


def test_the_stamp_follows_nothing_else(folder):
    """Neither the line of the table, nor the recording's name, nor the folder."""
    (folder / "a.cwa").write_bytes(b"1")
    os.utime(folder / "a.cwa", ns=(0, 10**18))
    [one] = from_table(folder, table(folder, "file,person,place\na.cwa,1,back\n"), ("back",))
    [same] = from_table(folder, table(folder, "person,place,file\n\n1,Back,./a.cwa\n"), ("back",))
    (folder.parent / "moved").symlink_to(folder)
    moved = dataclasses.replace(one, name="2", folder=folder.parent / "moved")
    assert one.stamp() == same.stamp() == moved.stamp() == "9d4b69eb"
