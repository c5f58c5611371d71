"""The masked autoencoder down the whole road: prepared, pre-trained, probed, read from, compared."""

import json
import shutil

import numpy as np
import pytest

from data_pipelines.prepare import PrepareSettings, prepare
from data_pipelines.shards import Cut
from launch import compare, comparison, features, methods, pretrain, probe
from launch.config_file import load_config
from selfpab_jax.evaluate import report
from selfpab_jax.train.metrics import read_metrics

SMALL = ["--config.train.steps=2", "--config.train.valid_every=1", "--config.train.save_every=1"]


@pytest.fixture(scope="module")
def wrist(tmp_path_factory):
    """Wrist signals of 4 people at 30 Hz, 18 windows of one minute each."""
    folder = tmp_path_factory.mktemp("wrist") / "prepared"
    cut = Cut(sensors=("wrist",), rate_hz=30, window_s=60, stride_s=60)
    prepare(None, "synthetic", folder, PrepareSettings(cut, subjects=4, hours=0.3), workers=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def run(wrist, tmp_path_factory, compile_cache):
    folder = tmp_path_factory.mktemp("mae") / "run"
    flags = ["--config=configs/mae.py:smoke", f"--config.data.dir={wrist}", f"--workdir={folder}"]
    assert pretrain.main([*flags, "--config.data.sampling=movement", *SMALL, "--config.train.keep_every=1"]) == 0
    return folder


def test_a_run_reports_every_loss_and_draws_its_picture(run):
    rows = read_metrics(run / "metrics.jsonl")
    for kind in ("train", "valid"):
        found = [row for row in rows if f"{kind}/lmm" in row]
        assert found and all(
            np.isfinite([row[f"{kind}/{name}"] for name in ("lmm", "lmv", "mse")]).all() for row in found
        )
        assert all(row[f"{kind}/lmm"] == row[f"{kind}/loss"] for row in found)  # the smoke variant trains on LMM
    assert (run / "figures" / "reconstruction.png").stat().st_size > 10_000


def test_probed_on_tokens_at_a_chosen_step(run, wrist, tmp_path, capsys):
    flags = ["--config=configs/probe_mae.py:smoke", f"--config.data.dir={wrist}", f"--config.encoder={run}"]
    assert probe.main([*flags, "--config.which=1", "--config.folds=2", f"--workdir={tmp_path}/probe"]) == 0
    printed = capsys.readouterr()
    assert "step 1\n" in printed.err and "balanced accuracy" in printed.out and "kappa" in printed.out
    results = json.loads((tmp_path / "probe" / "results.json").read_text())
    assert set(results["methods"]) == {"pretrained_linear", "pretrained_lstm_tuned", "spectrogram_linear"}
    totals = {np.sum(one["confusion"]) for one in results["methods"]["pretrained_linear"]["subjects"].values()}
    assert all(70 <= total <= 108 for total in totals)  # 18 minutes of patches of 10 s, less those at gaps


def test_data_of_another_sensor_or_rate_are_not_probed(run, prepared, wrist, tmp_path, capsys):
    flags = ["--config=configs/probe_mae.py:smoke", f"--config.data.dir={prepared}", f"--config.encoder={run}"]
    assert probe.main([*flags, f"--workdir={tmp_path}/probe"]) == 2
    sentence = (
        "back_x, back_y, back_z, thigh_x, thigh_y, thigh_z at 50 Hz, the method reads wrist_x, wrist_y, wrist_z at 30"
    )
    assert sentence in capsys.readouterr().err and not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("config", "data", "sentence"),
    [
        (
            "selfpab",
            "wrist",
            "holds wrist at 30 Hz, this config (objective selfpab) reads back, thigh at 50 Hz: write the folder anew "
            "with --sensors=back,thigh --rate=50, or train with --config=configs/mae.py --config.sensor=wrist "
            "--config.rate_hz=30",
        ),
        (
            "mae",
            "prepared",
            "holds back, thigh at 50 Hz, this config (objective mae) reads wrist at 30 Hz: write the folder anew with "
            "--sensors=wrist --rate=30, or train with --config=configs/selfpab.py",
        ),
    ],
)
def test_data_of_another_sensor_or_rate_train_nothing(config, data, sentence, prepared, wrist, tmp_path, capsys):
    folder = shutil.copytree({"wrist": wrist, "prepared": prepared}[data], tmp_path / "data")
    (folder / "normalization.npz").unlink()  # nothing else is looked at
    flags = [f"--config=configs/{config}.py:smoke", f"--config.data.dir={folder}", f"--workdir={tmp_path}/r"]
    assert pretrain.main(flags) == 2
    assert capsys.readouterr().err == f"selfpab pretrain: error: {folder} {sentence}\n"
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("name", ["selfpab", "mae"])
def test_what_a_config_reads_is_what_its_method_reads(name):
    config = json.loads(load_config(f"configs/{name}.py:smoke").to_json())
    ones = {f"linear_{part}": np.ones(156) for part in ("mean", "std")}
    method = methods.build(config, ones)
    found = methods.sensors_of(method.recorded), method.tokens.rate_hz
    assert methods.entry(config).reads(config) == found


