"""`selfpab verify` and `selfpab describe`: exit codes, what they print, the sentence for each kind of mistake."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from data_pipelines.describe import SPLIT
from launch import __main__ as dispatch
from launch import describe, verify
from launch.config_file import load_config
from tests.data_pipelines.conftest import rewrite


@pytest.fixture
def folder(prepared, tmp_path) -> Path:
    return shutil.copytree(prepared, tmp_path / "out")


def error(printed) -> str:
    """The last line of stderr, past the progress bar."""
    return printed.err.replace("\r", "\n").strip().splitlines()[-1]


def test_verify_says_that_all_match(folder, capsys):
    assert dispatch.main(["verify", str(folder), "--workers", "2"]) == 0
    # 4 people: a shard, its sidecar and a labelled file each, and the two files of statistics.
    size = sum(path.stat().st_size for path in folder.rglob("*.*") if path.name != "manifest.json")
    assert capsys.readouterr().out == f"14 files, {size / 1e9:.2f} GB, all match\n"


def test_verify_fails_where_a_file_is_damaged(folder, capsys):
    shard = sorted((folder / "shards").glob("*.array_record"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert verify.main([str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert error(printed) == (
        f"selfpab verify: error: {folder}: 1 of 14 files are damaged: shards/{shard.name} (its checksum differs): run "
        "the command that wrote this folder again, it makes only these anew (all of them, into another folder, if that "
        "refuses since an earlier release wrote this one)"
    )


@pytest.mark.filterwarnings("always:.*its manifest does not name")
def test_verify_warns_of_other_files(folder, capsys):
    for number in range(22):
        (folder / "shards" / f"left_{number:02d}").write_bytes(b"")
    assert verify.main([str(folder)]) == 0
    printed = capsys.readouterr()
    assert (
        f"selfpab verify: warning: {folder} holds files that its manifest does not name: shards/left_00," in printed.err
    )
    assert "shards/left_19 and 2 more\n" in printed.err and "all match" in printed.out


@pytest.mark.parametrize("job", [verify, describe])
def test_wrong_folders(job, folder, tmp_path, capsys):
    assert job.main([str(tmp_path / "nowhere")]) == 2
    assert "is no (finished) prepared folder: name one" in error(capsys.readouterr())
    (folder / "manifest.json").unlink()
    assert job.main([str(folder)]) == 2
    assert "its preparation was stopped with 4 recordings done: run the same `selfpab prep" in error(
        capsys.readouterr()
    )
    assert job.main([]) == 2
    assert "the following arguments are required: DIR" in error(capsys.readouterr())
    assert job.main([str(folder), "--figur", "x"]) == 2
    assert "unknown flag --figur" in error(capsys.readouterr())


def test_describe_prints_what_the_manifest_knows(folder, capsys):
    assert dispatch.main(["describe", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line[:24].strip(): line[24:] for line in lines}
    assert (rows["subjects"], rows["recordings"], rows["windows (300 s)"]) == ("4", "4", "16")
    assert (rows["hours recorded"], rows["hours in windows"]) == ("1.40", "1.33 (95.2 %)")
    assert (rows["not: non-wear"], rows["not: short"]) == ("0.00 (0.0 %)", "0.07 (4.8 %)")
    assert rows["hours per subject"] == "0.33 to 0.33, quartiles 0.33, 0.33, 0.33"
    assert not {
        "days with windows",
        "hours all sensors worn",
        "device rates",
        "failed recordings",
        "without a window",
    } & set(rows)
    assert lines[-1] == f"`selfpab describe {folder} --figure cohort.png` draws this"


def test_describe_prints_what_ingest_knows(folder, capsys):
    def known(manifest):
        for number, entry in enumerate(manifest["recordings"]):
            entry |= {"recorded_s": 2400.0, "dropped": {"gap": 600.0, "other hours": 600.0}, "wear_s": 1800.0}
            entry |= {"days": ["2020-02-28", f"2020-03-0{number + 1}"], "source": [{"rate_hz": 100}, {"rate_hz": 25}]}
        manifest["failed"] = [{"name": f"x{n}", "reason": f"x{n}.cwa: no block in it"} for n in range(7)]

    rewrite(folder, known)
    assert describe.main([str(folder)]) == 0
    printed = capsys.readouterr().out
    for line in (
        "days with windows       8 over all subjects, 2020-02-28 to 2020-03-04",
        "hours recorded          2.67",
        "hours all sensors worn  2.00 (75.0 %)",
        "hours in windows        1.33 (50.0 %)",
        "  not: other hours      0.67 (25.0 %)",
        "failed recordings       7",
        "  failed: x4: x4.cwa: no block in it\n  failed: and 2 more, see `failed` of manifest.json",
        "device rates            25 Hz (4 files), 100 Hz (4 files)",
    ):
        assert f"{line}\n" in printed
    assert "x5" not in printed
    rewrite(folder, lambda manifest: manifest.update(channels=["wrist_x", "wrist_y", "wrist_z"]))
    assert describe.main([str(folder)]) == 0
    assert "\nhours worn              2.00 (75.0 %)\n" in capsys.readouterr().out


def test_names_that_are_no_text_are_shown_as_far_as_they_are(folder, capsys):
    failed = [{"name": "x", "reason": "a\udcff\n.cwa: no block in it"}]
    rewrite(folder, lambda manifest: manifest.update(failed=failed))
    assert describe.main([str(folder)]) == 0
    assert "\n  failed: x: a??.cwa: no block in it\n" in capsys.readouterr().out


def test_describe_says_what_was_decided_about_files(folder, capsys):
    def known(manifest, **more):
        for number, entry in enumerate(manifest["recordings"]):
            same = {"rate_hz": 50, "bytes": 5, "calibration": "2 spans", "bad_blocks": {}}
            back = same | {"file": f"{number}_b", "crc32": number % 3, "orientation": "as worn", "clock": None}
            thigh = same | {"file": f"{number}_t", "crc32": 9 + number, "orientation": "inside out", "clock": "aligned"}
            entry["source"] = [back | {"calibration": "calibrated"}, thigh | more]

    rewrite(folder, known)
    assert describe.main([str(folder)]) == 0
    printed = capsys.readouterr().out
    for line in (
        "calibrated              4 of 8 files",
        "turned                  4 files",
        "clocks aligned          4 of 4 recordings",
        "bad blocks or rows      none",
        "equal files             2\n  0_b                   = 3_b\n",
    ):
        assert f"{line}\n" in printed
    assert "do not move together" not in printed
    rewrite(folder, lambda manifest: manifest["recordings"][0]["source"][0].update(orientation="upside down"))
    rewrite(folder, lambda manifest: [e["source"][1].update(orientation="as stated") for e in manifest["recordings"]])
    assert describe.main([str(folder)]) == 0
    assert "turned                  1 file, as stated 4\n" in capsys.readouterr().out
    rewrite(folder, lambda manifest: known(manifest, orientation="undecided", crc32=77, clock=None))
    assert describe.main([str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "turned                  0 files, undecided 4\n" in printed and "clocks aligned" not in printed
    assert (
        "equal files             6\n  0_b                   = 3_b\n  0_t                   = 1_t = 2_t = ...\n"
        in printed
    )
    for entry in (changed := json.loads((folder / "manifest.json").read_text()))["recordings"]:
        entry["source"] = [one | {"orientation": "not checked"} for one in entry["source"][:1]]
    rewrite(folder, lambda manifest: manifest.update(changed))
    assert describe.main([str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "turned" not in printed and "calibrated              4 of 4 files\n" in printed


def test_describe_writes_a_line_for_each_recording(folder, tmp_path, capsys):
    table = tmp_path / "new" / "people.csv"
    assert describe.main([str(folder), f"--people={table}"]) == 0
    assert f"\n{table}\n" in capsys.readouterr().out
    assert [line.split(",")[5] for line in table.read_text().splitlines()] == ["windows", "4", "4", "4", "4"]
    assert describe.main([str(folder), f"--people={folder / 'people.csv'}"]) == 2
    assert "--people: " in capsys.readouterr().err and not (folder / "people.csv").exists()


def test_what_cannot_be_described_is_said_before_anything_is_printed(folder, tmp_path, capsys):
    assert describe.main([str(folder), f"--files={tmp_path / 'new' / 'files.csv'}"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "was not made of raw files" in printed.err and not (tmp_path / "new").exists()


def test_subsets_of_one_subject_are_said_to_be_none(folder, tmp_path, capsys):
    rewrite(folder, lambda manifest: [entry.update(subject="only") for entry in manifest["recordings"]])
    table, picture = tmp_path / "people.csv", tmp_path / "cohort.png"
    assert describe.main([str(folder), "--hours=1", f"--people={table}", f"--figure={picture}"]) == 0
    assert "no subsets: a split by subject needs at least 2 subjects with windows, found 1" in capsys.readouterr().out
    assert table.exists() and picture.exists()


def test_describe_lists_subsets(folder, capsys):
    assert describe.main([str(folder), "--hours", "0.5,0.25,100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    begin = lines.index("training side (subject split, valid_fraction 0.1, split_seed 0): 1.00 h, 3 subjects")
    columns = [line.split() for line in lines[begin + 2 : begin + 6]]
    assert columns[0][:6] == ["0.25", "window", "3", "0", "to", "2"]
    assert columns[1] == ["0.25", "subject", "3", "0", "to", "2", "1", "(33.3", "%)"]
    assert columns[3] == ["0.5", "subject", "6", "0", "to", "5", "2", "(66.7", "%)"]
    assert lines[begin + 6] == "100 h: more than there is, or less than a window"


@pytest.mark.parametrize("config", ["configs/selfpab.py", "configs/mae.py"])
def test_the_split_of_describe_is_that_of_the_configs(config):
    data = load_config(config).data
    assert SPLIT == (data.split, data.valid_fraction, data.split_seed) and data.hours_by == "window"


@pytest.mark.parametrize("times_of_day", [False, True])
def test_describe_draws(folder, tmp_path, times_of_day, capsys):
    if times_of_day:
        rewrite(
            folder, lambda manifest: [e.update(window_hours=[e["windows"]] + [0] * 23) for e in manifest["recordings"]]
        )
    picture = tmp_path / "pictures" / "cohort.png"
    assert describe.main([str(folder), "--figure", str(picture)]) == 0
    assert capsys.readouterr().out.endswith(f"\n{picture}\n")
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == ((1500, 1050) if times_of_day else (1950, 600))  # four panels, or three in a row


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--hours", "10,x"], "--hours is 10,x, expected amounts of hours with commas between"),
        (["--hours", "0"], "--hours is 0, expected amounts"),
        (["--hours", "nan"], "--hours is nan, expected amounts"),
        (["--figure", "cohort.pdf"], "--figure is cohort.pdf, expected a name that ends in .png"),
    ],
)
def test_wrong_values(flags, sentence, folder, capsys):
    assert describe.main([str(folder), *flags]) == 2
    assert error(capsys.readouterr()).startswith(f"selfpab describe: error: {sentence}")


def test_two_tables_are_two_files(folder, tmp_path, capsys):
    assert describe.main([str(folder), f"--files={tmp_path / 'a.csv'}", f"--people={tmp_path}/x/../a.csv"]) == 2
    assert "expected two files" in error(capsys.readouterr()) and not (tmp_path / "a.csv").exists()


def test_a_table_is_no_folder(folder, tmp_path, capsys):
    assert describe.main([str(folder), f"--files={tmp_path}"]) == 2
    assert f"--files: {tmp_path} is a folder, expected the name of a file" in error(capsys.readouterr())


def test_no_picture_into_the_prepared_folder(folder, capsys):
    assert describe.main([str(folder), "--figure", str(folder / "shards" / "x.png")]) == 2
    assert "lies in the prepared folder" in error(capsys.readouterr())
    assert not list(folder.rglob("*.png"))


@pytest.mark.parametrize("job", dispatch.JOBS)
def test_every_job_that_is_listed_starts(job, capsys):
    with pytest.raises(SystemExit) as left:
        dispatch.main([job, "--help"])
    assert left.value.code == 0 and f"selfpab {job}" in capsys.readouterr().out
