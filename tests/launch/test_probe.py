"""The probe job on a tiny encoder: what it leaves behind, how it goes on, what it refuses."""

import json

import pytest

from launch import pretrain, probe


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory, compile_cache):
    """A pre-trained run folder (two steps)."""
    folder = tmp_path_factory.mktemp("pretrain") / "run"
    flags = [f"--config.data.dir={prepared}", f"--workdir={folder}", "--config.train.steps=2"]
    assert pretrain.main(["--config=configs/selfpab.py:smoke", *flags]) == 0
    return folder


def arguments(prepared, run, folder, *more):
    """The command line of a small comparison."""
    return [
        "--config=configs/probe.py:smoke",
        f"--config.data.dir={prepared}",
        f"--config.encoder={run}",
        f"--workdir={folder}",
        "--config.folds=2",
        "--config.methods=('pretrained', 'spectrogram_mlp')",
        "--config.baseline=spectrogram_mlp",
        *more,
    ]


def test_a_comparison_leaves_tables_and_pictures_and_goes_on(prepared, run, tmp_path, capsys):
    folder = tmp_path / "probe"
    assert probe.main(arguments(prepared, run, folder)) == 0
    printed = capsys.readouterr().out
    assert "macro F1" in printed and "pretrained" in printed and str(folder) in printed
    results = json.loads((folder / "results.json").read_text())
    assert set(results["methods"]) == {"pretrained", "spectrogram_mlp"}
    assert len(results["methods"]["pretrained"]["subjects"]) == 4
    # HARTH's inactive cycling is scored as cycling.
    assert "cycling (sit, inactive)" not in results["classes"]
    assert "Paired differences" in (folder / "results.md").read_text()
    pictures = {path.name for path in (folder / "figures").iterdir()}
    assert pictures == {"activity_f1.png", "confusion_pretrained.png", "confusion_spectrogram_mlp.png"}

    # A comparison cut off after its first fold, in the middle of a line, gives the same results.
    before = (folder / "results.json").read_bytes()
    rows = (folder / "folds.jsonl").read_text().splitlines()
    (folder / "folds.jsonl").write_text(rows[0] + "\n" + rows[1][:40])
    assert probe.main(arguments(prepared, run, folder)) == 2
    assert "--resume" in capsys.readouterr().err
    assert probe.main(arguments(prepared, run, folder, "--resume")) == 0
    assert (folder / "results.json").read_bytes() == before

    capsys.readouterr()
    assert probe.main(arguments(prepared, run, folder, "--resume", "--config.probe.steps=5")) == 2
    assert "probe.steps is 4 there and 5 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--config.encoder="], "--config.encoder is missing"),
        (["--config.data.dir=nowhere"], "nowhere"),
        (["--config.methods=('guess',)"], "found guess, expected some of pretrained"),
        (["--config.probe.layers=9"], "expected all, last or numbers from 0 (embedding) to 2"),
        (["--config.folds=40"], "cannot be cut into 40 folds"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(prepared, run, tmp_path, capsys, more, sentence):
    assert probe.main(arguments(prepared, run, tmp_path / "probe", *more)) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
