"""Pairing tables: who is who, and every way in which a table can be wrong."""

from pathlib import Path

import pytest

from data_pipelines.ingest.pairs import read, unnamed_files
from data_pipelines.ingest.people import Person, Sensor, missing_files, one_file_each
from data_pipelines.readers import declared

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
    assert read(folder, table(folder, TABLE), PLACES).people == [three, seven]


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
    assert read(folder, table(folder, text), PLACES).people == [one]


def test_several_recordings_of_a_person(folder):
    text = "file,person,place,recording\nb1.cwa,1,back,week1\nt1.cwa,1,thigh,week1\nb2.cwa,1,back,week2\n"
    first, second = read(folder, table(folder, text), PLACES).people
    assert (first.name, first.subject, second.name, second.subject) == ("1_week1", "1", "1_week2", "1")
    assert [sensor.place for sensor in second.sensors] == ["back"]  # that it lacks one is said when its turn comes


def test_sensors_that_are_not_asked_for_are_left_out(folder):
    text = "file,person,place\nb.cwa,1,back\nt.cwa,1,thigh\nleft.cwa,1,wrist\nright.cwa,1,wrist\n"
    found = read(folder, table(folder, text), ("back",))
    assert found.people == [Person("1", "1", folder, (Sensor("b.cwa", "back"),))]
    assert found.files == {"b.cwa", "t.cwa", "left.cwa", "right.cwa"}
    with pytest.raises(ValueError, match="line 5: 1 has a wrist sensor already"):
        read(folder, folder.parent / "pairs.csv", ("back", "wrist"))


def test_names_may_have_letters_of_any_language(folder):
    [person] = read(folder, table(folder, "file,person,place\nÅse.cwa,A\u030ase,back\n"), PLACES).people
    assert (person.name, person.sensors[0].file) == ("\u00c5se", "Åse.cwa")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected the columns file, person, place"),
        ("file,person\na.cwa,1\n", "expected the columns file, person, place"),
        (
            "file,person,place,Orientatoin\na.cwa,1,back,\n",
            "column 'orientatoin' is unknown (did you mean orientation?): rename or delete it; known are file, person, "
            "place, orientation, recording, columns",
        ),
        ("file,person,place,recordings\na.cwa,1,back,2\n", "did you mean recording?"),
        ("file,person,place,column\na.csv,1,back,\n", "did you mean columns?"),
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
        (
            "file,person,place,columns\na.csv,1,back,x=a,y=b,z=c,unit=g\n",
            "line 2: found 7 cells, expected 4: put x=a,y=b,z=c,unit=g in quotes",
        ),
        (
            "file,columns,person,place,orientation\na.csv,x=a, y=b,1,back,x,y,z\n",
            "put x,y,z and x=a,y=b in quotes",
        ),
        (
            'file,person,place,columns\na.csv,1,back,"time=t,x=a,y=b,z=c,unit=G,rate=50"\n',
            "line 2: columns: unit is 'G', expected one of g, mg, m/s2",
        ),
        (
            'file,person,place,columns\na.CWA,1,back,"x=0,y=1"\n',
            "line 2: columns of a.CWA are 'x=0,y=1', expected none: only files that end in .csv, .csv.gz, .npy",
        ),
        ("file,person,place,columns\na.bin,1,back,x=0\n", "columns of a.bin are 'x=0', expected none"),
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
        read(folder, path, PLACES)
    assert words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_no_table_no_folder_no_text(folder):
    with pytest.raises(FileNotFoundError, match="pairing table"):
        read(folder, folder / "no.csv", PLACES)
    with pytest.raises(FileNotFoundError, match="input folder"):
        read(folder / "no", table(folder, TABLE), PLACES)
    path = folder.parent / "latin.csv"
    path.write_bytes("file,person,place\nÅse.cwa,1,back\n".encode("latin-1"))
    with pytest.raises(ValueError, match="save it as CSV UTF-8"):
        read(folder, path, PLACES)
    (folder / "a.cwa").touch()
    for find in (lambda: read(folder / "a.cwa", path, PLACES), lambda: one_file_each(folder / "a.cwa", "wrist")):
        with pytest.raises(ValueError, match=r"a\.cwa is a file, expected the folder that holds it"):
            find()


def test_the_columns_of_one_file(folder):
    other = "time=t,x=a,y=b,z=c,unit=mg,rate=85.7"
    rows = [f'a.csv.gz,1,back,"{other}"', "b.csv,1,thigh,", f'c.npy,2,back," {other}"', "d.cwa,2,thigh,"]
    text = "\n".join(["file,person,place,columns", *rows])
    one, two = read(folder, table(folder, text), PLACES).people
    assert [sensor.columns for sensor in one.sensors] == [declared.parse(other), None]
    assert [sensor.columns for sensor in two.sensors] == [declared.parse(other), None]
    assert one.described(one.sensors[0]) == ["1", "a.csv.gz", "back", "", "x=a,y=b,z=c,time=t,unit=mg,rate=85.7"]
    assert one.described(one.sensors[1]) == ["1", "b.csv", "thigh", ""]


