"""A task's place in a SLURM array, and what is handed to sbatch."""

import stat

import pytest

from data_pipelines.ingest import slurm


@pytest.mark.parametrize(
    ("number", "first", "last", "step", "expected"),
    [(0, 0, 99, 1, (0, 100)), (7, 5, 9, 1, (2, 5)), (30, 10, 39, 10, (2, 3)), (3, 3, 3, 1, (0, 1))],
)
def test_the_place_of_a_task(number, first, last, step, expected):
    names = ("ID", "MIN", "MAX", "STEP")
    values = zip(names, (number, first, last, step), strict=True)
    assert slurm.task({f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values}) == expected


def test_an_array_with_holes_would_leave_people_out():
    array = {"ID": 3, "MIN": 3, "MAX": 5, "STEP": 1, "COUNT": 2}
    with pytest.raises(ValueError, match="the array has 2 tasks between 3 and 5, expected 3 without holes"):
        slurm.task({f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in array.items()})


def test_outside_of_an_array_there_is_none():
    assert slurm.task({"SLURM_JOB_ID": "7"}) is None


def test_what_sbatch_gets(tmp_path, monkeypatch):
    written = tmp_path / "arguments"
    fake(tmp_path, monkeypatch, f'printf "%s\\n" "$@" > {written}; echo "12;cluster"')
    command = slurm.this_command(["--input", "a folder", "--out=o"])
    assert slurm.submit(slurm.array(command, 4, ["--time=1:00:00"])) == "12"
    *options, wrapped = written.read_text().splitlines()
    assert options[:3] == ["--parsable", "--hold", "--array=0-3"] and options[-1] == "--time=1:00:00"
    assert wrapped.startswith("--wrap=") and wrapped.endswith(" -m launch ingest --input 'a folder' --out=o")


def test_a_refusal_and_a_machine_without_sbatch(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "echo 'invalid partition' >&2; exit 1")
    with pytest.raises(OSError, match="sbatch refused: invalid partition"):
        slurm.submit(slurm.array(["x"], 1, []))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="not on this machine"):
        slurm.submit(slurm.array(["x"], 1, []))


def fake(folder, monkeypatch, text: str) -> None:
    """An sbatch on the PATH that runs this shell text."""
    path = folder / "sbatch"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