def test_features_of_a_wrist_recording(run, tmp_path, capsys):
    """100 Hz in, one vector per 10 s out; the times are the middles of the patches."""
    samples, rng = 3500, np.random.default_rng(0)
    start = np.datetime64("2014-05-07T13:29:50.000", "ms")
    rows = [
        f"{str(start + np.timedelta64(10 * i, 'ms')).replace('T', ' ')},{x:.4f},{y:.4f},{z:.4f}"
        for i, (x, y, z) in enumerate(rng.normal((0, 0, 1), 0.05, (samples, 3)))
    ]
    file = tmp_path / "1000001_90001_0_0.csv"
    file.write_text("\n".join(["time,x,y,z", *rows]) + "\n")
    out = tmp_path / "f.npz"
    assert features.main([f"--run={run}", f"--input={file}", "--layout=ukbiobank", f"--out={out}"]) == 0
    with np.load(out) as found:
        assert found["features"].shape == (3, 1, 16) and float(found["token_seconds"]) == 10
        seconds = found["time"].astype("M8[us]") - start.astype("M8[us]")
        assert seconds.astype(int).tolist() == [5_000_000, 15_000_000, 25_000_000]


TWO_ARMS = """
import runpy

def get_config(variant=""):
    config = runpy.run_path("configs/compare.py")["get_config"]("smoke")
    del config.arms.lmm
    config.methods, config.controls, config.seeds = ("pretrained_linear",), ("spectrogram_linear",), (1,)
    return config
"""


@pytest.fixture
def comparing(wrist, tmp_path):
    file = tmp_path / "two_arms.py"
    file.write_text(TWO_ARMS)
    flags = [f"--config.pretrain_data={wrist}", f"--config.probe_data={wrist}", f"--workdir={tmp_path}/compare"]
    flags.append("--config.probe_settings=('folds=2',)")
    settings = "('sensor=wrist','train.steps=2')"
    return [f"--config={file}", *flags, f"--config.settings={settings}"]