def test_a_line_is_kept_for_the_words_of_what_comes_later(folder):
    path = table(folder, "file,person,place\n\n501_back.cwa,501,back\n")
    assert missing_files(read(folder, path, PLACES).people) == [f"{path}, line 3: 501_back.cwa is not in {folder}"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("age,sex,,notes", "columns age, sex, notes are not used"),
        ("comments", "column comments is not used"),
        ("persons", "column persons is not used"),  # of person, which is there
        ("site,site", "columns site, site are not used"),
    ],
)
def test_columns_of_other_use_are_named_once(folder, columns, words):
    path = table(folder, f"file,person,place,{columns}\na.cwa,1,back{',' * len(columns.split(','))}\n")
    with pytest.warns(UserWarning) as caught:
        [person] = read(folder, path, PLACES).people
    assert person.sensors == (Sensor("a.cwa", "back"),)
    known = "known are file, person, place, orientation, recording, columns"
    assert [str(warning.message) for warning in caught] == [f"{path}: {words}; {known}"]


@pytest.mark.parametrize(
    ("wrists", "words"),
    [
        (["P7"], "1 person of {} wears none of back, thigh (--sensors) and is left out: P7"),
        (
            ["4", "3", "P9", "P7"],
            "4 persons of {} wear none of back, thigh (--sensors) and are left out: 3, 4, P7, ...",
        ),
    ],
)
def test_who_wears_none_of_the_sensors_is_named(folder, wrists, words):
    rows = [f"{number}.cwa,{person},wrist\n" for number, person in enumerate(["1", *wrists])]
    path = table(folder, "file,person,place\nb.cwa,1,back\n" + "".join(rows))
    with pytest.warns(UserWarning) as caught:
        found = read(folder, path, PLACES)
    assert [str(warning.message) for warning in caught] == [words.format(path)]
    assert [person.name for person in found.people] == ["1"] and "1.cwa" in found.files


COMPOSED, DECOMPOSED = "\u00c5se", "A\u030ase"  # one word, of which keyboards write the first and some disks the second


@pytest.mark.parametrize(("written", "there"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_name_is_found_however_its_letters_are_written(folder, written, there):
    (folder / there).mkdir()
    for name in (f"{there}.cwa", f"{there}/{there}_t.cwa", f"{there}/1.cwa"):
        (folder / name).touch()
    rows = [
        f"{written}.cwa,1,back\n{written}/{written}_t.cwa,1,thigh\n{written}/1.cwa,2,back\n{written}/no.cwa,3,back\n"
    ]
    path = table(folder, "file,person,place\n" + "".join(rows))
    found = read(folder, path, PLACES)
    files = [sensor.file for person in found.people for sensor in person.sensors]
    assert files == [f"{there}.cwa", f"{there}/{there}_t.cwa", f"{there}/1.cwa", f"{there}/no.cwa"]
    assert [text.split(" is not")[0] for text in missing_files(found.people)] == [f"{path}, line 5: {there}/no.cwa"]
    assert unnamed_files(folder, path, found.files) == ([], 3)
    assert unnamed_files(folder, path, {f"{written}.cwa", f"{written}/1.cwa"}) == ([f"{there}/{there}_t.cwa"], 3)
    twice = table(folder, f"file,person,place\n{written}.cwa,1,back\n{there}.cwa,1,thigh\n")
    with pytest.raises(ValueError, match="is on line 2 already"):
        read(folder, twice, PLACES)
    (folder / f"{written}.cwa").touch()  # as written comes first
    both = read(folder, twice, PLACES).people[0].sensors
    assert [sensor.file for sensor in both] == [f"{written}.cwa", f"{there}.cwa"]


def test_raw_files_that_no_line_names(folder):
    (folder / "deep").mkdir()
    path = folder / "pairs.csv"  # is no raw file
    path.write_text("file,person,place\n2.cwa,2,back\ndeep/w.cwa,3,wrist\ngone.cwa,2,thigh\n")
    for name in ("2.cwa", "1.cwa", "deep/w.cwa", "deep/5.bin", "people.csv", "notes.txt"):
        (folder / name).touch()
    with pytest.warns(UserWarning, match="left out: 3"):
        named = read(folder, path, PLACES).files
    assert named == {"2.cwa", "deep/w.cwa", "gone.cwa"}
    assert unnamed_files(folder, path, named) == (["1.cwa", "deep/5.bin"], 4)
    assert unnamed_files(folder, path, {*named, "x.npy"}) == (["1.cwa", "deep/5.bin", "people.csv"], 5)


def test_a_file_named_by_a_link_to_its_folder_is_named(folder):
    (folder / "real").mkdir()
    (folder / "real" / "1.cwa").touch()
    (folder / "link").symlink_to("real", target_is_directory=True)
    assert unnamed_files(folder, folder / "pairs.csv", {"link/1.cwa"}) == ([], 1)
    assert unnamed_files(folder, folder / "pairs.csv", {"link/2.cwa"}) == (["real/1.cwa"], 1)
