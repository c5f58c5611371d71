"""The command line of ingest: what it prints, what it refuses, and features of what it wrote."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.shard_reading import read_shard
from launch import describe, ingest
from tests.data_pipelines.ingest.conftest import TABLE, contents, signal, write_cwa


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """raw/ with the two sensors of two people, the second one's thigh file broken; pairs.csv."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "raw").mkdir()
    for place in ("back", "thigh"):
        write_cwa(folder / "raw" / f"p_{place}.cwa", signal(place, 0))
        (folder / "raw" / f"q_{place}.cwa").write_bytes((folder / "raw" / f"p_{place}.cwa").read_bytes())
    (folder / "raw" / "q_thigh.cwa").write_bytes(b"MD")
    rows = [f"{person}_{place}.cwa,{person},{place},\n" for person in "pq" for place in ("back", "thigh")]
    (folder / "pairs.csv").write_text(TABLE + "".join(rows))
    return folder


def flags(folder, out, *more):
    return [f"--input={folder / 'raw'}", f"--pairs={folder / 'pairs.csv'}", f"--out={out}", "--window=60", *more]


def test_what_is_written_and_said(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert ingest.main(flags(folder, out, "--workers=1")) == 0
    printed = capsys.readouterr()
    assert "2 recordings: 1 written, 1 failed" in printed.out and str(out) in printed.out
    assert "selfpab ingest: q failed: " in printed.err and "q_thigh.cwa" in printed.err
    before = contents(out)
    assert ingest.main(flags(folder, out, "--workers=1")) == 0
    assert "2 recordings: 0 written, 1 failed" in capsys.readouterr().out and contents(out) == before


@pytest.mark.filterwarnings("always:the names of")  # the command line shows it
def test_without_a_table_each_file_is_a_person_at_the_wrist(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert ingest.main([f"--input={folder / 'raw'}", f"--out={out}", "--window=60", "--workers=1"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["channels"] == ["wrist_x", "wrist_y", "wrist_z"] and manifest["subjects"] == 3
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "4 files taken as 4 persons' wrist sensors (no --pairs)"
    assert (
        "selfpab ingest: warning: the names of 4 files hold back or thigh, but without --pairs each is taken as one "
        "person's wrist sensor: name persons and places in --pairs\n"
    ) in said.err


@pytest.mark.filterwarnings("always:the names of")  # the command line shows it
@pytest.mark.parametrize(
    ("names", "taken", "warned"),
    [
        (["7_wrist.cwa"], "1 file taken as 1 person's wrist sensor", ""),
        (["7_back.cwa", "8.cwa"], "2 files taken as 2 persons' wrist sensors", ""),  # a single one says little
        (["7_thigh.cwa", "8_thigh.cwa"], "2 files taken as 2 persons' wrist sensors", "2 files hold thigh,"),
        ([f"1000001_90001_{visit}_0.cwa" for visit in range(2)], "2 files taken as 1 person's wrist sensors", ""),
    ],
)
def test_what_is_assumed_without_a_table(tmp_path, capsys, names, taken, warned):
    for name in names:
        (tmp_path / name).write_bytes(b"nothing")
    assert ingest.main([f"--input={tmp_path}", f"--out={tmp_path / 'out'}", "--workers=1"]) == 2
    said = capsys.readouterr()
    assert said.out == f"{taken} (no --pairs)\n"
    assert ("warning: " in said.err) == bool(warned) and warned in said.err


@pytest.mark.filterwarnings("always::UserWarning")  # the command line shows them
def test_what_of_a_table_is_not_used_is_said(folder, tmp_path, capsys, monkeypatch):
    """A column, a person, and files that no line names; by an array's tasks the last is left to who submits them."""
    table = tmp_path / "pairs.csv"
    table.write_text("file,person,place,age\np_thigh.cwa,p,thigh,7\nq_back.cwa,P7,back,8\n")
    command = [f"--input={folder / 'raw'}", f"--pairs={table}", f"--out={tmp_path / 'out'}", "--window=60"]
    assert ingest.main([*command, "--sensors=thigh", "--workers=1"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("selfpab ingest: warning: ")]
    unnamed = f"2 of 4 raw files in {folder / 'raw'} are in no line of {table}: p_back.cwa, q_thigh.cwa"
    assert [line.partition("warning: ")[2] for line in said] == [
        f"{table}: column age is not used; known are file, person, place, orientation, recording, columns",
        f"1 person of {table} wears none of thigh (--sensors) and is left out: P7",
        unnamed,
    ]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert ingest.main([*command, "--sensors=thigh", "--engine=slurm"]) == 0
    assert unnamed not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--rate=0"], "rate_hz is 0"),
        (["--daytime=7"], "--daytime is 7, expected two hours"),
        (["--daytime=7-27"], "daytime is 7-27"),
        (["--max-clipped=2"], "max_clipped is 2.0, expected a share"),
        (["--sensors=hip"], "sensors are hip, expected some of back, thigh, wrist"),
        (["--sensors=wrist"], "holds no row of wrist (--sensors)"),
        (["--tasks=3"], "--tasks is 3 with --engine local"),
        (["--workers=0"], "--workers is 0"),
        (["--engine=beam", "--workers=2"], "--workers is 2 with --engine beam"),
        (["--", "--runner=FlinkRunner"], "--runner=FlinkRunner after -- has no meaning for --engine local"),
        (["--columns=time"], "--columns: "),
        (["--engine=spark"], "invalid choice: 'spark'"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(folder, tmp_path, capsys, more, words):
    assert ingest.main(flags(folder, tmp_path / "out", *more)) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said and said.startswith("selfpab ingest: error: ")
    assert not (tmp_path / "out").exists()


def test_other_settings_are_refused(folder, tmp_path, capsys):
    assert ingest.main(flags(folder, tmp_path / "out", "--workers=1")) == 0
    before = contents(tmp_path / "out")
    assert ingest.main(flags(folder, tmp_path / "out", "--rate=30")) == 2
    assert "was prepared with rate_hz 50 (now 30)" in capsys.readouterr().err and contents(tmp_path / "out") == before


def test_nobody_can_be_used(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.cwa").write_bytes(b"nothing")
    assert ingest.main([f"--input={tmp_path / 'raw'}", f"--out={tmp_path / 'out'}", "--workers=1"]) == 2
    assert "none of the 1 recordings can be used; the first, a: a.cwa: no Axivity .cwa file" in capsys.readouterr().err


def test_a_task_of_an_array_does_its_share(folder, tmp_path, capsys, monkeypatch):
    for name, value in (("ID", 1), ("MIN", 0), ("MAX", 1), ("STEP", 1)):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert ingest.main(flags(folder, tmp_path / "out", "--engine=slurm")) == 0
    assert "1 recordings: 0 written, 1 failed\nno manifest yet" in capsys.readouterr().out
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert ingest.main(flags(folder, tmp_path / "out", "--engine=slurm")) == 0
    assert "windows (60 s)" in capsys.readouterr().out


@pytest.fixture
def slurm_commands(tmp_path, monkeypatch):
    """(sbatch, scontrol) -> a file with what is called; the two are shell texts, and scancel is there too."""
    called, folder = tmp_path / "called", tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(sbatch="echo 7", scontrol="true") -> Path:
        called.write_text("")
        for name, text in (("sbatch", sbatch), ("scontrol", scontrol), ("scancel", "true")):
            (folder / name).write_text(f"#!/bin/sh\necho {name} $1 $2 >> {called}\n{text}\n")
            (folder / name).chmod(0o755)
        return called

    return make


def test_an_array_begins_once_the_folder_is_ready(folder, tmp_path, capsys, slurm_commands):
    out = tmp_path / "out"
    assert ingest.main(flags(folder, out, "--workers=1")) == 0
    called = slurm_commands()
    assert ingest.main(flags(folder, out, "--engine=slurm")) == 0
    assert capsys.readouterr().out.endswith("Submitted batch job 7\n")
    assert called.read_text() == "sbatch --parsable --hold\nscontrol release 7\n"
    assert sorted(contents(out)) == ["movement.npz", "normalization.npz", "shards/p.array_record", "shards/p.json"]
    slurm_commands(scontrol="echo no such job >&2; exit 1")
    assert ingest.main(flags(folder, out, "--engine=slurm")) == 2
    assert "scontrol refused: no such job; the array is held until `scontrol release 7`" in capsys.readouterr().err


def test_an_array_that_is_refused_or_does_not_fit_costs_nothing(folder, tmp_path, capsys, slurm_commands):
    out = tmp_path / "out"
    assert ingest.main(flags(folder, out, "--workers=1")) == 0
    before = contents(out)
    assert ingest.main(flags(folder, out, "--engine=slurm")) == 2
    assert "sbatch, which is not on this machine" in capsys.readouterr().err and contents(out) == before
    slurm_commands(sbatch="echo invalid partition >&2; exit 1")
    assert ingest.main(flags(folder, out, "--engine=slurm")) == 2
    assert capsys.readouterr().err.endswith("error: sbatch refused: invalid partition\n") and contents(out) == before
    called = slurm_commands()
    assert ingest.main(flags(folder, out, "--engine=slurm", "--rate=30")) == 2
    assert "was prepared with rate_hz 50 (now 30)" in capsys.readouterr().err and contents(out) == before
    assert called.read_text() == "sbatch --parsable --hold\nscancel 7\n"


def test_a_folder_that_is_not_mounted(folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [f"--input={empty}", f"--pairs={folder / 'pairs.csv'}", f"--out={tmp_path / 'out'}", "--window=60"]
    assert ingest.main(command) == 2
    assert "none of the 4 files is there, is the folder mounted?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("always::UserWarning")  # the command line shows them
def test_a_file_that_is_not_there_is_said_before_the_run(folder, tmp_path, capsys):
    table = tmp_path / "pairs.csv"
    table.write_text((folder / "pairs.csv").read_text().replace("q_thigh.cwa", "q_tihgh.cwa"))
    command = [f"--input={folder / 'raw'}", f"--pairs={table}", f"--out={tmp_path / 'out'}", "--window=60"]
    assert ingest.main([*command, "--workers=1"]) == 0
    said = capsys.readouterr().err.replace("\r", "\n").splitlines()
    raw = folder / "raw"
    assert f"selfpab ingest: warning: 1 of 4 raw files in {raw} is in no line of {table}: q_thigh.cwa" in said
    warned, *_, failed = [line for line in said if "q_tihgh" in line]
    assert warned.startswith("selfpab ingest: warning: ") and "line 5: q_tihgh.cwa is not in" in warned
    assert "did you mean q_thigh.cwa?" in warned and "q failed: q_tihgh.cwa not in " in failed


def test_help_does_not_import_numpy(folder):
    import subprocess

    code = "import sys; from launch.ingest import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0 and "--pairs CSV" in ran.stdout


def test_a_line_for_each_file(folder, tmp_path, capsys):
    out, table = tmp_path / "out", tmp_path / "files.csv"
    assert ingest.main(flags(folder, out, "--workers=1")) == 0
    assert describe.main([str(out), f"--files={table}"]) == 0
    back, thigh, *broken = csv.DictReader(table.read_text().splitlines())
    assert (back["file"], thigh["place"], back["device"]) == ("p_back.cwa", "thigh", "AX3 12345")
    assert (back["first"][:24], back["nominal_hz"], back["bad_blocks"]) == ("2020-03-02T09:59:57.5100", "50.0", "")
    assert float(back["effective_hz"]) == pytest.approx(50.2, abs=0.01)
    assert (back["clock"], back["orientation"]) == ("", "as worn") and "chunks" in thigh["clock"]
    assert [one["file"] for one in broken] == ["q_back.cwa", "q_thigh.cwa"] and broken[1]["place"] == "thigh"
    assert all(one["recording"] == one["subject"] == "q" and "q_thigh.cwa" in one["failed"] for one in broken)
    assert describe.main([str(out), f"--files={out / 'files.csv'}"]) == 2
    (out / "shards" / "p.json").unlink()
    assert describe.main([str(out), f"--files={table}"]) == 2
    assert "p.json does not exist" in capsys.readouterr().err


def test_the_shard_is_read_back_whole(folder, tmp_path):
    assert ingest.main(flags(folder, tmp_path / "out", "--workers=1", "--daytime=9-10")) == 2  # 2.5 s of it
    assert ingest.main(flags(folder, tmp_path / "b", "--workers=1", "--max-gap=0.1")) == 0
    path = tmp_path / "b" / "shards" / "p.array_record"
    shard = read_shard(path)
    assert shard.counts.dtype == np.int16 and shard.counts.shape == (6, len(shard.time)) and shard.clipped == 0
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        read_shard(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_shard(path)