def test_a_comparison_sets_losses_against_scores_and_goes_on(comparing, tmp_path, capsys, compile_cache):
    assert compare.main(comparing) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "compare"
    results = json.loads((folder / "results.json").read_text())
    assert list(results["methods"]) == ["mse pretrained_linear", "lmm_lmv pretrained_linear", "spectrogram_linear"]
    rows = [json.loads(line) for line in (folder / "loss_and_score.jsonl").read_text().splitlines()]
    assert [(row["loss"], row["step"]) for row in rows] == [("mse", 1), ("mse", 2), ("lmm_lmv", 1), ("lmm_lmv", 2)]
    for row in rows:  # the point's losses are those of its checkpoint's validation
        metrics = read_metrics(folder / "runs" / f"{row['loss']}_s1" / "metrics.jsonl")
        valid = next(one for one in metrics if one["step"] == row["step"] and "valid/lmm" in one)
        assert (row["valid/lmm"], row["valid/mse"]) == (valid["valid/lmm"], valid["valid/mse"])
    assert (folder / "figures" / "loss_and_score.png").exists() and "valid/lmm" in printed
    config = json.loads((folder / "runs" / "lmm_lmv_s1" / "config.json").read_text())
    assert config["loss"] == {"lmm": 1.0, "lmv": 1.0, "mse": 0.0} and config["seed"] == 1
    assert compare.main(comparing) == 2
    assert "add --resume" in capsys.readouterr().err
    assert compare.main([*comparing, "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[-20:] == printed.splitlines()[-20:]


def test_a_comparison_joins_the_seeds_of_its_runs(tmp_path):
    """The confusion matrices of an arm are those of its runs, in order of the seeds; scores are means over both."""
    names = {"classes": ["lying", "walking"], "protocol": {"folds": 2, "encoder": "x"}, "seeds": [0]}
    final, rows = {}, []
    for arm, seed, hits in (("mse", 3, 1), ("mse", 5, 2), ("lmm", 3, 3), ("lmm", 5, 4)):
        run, probed = tmp_path / "runs" / f"{arm}{seed}", tmp_path / "probes" / f"{arm}{seed}"
        run.mkdir(parents=True)
        metrics = [
            {"step": 9, "valid/loss": 1.0, "valid/lmm": 7.0},
            {"step": 10, "valid/loss": 1.0, "valid/lmm": hits / 8},
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
        people = {who: {"confusion": [[[hits, 4 - hits], [0, 4]]]} for who in ("a", "b")}
        report.write_report(names | {"methods": {"pretrained_linear": {"subjects": people}}}, probed)
        final[arm, seed] = probed
        rows.append(comparison.collect(probed, run, arm, seed, 10, "pretrained_linear", ["valid/lmm", "valid/lmv"]))
    assert [row["valid/lmm"] for row in rows] == [1 / 8, 2 / 8, 3 / 8, 4 / 8] and "valid/lmv" not in rows[0]
    config = {"arms": {"mse": ["loss.mse=1"], "lmm": []}, "seeds": [3, 5], "methods": ["pretrained_linear"]}
    config |= {"baseline": "mse pretrained_linear", "metrics": ["valid/lmm", "valid/lmv"], "pretrain": "m.py"}
    with pytest.warns(UserWarning, match="no validation knows valid/lmv"):
        text = comparison.conclude(tmp_path, config | {"pretrain_data": "unlabelled"}, rows, final, None)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["methods"]["lmm pretrained_linear"]["subjects"]["b"]["confusion"] == [
        [[3, 1], [0, 4]],
        [[4, 0], [0, 4]],
    ]
    scores = results["scores"]["methods"]["mse pretrained_linear"]["summary"]["accuracy"]
    assert scores["mean"] == pytest.approx((5 + 6) / 2 / 8) and scores["se_seeds"] == pytest.approx(1 / 16)
    assert "arm mse: loss.mse=1" in (tmp_path / "results.md").read_text() and "lmm pretrained_linear" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("baseline=mse nonsense", "--config.baseline is 'mse nonsense', expected one of mse pretrained_linear"),
        ("checkpoints=3", "--config.checkpoints is 3, expected 1 or more that divide train.steps (2)"),
        ("probe_data=nowhere", "--config.probe_data: found no folder nowhere"),
        ("settings=('sensors=wrist',)", "has no field sensors; did you mean sensor?"),
        ("settings=('seed=3',)", "setting seed=3: the comparison sets seed itself"),
        ("seeds=(1,1)", "names a seed twice"),
        ("arms.mse=('train.steps=4',)", "arms train for 2 and 4 steps, expected the same train.steps in all"),
        ("controls=('random_linaer',)", "methods: found random_linaer"),
        ("probe=configs/mae.py:smoke", "--config.probe: configs/mae.py:smoke describes no probe"),
        ("arms.mse=('model.patch=150',)", "arms have tokens of other lengths"),
        ("arms.mse=('model.patch=700',)", "expected a whole number of tokens of 700 samples, one every 700"),
        ("arms.mse=('mask_ratio=0.05',)", "which masks 0 of the 6 patches of a window"),
        ("settings=('sensor=back',)", "holds wrist at 30 Hz, this config (objective mae) reads back at 30 Hz"),
        ("arms.mse=('data.split=window',)", "visits would reach into windows that validate"),
    ],
)
def test_mistakes_are_seen_before_anything_is_trained(change, sentence, comparing, tmp_path, capsys):
    assert compare.main([*comparing, f"--config.{change}"]) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "compare").exists()
