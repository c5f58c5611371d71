"""The flags of ingest: what the help says, and the settings they become."""

import pytest

from data_pipelines.contract import PLACES
from data_pipelines.ingest import pairs
from data_pipelines.readers import declared
from launch import ingest_line

NEEDED = ["--input=raw", "--out=out"]


def settings(*more):
    return ingest_line.settings_of(ingest_line.parse([*NEEDED, *more]))


def test_the_help_names_all_that_can_be_said(capsys):
    with pytest.raises(SystemExit) as stopped:
        ingest_line.parse(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert "selfpab ingest --input raw --pairs pairs.csv --out prepared/cohort" in said  # an example
    assert f"any of {', '.join(PLACES)}" in said and "searched with all below it" in said
    assert f"csv with {', '.join(pairs.COLUMNS)}; if wanted {', '.join(pairs.OPTIONAL)}" in said
    keys = said.partition("Keys of --columns: ")[2].replace(", and if wanted", "").partition(" (")[0].split()
    assert sorted(keys) == sorted(declared.KEYS)
    assert "exit code is 0 also if some files failed, and 2 if none" in said


@pytest.mark.parametrize(
    ("text", "hours"), [("22-0", (22, 24)), ("22-24", (22, 24)), ("22-6", (22, 6)), ("0-7", (0, 7))]
)
def test_hours_of_the_day(text, hours):
    assert settings(f"--daytime={text}").daytime == hours


def test_hours_that_hold_nothing():
    with pytest.raises(ValueError, match="daytime is 0-0, expected two different hours"):
        settings("--daytime=0-0")


def test_places_in_any_case():
    assert settings("--pairs=p.csv", "--sensors=Back, THIGH").cut.sensors == ("back", "thigh")
