"""Persons and their files: one file a person, files that are not there, and what a stamp follows."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from data_pipelines.ingest.people import Person, Sensor, missing_files, one_file_each, other_places
from data_pipelines.readers import declared

COLUMNS = "x=a,y=b,z=c,time=t,unit=mg,rate=100"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


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
    both = (Sensor("501_back.cwa", "back", "", "t.csv, line 2"), Sensor(name, "thigh", "", "t.csv, line 3"))
    seven, eight = (Sensor("deep/7.cwa", "back", "", "t.csv, line 4"),), (Sensor("8.bin", "back"),)
    people = [Person("501", "501", folder, both), Person("7", "7", folder, seven), Person("8", "8", folder, eight)]
    assert missing_files(people) == [
        f"t.csv, line 3: {name} is not in {folder}, did you mean 501_thigh.cwa?",
        f"t.csv, line 4: deep/7.cwa is not in {folder}",
        f"8.bin is not in {folder}",
    ]
    (folder / name).touch()
    assert len(missing_files(people)) == 2


def test_the_nearest_file_is_one_that_nobody_has(folder):
    (folder / "501_back.cwa").touch()
    people = [Person(name, name, folder, (Sensor(f"{name}_back.cwa", "back"),)) for name in ("501", "502")]
    assert missing_files(people) == [f"502_back.cwa is not in {folder}"]


def test_nearest_names_are_looked_for_five_times(folder):
    for number in range(9):
        (folder / f"person_{number}.cwa").touch()
    persons = [Person(f"{n}", f"{n}", folder, (Sensor(f"persn_{n}.cwa", "wrist"),)) for n in range(9)]
    texts = missing_files(persons)
    assert ["did you mean" in text for text in texts] == [True] * 5 + [False] * 4
    assert texts[0] == f"persn_0.cwa is not in {folder}, did you mean person_0.cwa?"


def test_places_in_names_that_are_not_the_sensors(folder):
    names = ("7_back.cwa", "7-Thigh.csv", "8_wrist.cwa", "back/9.cwa", "backup/10.cwa", "feedback.bin", "S1Back2.cwa")
    people = [Person(name, name, folder, (Sensor(name, "wrist"),)) for name in names]
    assert other_places(people) == {
        "7_back.cwa": {"back"},
        "7-Thigh.csv": {"thigh"},
        "back/9.cwa": {"back"},
        "S1Back2.cwa": {"back"},
    }


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


def test_what_is_said_of_a_file_is_its_columns_too_where_there_are_any(folder):
    columns = [None, *map(declared.parse, (COLUMNS, COLUMNS.replace("mg", "g"), COLUMNS.replace(",", ", ")))]
    files = [Sensor("a.csv", "back", columns=one) for one in columns]
    people = [Person("1", "1", folder, (one,)) for one in files]
    without, in_mg, in_g, same = (one.described(*one.sensors) for one in people)
    assert without == ["1", "a.csv", "back", ""] and in_mg == [*without, COLUMNS] == same
    assert in_g == [*without, COLUMNS.replace("mg", "g")] and files[1] == files[3] != files[2] != files[0]
    (folder / "a.csv").write_bytes(b"1")
    assert len({one.stamp() for one in people}) == 3


def test_the_stamp_follows_nothing_else(folder):
    """Neither the line of the table, nor the recording's name, nor the folder."""
    (folder / "a.cwa").write_bytes(b"1")
    os.utime(folder / "a.cwa", ns=(0, 10**18))
    one = Person("1", "1", folder, (Sensor("a.cwa", "back", "", "pairs.csv, line 2"),))
    same = Person("1", "1", folder, (Sensor("a.cwa", "back", "", "pairs.csv, line 3"),))
    (folder.parent / "moved").symlink_to(folder)
    moved = dataclasses.replace(one, name="2", folder=folder.parent / "moved")
    assert one.stamp() == same.stamp() == moved.stamp() == "9d4b69eb"
