"""The report of a tiny comparison, its numbers by hand; and that figures are drawn without a warning."""

import json

import numpy as np
import pytest

from selfpab_jax.evaluate import figures
from selfpab_jax.evaluate.report import console_table, markdown, score_results, write_report
from selfpab_jax.signals.stft import CHANNELS, N_BINS

PERFECT, HALF, NONE = [[2, 0], [0, 2]], [[1, 1], [1, 1]], [[0, 2], [2, 0]]


def results(**methods):
    return {
        "methods": {
            name: {"subjects": {who: {"confusion": one} for who, one in zip("ABC", confusions, strict=False)}}
            for name, confusions in methods.items()
        },
        "classes": ["walking", "sit | stand"],
        "protocol": {"folds": "leave one subject out"},
        "seeds": [0],
    }


def two_seeds():
    both = results(good=[[PERFECT, PERFECT], [PERFECT, HALF]], poor=[[HALF, NONE], [HALF, HALF]], fixed=[HALF, NONE])
    return both | {"seeds": [0, 1]}


def test_scores_by_hand():
    scores = score_results(results(good=[PERFECT, HALF], poor=[HALF, NONE]), "poor")
    entry = scores["methods"]["good"]["summary"]["macro_f1"]
    assert (entry["mean"], entry["se"], entry["n"]) == (0.75, pytest.approx(0.25), 2)
    assert np.isnan(entry["se_seeds"])  # one seed says nothing about seeds
    assert list(scores["differences"]) == ["good"]
    assert scores["differences"]["good"]["macro_f1"]["mean"] == 0.5
    assert scores["differences"]["good"]["macro_f1"]["se"] == 0


def test_seeds_are_averaged_within_a_subject_first():
    scores = score_results(two_seeds(), "poor")["methods"]
    good = scores["good"]["summary"]["macro_f1"]
    assert scores["good"]["subjects"]["B"]["macro_f1"] == 0.75
    assert (good["mean"], good["se"], good["n"]) == (0.875, pytest.approx(0.125), 2)
    assert good["se_seeds"] == pytest.approx(0.125)  # means over subjects: 1 and 0.75
    np.testing.assert_allclose(scores["good"]["summary"]["per_class_f1"]["se_seeds"], [0.125, 0.125])
    assert np.isnan(scores["fixed"]["summary"]["macro_f1"]["se_seeds"])
    assert scores["poor"]["subjects"]["A"]["macro_f1"] == 0.25


@pytest.mark.parametrize(
    ("wrong", "baseline", "message"),
    [
        (results(a=[HALF]), "b", "the baseline 'b' is not among the methods"),
        (results(a=[HALF, HALF], b=[HALF]), "b", "only one side has"),
        (results(a=[[[1]]]), None, r"subject A, method 'a', has shape \(1, 1\), expected \(2, 2\) or \(1, 2, 2\)"),
        (results(a=[]), None, "method 'a' has no subjects"),
    ],
)
def test_report_refuses_and_writes_nothing(wrong, baseline, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_report(wrong, tmp_path / "run", baseline)
    assert not (tmp_path / "run").exists()


def test_written_files(tmp_path):
    write_report(two_seeds(), tmp_path, "poor")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md"]
    text = (tmp_path / "results.json").read_text()
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert {key: found[key] for key in two_seeds()} == two_seeds()
    assert found["scores"]["methods"]["good"]["summary"]["macro_f1"]["mean"] == 0.875
    assert found["scores"]["methods"]["fixed"]["summary"]["macro_f1"]["se_seeds"] is None
    assert "[ 0, 2 ]" in text  # a row of a matrix on one line

    page = (tmp_path / "results.md").read_text()
    assert "- folds: leave one subject out\n- subjects: 2\n- seeds: 0, 1\n" in page
    columns = "macro F1 | balanced accuracy | kappa | precision | accuracy | macro F1 (sklearn)"
    assert f"| method | {columns} | SE of macro F1 over seeds |" in page
    same = "87.5 ± 12.5"
    assert f"| good | {same} | {same} | 75.0 ± 25.0 | {same} | {same} | {same} | 12.5 |" in page  # kappa of HALF is 0
    assert "kappa is Cohen's, times 100" in page
    assert "| fixed | 25.0 ± 25.0 |" in page
    assert "## Paired differences to poor" in page
    assert "| good | +50.0 ± 25.0 | 0.500 | 2 of 2 |" in page
    assert "| sit \\| stand | 2 | 87.5 ± 12.5 | 37.5 ± 12.5 | 25.0 ± 25.0 |" in page


def test_same_results_same_bytes(tmp_path):
    for folder in ("a", "b"):
        write_report(two_seeds(), tmp_path / folder, "poor")
    for name in ("results.json", "results.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_interrupted_write_leaves_the_old_report(tmp_path, monkeypatch):
    write_report(two_seeds(), tmp_path)
    before = (tmp_path / "results.json").read_bytes()

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_report(results(other=[HALF]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md"]
    assert (tmp_path / "results.json").read_bytes() == before


def test_activities_nobody_does_and_a_single_subject():
    alone = results(only=[[[4, 0], [0, 0]]])
    page = markdown(alone, score_results(alone))
    # No standard error of one subject, no kappa of one class.
    assert "| only | 100.0 | 100.0 | – | 100.0 | 100.0 | 50.0 |" in page
    assert "| sit \\| stand | 0 | – |" in page
    assert "over seeds" not in page


def test_console_table():
    lines = console_table(two_seeds(), "poor").splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == ["method", "------", "good", "poor", "fixed"]
    assert lines[0].endswith("macro F1 − poor")
    assert lines[2].endswith("+50.0 ± 25.0 (p 0.500)")
    assert max(map(len, lines)) == len(lines[0]) == len(lines[2])
    assert "−" not in console_table(two_seeds())


def test_figures_are_drawn(tmp_path):
    paths = figures.comparison(two_seeds(), tmp_path)
    rows = [{"step": s, "train/loss": 1 / s, "train/learning_rate": 1e-4} for s in range(1, 5)]
    rows += [{"step": 4, "valid/loss": 0.3}, {"step": 5, "train/loss": float("nan"), "valid/loss": None}]
    paths.append(figures.loss_curves(rows, tmp_path / "loss.png"))
    paths.append(figures.loss_curves([], tmp_path / "nothing_yet.png"))
    spectrogram = np.random.default_rng(0).normal(size=(20, len(CHANNELS) * N_BINS))
    cells = np.zeros(spectrogram.shape, bool)
    cells[3:6] = True
    parts = {
        "original": spectrogram,
        "altered": np.where(cells, np.nan, spectrogram),
        "reconstruction": spectrogram,
        "cells": cells,
    }
    paths.append(figures.reconstruction(parts, tmp_path / "deep" / "reconstruction.png"))
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
    drawn = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert drawn == sorted(path.name for path in paths)  # nothing temporary stays
    assert "confusion_good.png" in drawn
