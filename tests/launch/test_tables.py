"""The tables job on the synthetic cohort and a tiny encoder: what it leaves behind, how it goes on, what it refuses."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_pipelines.builders import download
from data_pipelines.labelled import load_labelled
from launch import __main__ as dispatch
from launch import pretrain, table_report, tables
from launch.config_file import load_config
from launch.run_folder import hold
from launch.table_runs import check
from launch.table_sets import TableSet
from launch.table_store import collected, job_of, jobs
from selfpab_jax.baselines.classifiers import ClassifierSettings
from selfpab_jax.evaluate.probe import ProbeConfig

PROJECT = Path(__file__).resolve().parents[2]
CONFIG, SET = "--config=configs/tables.py:smoke", "har70plus"
METHODS, LABELS = ("svm", "random_forest", "spectrogram_mlp", "pretrained_linear"), ("all", "minute", "2")
TIMES = {"seconds", "cpu_seconds", "setup_seconds", "setup_cpu_seconds", "workers"}
pytestmark = pytest.mark.filterwarnings("ignore:--encoder .* was pre-trained on recordings of P01")


@pytest.fixture(scope="module")
def data(prepared, tmp_path_factory):
    """A folder of data sets: the synthetic cohort stands for HAR70+."""
    folder = tmp_path_factory.mktemp("data")
    (folder / SET).symlink_to(prepared, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory, compile_cache):
    """A pre-trained run folder (two steps)."""
    folder = tmp_path_factory.mktemp("pretrain") / "run"
    flags = [f"--config.data.dir={prepared}", f"--workdir={folder}", "--config.train.steps=2"]
    assert pretrain.main(["--config=configs/selfpab.py:smoke", "--config.model.layers=1", *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def call(data):
    """out, more... -> status, out and err of a call on the cohort."""

    def of(folder, *more):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = tables.main([CONFIG, f"--data={data}", f"--datasets={SET}", f"--out={folder}", *more])
        return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())

    return of


@pytest.fixture(scope="module")
def whole(call, run, tmp_path_factory):
    """A call that nothing disturbs: its folder, its flags, what it printed, its rows."""
    folder = tmp_path_factory.mktemp("tables") / "out"
    flags = (f"--methods={','.join(METHODS)}", f"--labels={','.join(LABELS)}", f"--encoder={run}", "--workers=1")
    found = call(folder, *flags)
    assert found.status == 0, found.err
    return SimpleNamespace(folder=folder, flags=flags, out=found.out, rows=rows_of(folder))


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(table_report.figures, "comparison", lambda *_: None)
    monkeypatch.setattr(table_report.label_figures, "label_curve", lambda *_: None)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def outcome(rows):
    """What is found by job, whatever the order and the times."""
    return {job_of(row): {k: v for k, v in row.items() if k not in TIMES} for row in rows}


def test_a_row_for_each_fold_scores_every_labelled_sample(whole, prepared):
    expected = [(SET, method, labels, 0, fold) for method in METHODS for labels in LABELS for fold in range(4)]
    assert [job_of(row) for row in whole.rows] == expected
    of_subject = {recording.subject: recording.label for recording in load_labelled(prepared)}
    for row in whole.rows:
        assert len(row["confusion"]) == 1 and len(row["train"]) == (2 if row["labels"] == "2" else 3)
        for who, confusion in row["confusion"].items():
            assert who not in row["train"]
            truth = [int((of_subject[who] == code).sum()) for code in row["codes"]]
            np.testing.assert_array_equal(np.sum(confusion, axis=1), truth)
        assert set(row["smoothed"]) == (set() if row["labels"] == "minute" else set(row["confusion"]))
        for who, smoothed in row["smoothed"].items():
            np.testing.assert_array_equal(np.sum(smoothed, axis=1), np.sum(row["confusion"][who], axis=1))


def test_every_method_is_tested_on_the_same_folds(whole):
    """And trained on the same subjects, also where they are drawn."""
    found = {}
    for row in whole.rows:
        people = (tuple(row["confusion"]), tuple(row["train"]))
        assert found.setdefault((row["labels"], row["fold"]), people) == people
    tested = {tuple(found[labels, fold][0] for fold in range(4)) for labels in LABELS}
    assert len(tested) == 1 and sorted(tested.pop()) == [("P01",), ("P02",), ("P03",), ("P04",)]


def test_methods_without_randomness_run_once_on_all_labels():
    lists = {"datasets": [SET], "methods": ["svm", "scratch"], "labels": ["all", "minute"], "seeds": [5, 0]}
    found = [tuple(one)[1:] for one in jobs(lists, {SET: SimpleNamespace(folds=[None])})]
    svm = [("svm", "all", 5, 0), ("svm", "minute", 5, 0), ("svm", "minute", 0, 0)]
    assert found == svm + [("scratch", labels, seed, 0) for seed in (5, 0) for labels in ("all", "minute")]


def test_tables_and_pictures_beside_the_numbers_of_the_article(whole):
    lines = [line.split("|") for line in whole.out.splitlines()]
    beside = {"SVM": (" ± ", "64.3 ± 2.9"), "SimCLR": ("not run", "59.7"), "SelfHAR": ("not run", "58.8")}
    for name, (ours, theirs) in beside.items():
        (row, *_) = [line for line in lines if len(line) > 3 and line[1].strip() == name]
        assert ours in row[2] and row[3].strip() == theirs
    assert "| method | 2 | 3 |" in whole.out and str(whole.folder) in whole.out
    assert [whole.out.count(words) for words in ("One labelled minute of each activity: ", ", paper |")] == [3, 2]
    protocol, _, printed = (whole.folder / "tables.md").read_text().partition("\n\n")
    assert printed in whole.out and "HAR70+: 4 subjects in 4 folds; seeds 0; encoder" in protocol
    assert {row["origin"] for row in whole.rows} == set(json.loads((whole.folder / "origins.json").read_text()))
    assert (whole.folder / "tables.tex").read_text().count(r"\begin{table}") == whole.out.count("|---|") == 8
    pictures = {path.name for path in (whole.folder / "figures" / SET).iterdir()}
    confusions = {f"confusion_{name}.png" for name in ("Random_forest", "SVM", "SelfPAB_linear", "Spectrograms___MLP")}
    of_a_minute = {path.name for path in (whole.folder / "figures" / f"{SET}_minute").iterdir()}
    assert pictures - {"labelled_subjects.png"} == of_a_minute == {"activity_f1.png", *confusions}
    assert "labelled_subjects.png" in pictures


def test_the_same_call_again_does_nothing_new(call, whole, run, tmp_path, no_pictures):
    """Nor does one with the run folder moved: it is the same encoder."""
    files = ("results.jsonl", "origins.json", "tables.tex", "tables.md")
    before = {name: (whole.folder / name).read_bytes() for name in files}
    for encoder, same in ((shutil.copytree(run, tmp_path / "moved"), files[:3]), (run, files)):
        assert call(whole.folder, *whole.flags, f"--encoder={encoder}").status == 0
        assert {name: (whole.folder / name).read_bytes() for name in same} == {name: before[name] for name in same}


def test_a_store_cut_in_the_middle_of_a_line_goes_on(call, whole, tmp_path, no_pictures):
    lines = [json.dumps(row) for row in whole.rows if row["method"] in ("svm", "random_forest")]
    (tmp_path / "results.jsonl").write_text("\n".join([*lines[::3], lines[1][: len(lines[1]) // 2]]))
    assert call(tmp_path, *whole.flags, "--methods=svm,random_forest").status == 0
    assert outcome(rows_of(tmp_path)) == outcome(map(json.loads, lines))
    assert len(rows_of(tmp_path)) == len(lines)


def test_other_settings_data_or_encoders_need_another_folder(call, whole, run, tmp_path):
    before = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    trained_on = shutil.copytree(run, tmp_path / "run")
    with (trained_on / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    trees, folds = "--config.classifiers.all.forest_trees=6", "--config.folds.har70plus=2"
    for more in ((trees,), (folds, "--labels=all"), (f"--encoder={trained_on}",)):
        found = call(whole.folder, *whole.flags, *more)
        assert found.status == 2 and not found.out
        assert f"{whole.folder}/results.jsonl holds " in found.err and "or another --out" in found.err
        assert len(found.err.splitlines()) == 1
    with hold(whole.folder):
        assert "a run is under way in" in call(whole.folder, *whole.flags).err
    assert before == {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--methods=svn"], "--methods: found svn, expected some of svm, xgboost, random_forest, "),
        (["--methods=svm,simclr"], "--methods: simclr is not implemented yet"),
        (["--methods=svm,svm"], "--methods is ['svm', 'svm'], expected at least one and none twice"),
        (["--methods="], "--methods is [], expected at least one"),
        (["--datasets=har70"], "--datasets: found har70, expected some of harth, har70plus, "),
        (["--labels=0"], "--labels: found 0, expected all, minute or a number of training subjects"),
        (["--labels=all,few"], "--labels: found few, expected all"),
        (["--labels=2,3"], "--labels: found 3, har70plus has 3 training subjects in a fold: name fewer, or all"),
        (["--config.reference=xgbost"], "--config.reference: found xgbost, expected one of svm, "),
        (["--seeds=0,a"], "--seeds is 0,a, expected whole numbers like 0,1,2"),
        (["--seeds=-1"], "--seeds is -1, expected whole numbers"),
        (["--methods=pretrained"], "pretrained on har70plus need a pre-trained encoder"),
        (["--methods=pretrained", "--encoder=configs"], "--encoder: configs is no run folder, it has no config.json"),
        (["--encoder=nowhere"], "--encoder: nowhere is no run folder"),
        (["--encoder=harth=x"], "--encoder: found harth, expected some of har70plus"),
        (["--encoder=har70plus=x,nonsense"], "--encoder is har70plus=x,nonsense, expected RUN, or DATASET=RUN1"),
        (["--encoder=har70plus=x,har70plus=y"], "each set once"),
        (["--data=nowhere"], "--data: found no folder nowhere"),
        (["--data="], "--data=DIR is missing"),
        (["--out="], "--out=DIR is missing"),
        (["--workers=0"], "--workers is 0, expected 1 or more"),
        (["--dataset=x"], "unknown flag --dataset; did you mean --datasets?"),
        (["--config=configs/probe.py"], "--config: configs/probe.py describes no tables"),
        (["--config.validtion=0.1"], "did you mean validation?"),
        (["--config.folds.har70plus=5"], "4 subjects cannot be cut into 5 folds"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(call, tmp_path, more, sentence):
    found = call(tmp_path / "out", "--methods=svm", *more)
    assert found.status == 2 and not found.out
    assert sentence in found.err and found.err.count("\n") == 1
    assert ("did you mean svm?" in found.err) == (more == ["--methods=svn"])


def test_folders_without_recordings_or_with_other_rows(call, tmp_path, monkeypatch):
    monkeypatch.setattr(download.tfds.download.DownloadManager, "download", lambda *_: 1 / 0)
    (tmp_path / "data" / SET).mkdir(parents=True)
    flags = ("--methods=svm", f"--data={tmp_path}/data")
    found = call(tmp_path / "out", *flags)
    assert found.status == 2 and "har70.zip cannot be downloaded" in found.err and "by hand" in found.err
    (tmp_path / "data" / SET / "readme.txt").write_text("")
    found = call(tmp_path / "out", *flags)
    assert found.status == 2 and "nothing in layout har70plus found" in found.err
    (tmp_path / "out" / "results.jsonl").write_text('{"method": "svm", "fold": 0}\n')
    found = call(tmp_path / "out", "--methods=svm")
    assert found.status == 2 and "results.jsonl line 1 is no result of this job" in found.err
    (tmp_path / "out" / "results.jsonl").unlink()
    (tmp_path / "out" / "origins.json").write_text("{")
    found = call(tmp_path / "out", "--methods=svm")
    assert found.status == 2 and "origins.json is damaged" in found.err


def test_a_network_of_another_method_is_refused(data):
    with pytest.raises(ValueError, match="--config.network: configs/mae.py is no config of objective selfpab"):
        _ = TableSet({"data": str(data), "folds": {SET: 0}, "encoder": {}, "network": "configs/mae.py"}, SET).encoder


def test_harth_is_scored_on_merged_classes_and_without_s009_too():
    settings = json.loads(load_config("configs/tables.py").to_json())
    row = {"dataset": "harth", "method": "svm", "labels": "all", "seed": 0, "codes": [7, 13, 130], "smoothed": {}}
    row |= {"classes": ["sitting", "cycling (sit)", "cycling (sit, inactive)"]}
    confusions = {"S009": [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "S010": [[1, 0, 0], [0, 1, 0], [0, 1, 0]]}
    rows = [row | {"fold": i, "confusion": {who: one}} for i, (who, one) in enumerate(confusions.items())]
    found = collected(rows, settings, "all")
    assert list(found) == ["harth", "harth without S009"] and not collected(rows, settings, "minute")
    assert found["harth"]["smoothed"] is None and found["harth"]["raw"]["classes"] == ["sitting", "cycling (sit)"]
    subjects = {name: one["raw"]["methods"]["svm"]["subjects"] for name, one in found.items()}
    merged = {"S009": {"confusion": [[[1, 5], [11, 28]]]}, "S010": {"confusion": [[[1, 0], [0, 2]]]}}
    assert subjects == {"harth": merged, "harth without S009": {"S010": merged["S010"]}}


def test_help_lists_flags_and_fields(capsys):
    with pytest.raises(SystemExit) as stopped:
        dispatch.main(["tables", "--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    flags = ("data", "out", "encoder", "methods", "datasets", "labels", "seeds", "workers", "config", "config.epochs")
    assert all(f"--{name}" in printed for name in flags)
    assert "--config.probe.hidden=1028" in printed and "fields of configs/tables.py:" in printed


@pytest.mark.parametrize("variant", ["", "code", "small", "smoke"])
def test_every_variant_names_methods_and_settings_that_exist(variant, run, tmp_path):
    settings = json.loads(load_config(f"configs/tables.py:{variant}").to_json())
    check(settings | {"data": str(tmp_path), "encoder": dict.fromkeys(settings["datasets"], str(run))})
    assert all(ProbeConfig(**settings["probe"] | own) for own in ({}, *settings["own"].values()))
    assert all(ClassifierSettings(**own) for own in settings["classifiers"].values())


@pytest.mark.slow
def test_two_workers_find_what_one_finds(call, whole, tmp_path, monkeypatch, compile_cache):
    for name, value in compile_cache.items():
        monkeypatch.setenv(name, value)
    found = call(tmp_path, *whole.flags, "--workers=2")
    assert found.status == 0, found.err
    assert outcome(rows_of(tmp_path)) == outcome(whole.rows)
    here, there = ((folder / "tables.md").read_text() for folder in (tmp_path, whole.folder))
    assert here.partition("Time of a fold.")[0] == there.partition("Time of a fold.")[0]


@pytest.mark.slow
def test_a_terminated_call_leaves_finished_folds_and_no_processes(call, whole, data, tmp_path, compile_cache):
    flags = [f"--data={data}", f"--datasets={SET}", f"--out={tmp_path}", *whole.flags, "--workers=2"]
    command = [sys.executable, "-m", "launch.tables", CONFIG, *flags]
    how = {"cwd": PROJECT, "env": os.environ | compile_cache, "start_new_session": True}
    with (tmp_path / "said").open("w") as said:
        child = subprocess.Popen(command, stdout=said, stderr=said, **how)
    end, store = time.monotonic() + 120, tmp_path / "results.jsonl"
    while child.poll() is None and time.monotonic() < end and not (store.exists() and store.stat().st_size):
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 130, (tmp_path / "said").read_text()
    end = time.monotonic() + 20  # the tracker that Python starts beside workers is the last to go
    with pytest.raises(ProcessLookupError):  # no process of its session is left
        while time.monotonic() < end:
            os.killpg(child.pid, 0)
            time.sleep(0.05)
    assert 0 < len(rows_of(tmp_path)) < len(whole.rows)
    assert "selfpab tables: interrupted" in (tmp_path / "said").read_text()
    assert call(tmp_path, *whole.flags).status == 0
    assert outcome(rows_of(tmp_path)) == outcome(whole.rows)
