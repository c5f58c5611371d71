"""Whether a folder may be gone on with: the one sentence for each that may not."""

import dataclasses
import json

import pytest

from data_pipelines.folder import check_out
from data_pipelines.ingest.settings import IngestSettings
from data_pipelines.readers import declared
from data_pipelines.shards import SHARDS, write_sidecar

COLUMNS = "x=a,y=b,z=c,time=t,unit=g,rate=100"


def recorded(columns: str | None = None, **changes) -> dict:
    settings = IngestSettings(columns=columns and declared.parse(columns))
    return dataclasses.replace(settings, **changes).recorded()


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out" / SHARDS).mkdir(parents=True)
    return tmp_path / "out"


def left_by(out, settings: dict, *names: str):
    for name in names:
        write_sidecar(out, name, settings, "0", {})


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (COLUMNS, COLUMNS.replace("=c", "=d"), f"columns {COLUMNS} (now x=a,y=b,z=d,time=t,unit=g,rate=100)"),
        (COLUMNS, None, f"columns {COLUMNS} (now none)"),
        (None, "x=2,y=1,z=0,unit=mg,rate=85.7,start=2020-01-31T12:00:00,decimal=comma", "columns none (now x=2,"),
    ],
)
def test_other_columns_are_said_as_the_flag_says_them(out, before, now, words):
    left_by(out, recorded(before), "a")
    check_out(out, recorded(before), {"a"})
    with pytest.raises(FileExistsError) as error:
        check_out(out, recorded(now), {"a"})
    assert f"was prepared with {words}" in str(error.value) and "{" not in str(error.value)


def test_all_that_differs_is_named(out):
    left_by(out, recorded(align=False), "a")
    with pytest.raises(FileExistsError, match=r"with align False \(now True\), max_clipped 0.01 \(now 0.5\): choose"):
        check_out(out, recorded(max_clipped=0.5), {"a"})


@pytest.mark.parametrize(
    ("folders", "words"),
    [((), "shards"), (("failed",), "shards and failed"), (("labelled", "failed"), "shards and labelled and failed")],
)
def test_where_those_who_are_not_in_the_input_have_something(out, folders, words):
    left_by(out, recorded(), "a", "b", "c")
    for name in folders:
        (out / name).mkdir()
    with pytest.raises(FileExistsError) as error:
        check_out(out, recorded(), {"b"})
    assert str(error.value) == (
        f"{out} holds recordings that are not in the input (a, c): choose another --out or delete what these names "
        f"have in {words}"
    )


def test_what_is_new_empty_or_unreadable_may_be_filled(out):
    check_out(out / "no", recorded(), {"a"})
    check_out(out, recorded(), {"a"})
    (out / SHARDS / "a.json").write_text(json.dumps([]))
    check_out(out, recorded(), set())
