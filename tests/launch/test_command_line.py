"""Command lines: speed, exit codes, and the sentence for each kind of mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from launch import __main__ as dispatch
from launch import demo
from launch.command_line import Parser, config_flags, run_job

PROJECT = Path(__file__).resolve().parents[2]

CONFIG = """
from ml_collections import config_dict


def get_config(variant: str = ""):
    config = config_dict.ConfigDict()
    config.seed = 1
    config.name = "x"
    config.bf16 = False
    config.sizes = (1, 2)
    config.optimizer = config_dict.ConfigDict({"learning_rate": 1e-3})
    if variant == "smoke":
        config.seed = 7
    elif variant:
        raise ValueError(f"variant {variant!r} is unknown: smoke is the only one")
    return config
"""


@pytest.fixture
def config_path(tmp_path: Path) -> str:
    path = tmp_path / "x.py"
    path.write_text(CONFIG)
    return str(path)


def test_help_and_a_wrong_flag_import_no_heavy_library(config_path):
    """What keeps the answer under 0.3 s, independent of the machine's load."""
    program = f"""
import contextlib, sys
from launch.__main__ import main
from launch.command_line import config_flags
for argv in (["--help"], ["no_such_job"], ["demo", "--help"], ["demo", "--dat=x"], ["tables", "--help"], ["tables"]):
    with contextlib.suppress(SystemExit):
        main(argv)
for argv in (["--help"], ["--config={config_path}", "--help"], ["--config={config_path}", "--workdir=w"]):
    with contextlib.suppress(SystemExit):
        config_flags("pretrain", argv)
heavy = {{"jax", "flax", "orbax", "grain", "tensorflow_datasets", "scipy", "numpy", "matplotlib", "torch"}}
print("heavy:", sorted(heavy & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "heavy: []"


def test_help_lists_every_job(capsys):
    assert dispatch.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for job in ("prepare", "pretrain", "probe", "tables", "features", "bench", "demo"):
        assert f"\n  {job} " in printed


def test_no_job_at_all_prints_the_usage_to_stderr(capsys):
    assert dispatch.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("usage: selfpab <job>")


def test_unknown_job_names_the_nearest(capsys):
    assert dispatch.main(["pretrian"]) == 2
    assert capsys.readouterr().err == "selfpab: error: there is no job 'pretrian'; did you mean pretrain?\n"
    assert dispatch.main(["zzz"]) == 2
    assert "the jobs are prepare, ingest" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["-m", "launch", "demo"], ["-m", "launch.demo"]])
def test_both_ways_to_call_a_job_give_the_same_error(command):
    wrong = [sys.executable, *command, "--dta=x"]
    ran = subprocess.run(wrong, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    sentence = "unknown flag --dta; did you mean --data? (`selfpab demo --help` lists the flags)"
    assert ran.stderr == f"selfpab demo: error: {sentence}\n"


# run_job


def _raise(error: BaseException):
    raise error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("a.csv row 3:\n  no back_x"), "a.csv row 3: no back_x"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "a.csv: No such file or directory"),
        (FileExistsError("runs/x holds a run already"), "runs/x holds a run already"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_mistake_of_the_caller_is_one_sentence(error, sentence, capsys, monkeypatch):
    monkeypatch.delenv("SELFPAB_DEBUG", raising=False)
    assert run_job("prepare", lambda: _raise(error)) == 2
    assert capsys.readouterr().err == f"selfpab prepare: error: {sentence}\n"


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("SELFPAB_DEBUG", "1")
    with pytest.raises(ValueError, match="why"):
        run_job("prepare", lambda: _raise(ValueError("why")))


def test_a_defect_passes_through():
    with pytest.raises(KeyError):
        run_job("prepare", lambda: _raise(KeyError("defect")))


def test_exit_codes_pass_through(capsys):
    assert run_job("prepare", lambda: None) == 0
    assert run_job("pretrain", lambda: 75) == 75
    assert run_job("pretrain", lambda: _raise(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "selfpab pretrain: interrupted\n"


# Parser


def _parser() -> Parser:
    parser = Parser("prepare", "Cuts recordings.")
    parser.add_argument("--layout", choices=["harth", "hunt4"], required=True)
    parser.add_argument("--stride", type=float)
    return parser


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--layout=harth", "--strid=2"], "unknown flag --strid; did you mean --stride?"),
        (["--layout=harth", "here"], "unexpected argument 'here'"),
        (["--layout=hart"], "argument --layout: invalid choice: 'hart'"),
        (["--layout=harth", "--stride=long"], "argument --stride: invalid float value: 'long'"),
        ([], "the following arguments are required: --layout"),
    ],
)
def test_parser_says_what_is_wrong(argv, sentence):
    with pytest.raises(ValueError) as caught:
        _parser().parse_args(argv)
    assert sentence in str(caught.value) and "`selfpab prepare --help`" in str(caught.value)


# config_flags


def test_overrides_of_every_type_in_both_spellings(config_path):
    argv = [
        "--config", config_path, "--config.seed=3", "--config.optimizer.learning_rate", "-0.5",
        "--config.bf16", "--config.name=a=b", "--config.sizes=(4, 5)", "--workdir", "runs/a", "--resume",
        "--run=r",
    ]  # fmt: skip
    config, flags = config_flags("probe", argv, {"run": {"required": True}})
    assert config.to_dict() == {
        "seed": 3, "name": "a=b", "bf16": True, "sizes": (4, 5), "optimizer": {"learning_rate": -0.5}
    }  # fmt: skip
    assert (flags.config, flags.workdir, flags.resume, flags.run) == (config_path, "runs/a", True, "r")
    assert config.is_locked and config.optimizer.is_locked


def test_a_second_call_starts_from_the_file_again(config_path):
    for override, expected in (("--config.seed=3", 3), ("--config.bf16=false", 1)):
        config, flags = config_flags("pretrain", [f"--config={config_path}", override, "--workdir=w"])
        assert (config.seed, flags.resume) == (expected, False)


def test_the_variant_reaches_get_config(config_path):
    config, _ = config_flags("pretrain", [f"--config={config_path}:smoke", "--workdir=w"])
    assert config.seed == 7
    with pytest.raises(ValueError, match="smoke is the only one"):
        config_flags("pretrain", [f"--config={config_path}:smok", "--workdir=w"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("--config.sed=3", "x.py has no field sed; did you mean seed?"),
        ("--config.optimizer.learning_rat=3", "did you mean optimizer.learning_rate?"),
        ("--config.optimizer=3", "x.py has no field optimizer"),
        ("--config.seed=2.5", "--config.seed: found 2.5, expected int such as the config's 1"),
        ("--config.seed=", "--config.seed: found nothing, expected int such as the config's 1"),
        ("--config.bf16=maybe", "--config.bf16: found maybe, expected bool such as the config's False"),
        ("--config.seed", "--config.seed: found nothing, expected int such as the config's 1"),
        ("--workdr=x", "unknown flag --workdr; did you mean --workdir?"),
        ("--resume=yes", "argument --resume: ignored explicit argument 'yes'"),
    ],
)
def test_wrong_overrides_and_flags(config_path, wrong, sentence):
    with pytest.raises(ValueError) as caught:
        config_flags("pretrain", [f"--config={config_path}", "--workdir=w", wrong])
    assert sentence in str(caught.value)


def test_missing_flags(config_path):
    with pytest.raises(ValueError, match="--config=FILE.py is missing"):
        config_flags("pretrain", ["--workdir=w"])
    with pytest.raises(ValueError, match="--workdir=DIR is missing"):
        config_flags("pretrain", [f"--config={config_path}"])


def test_a_config_that_is_no_config(tmp_path):
    bad = {"x = 1\ndef (": "line 2 is not valid Python", "x = 1": "no function get_config"}
    for text, sentence in bad.items():
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(ValueError, match=sentence):
            config_flags("pretrain", [f"--config={tmp_path}/bad.py", "--workdir=w"])


def test_relative_configs_are_found_here_first_and_beside_the_project_second(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="found no file configs/none_such.py here or in "):
        config_flags("pretrain", ["--config=configs/none_such.py", "--workdir=w"])
    monkeypatch.setattr("launch.config_file.PROJECT", tmp_path / "project")
    for folder in (tmp_path / "project" / "configs", tmp_path / "configs"):
        folder.mkdir(parents=True)
        (folder / "a.py").write_text(CONFIG.replace('"x"', repr(str(folder))))
        config, _ = config_flags("pretrain", ["--config=configs/a.py", "--workdir=w"])
        assert config.name == str(folder)
    with pytest.raises(FileNotFoundError, match="did you mean configs/a.py"):
        config_flags("pretrain", ["--config=configs/aa.py", "--workdir=w"])


def test_help_lists_the_fields_of_the_config(config_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        config_flags("pretrain", [f"--config={config_path}", "--help"], {"run": {"required": True}})
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "--config.optimizer.learning_rate=0.001" in printed and "--run" in printed
    assert len(printed.splitlines()) < 25


# demo


def test_demo_stages_chain_their_folders_and_resume_what_exists(tmp_path):
    (prepare, pretrain, probe) = demo.stages(None, tmp_path)
    assert prepare == ("prepare", ["--layout=synthetic", "--subjects=8", "--hours=0.75", f"--out={tmp_path}/prepared"])
    assert pretrain[0] == "pretrain" and f"--config.data.dir={tmp_path}/prepared" in pretrain[1]
    assert probe[0] == "probe" and f"--config.encoder={tmp_path}/pretrain" in probe[1]
    assert "--resume" not in pretrain[1] + probe[1]
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "config.json").write_text("{}")
    (prepare, pretrain, probe) = demo.stages(Path("csv"), tmp_path)
    assert prepare[1][:2] == ["--layout=harth", "--input=csv"]
    assert "--resume" in pretrain[1] and "--resume" not in probe[1]


def test_demo_stops_at_the_first_stage_that_fails(tmp_path, monkeypatch, capsys):
    codes = {"launch.prepare": 0, "launch.pretrain": 75}
    called = []
    monkeypatch.setattr(demo, "_run", lambda command: called.append(command[2]) or codes[command[2]])
    assert demo.main([f"--workdir={tmp_path}"]) == 75
    assert called == ["launch.prepare", "launch.pretrain"]
    assert "pretrain stopped with exit code 75" in capsys.readouterr().err


def test_demo_names_the_folder_that_is_missing(tmp_path, capsys):
    assert demo.main([f"--data={tmp_path}/none"]) == 2
    assert capsys.readouterr().err == f"selfpab demo: error: --data: found no folder {tmp_path}/none\n"


def test_demo_passes_a_stop_request_on_to_its_child():
    """The child, not demo, decides how to stop: here it answers SIGTERM with exit code 75."""
    child = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(30)\n"
    )
    assert demo._run([sys.executable, "-c", child]) == 75


@pytest.mark.parametrize("number", [1, 2])
def test_demo_flags_fit_the_configs(tmp_path, number):
    job, arguments = demo.stages(None, tmp_path)[number]
    config, _ = config_flags(job, arguments)
    assert config.data.dir == f"{tmp_path}/prepared"
