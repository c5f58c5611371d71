"""`data.hours_by`: what a run trains on, and runs whose config is older than the field."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.manifest import read_manifest
from data_pipelines.splits import split_indices
from launch import started
from launch.config_file import load_config
from launch.run_folder import open_run_folder


@pytest.mark.parametrize("hours_by", ["window", "subject", None])
def test_a_run_trains_on_the_hours_it_was_asked_for(prepared: Path, tmp_path, hours_by):
    config = json.loads(load_config("configs/selfpab.py:smoke").to_json())
    config["data"] |= {"dir": str(prepared), "hours": 0.5, "split_seed": 1, "hours_by": hours_by}
    if hours_by is None:  # a config file of before
        del config["data"]["hours_by"]
    start = started.start(config, tmp_path / "run", resume=False)
    start.held.close()
    expected, valid = split_indices(read_manifest(prepared), "subject", 0.1, 1, 0.5, hours_by or "window")
    np.testing.assert_array_equal(start.train, expected)
    np.testing.assert_array_equal(start.valid, valid)
    assert len(np.unique(start.train // 4)) == (2 if hours_by == "subject" else 3)  # people of 4 windows each


def test_a_run_from_before_the_field_goes_on(tmp_path):
    old = {"data": {"dir": "a", "hours": 1.0}}
    open_run_folder(tmp_path / "run", old, resume=False)
    open_run_folder(tmp_path / "run", {"data": old["data"] | {"hours_by": "window"}}, resume=True)
    with pytest.raises(ValueError, match="data.hours_by is 'window' there and 'subject' here"):
        open_run_folder(tmp_path / "run", {"data": old["data"] | {"hours_by": "subject"}}, resume=True)
