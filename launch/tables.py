"""`selfpab tables`: the compared methods on the labelled data sets, cross-validated, beside the article's numbers."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from launch.command_line import Parser, run_job, sigterm_like_ctrl_c
from launch.config_file import fields, load_config, set_field
from launch.config_line import split_overrides

DESCRIPTION = """Trains and tests every method on every data set, fold by fold in parallel, and prints tables beside the
article's numbers. Run the same command again to go on after a stop: what is done is not done again."""
CONFIG = "configs/tables.py"
FOLDERS = {  # flag -> what stands for its value, what it is
    "data": (
        "DIR",
        "DIR/harth, ...: published files, or a prepared or TFDS folder of each data set; one that is not "
        "there is downloaded",
    ),
    "out": ("DIR", "results store, tables and pictures"),
    "encoder": ("RUN", "run folder of `selfpab pretrain` for the pre-trained methods, or harth=RUN1,har70plus=RUN2"),
}
LISTS = {  # flag -> what it lists
    "methods": "svm, xgboost, random_forest, deepconvlstm_time, deepconvlstm_spectrogram, spectrogram_mlp, scratch "
    "(not pre-trained), pretrained_linear, pretrained (SelfPAB), and all other methods of `selfpab probe`",
    "datasets": "harth, har70plus, pamap2, opportunity, realworld, usc_had",
    "labels": "what is trained on: all, minute (one of each activity), or a number of subjects",
    "seeds": "whole numbers; svm and xgboost on all labels run with the first only",
}


def parse(argv: Sequence[str] | None) -> tuple[dict, argparse.Namespace]:
    """(settings, flags); `--help` prints the flags and the config's fields and exits 0.

    Raises:
      ValueError: an unknown flag, field or word; FileNotFoundError: no such config or folder.
    """
    overrides, rest = split_overrides(sys.argv[1:] if argv is None else argv)
    parser = Parser("tables", DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (metavar, text) in FOLDERS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=text)
    for name, text in LISTS.items():
        parser.add_argument(f"--{name}", metavar="A,B", help=text)
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes, a fold each (one per GPU, or per core without)"
    )
    config = "protocol and sizes (%(default)s); variants code, small"
    parser.add_argument("--config", metavar="FILE.py[:VARIANT]", default=CONFIG, help=config)
    if "-h" in rest or "--help" in rest:
        named = next((word.removeprefix("--config=") for word in rest if word.startswith("--config=")), CONFIG)
        lines = [f"  --config.{name}={value!r}" for name, value in fields(load_config(named)).items()]
        parser.epilog = "\n".join([f"fields of {named}:", *lines])
    flags = parser.parse_args(rest)
    for name in ("data", "out"):
        if not vars(flags)[name]:
            parser.error(f"--{name}=DIR is missing")
    return _settings(flags, overrides), flags


def _settings(flags: argparse.Namespace, overrides: Sequence[str]) -> dict:
    config = load_config(flags.config)
    if "classifiers" not in config:
        raise ValueError(f"--config: {flags.config} describes no tables, expected one like {CONFIG}")
    for override in overrides:
        set_field(config, override, flags.config)
    settings = json.loads(config.to_json())
    for name in LISTS:
        if (given := vars(flags)[name]) is not None:
            settings[name] = [word.strip() for word in given.split(",") if word.strip()]
    if not all(str(seed).isdecimal() for seed in settings["seeds"]):
        raise ValueError(f"--seeds is {','.join(map(str, settings['seeds']))}, expected whole numbers like 0,1,2")
    settings["seeds"] = [int(seed) for seed in settings["seeds"]]
    settings |= {"config": flags.config, "data": flags.data}
    return settings | {"encoder": _encoders(flags.encoder, settings["datasets"])}


def _encoders(text: str | None, datasets: Sequence[str]) -> dict[str, str]:
    """Run folder by data set, of "RUN" or "harth=RUN1,har70plus=RUN2"; ValueError for anything else."""
    if not text:
        return {}
    if "=" not in text:
        return dict.fromkeys(datasets, text)
    parts = [part.strip().partition("=") for part in text.split(",")]
    folders = {name: folder for name, _, folder in parts if folder}
    if len(folders) < len(parts):
        raise ValueError(f"--encoder is {text}, expected RUN, or DATASET=RUN1,DATASET2=RUN2, each set once")
    return folders


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 a mistake, 130 interrupted (run the same command again)."""
    return run_job("tables", partial(_tables, argv))


def _tables(argv: list[str] | None) -> None:
    settings, flags = parse(argv)
    from launch import table_runs

    table_runs.check(settings)
    with sigterm_like_ctrl_c():  # finished folds are in the store
        print(table_runs.run(settings, Path(flags.out), flags.workers))
    print(f"tables.md, tables.tex, results.jsonl and figures: {flags.out}")


if __name__ == "__main__":
    raise SystemExit(main())
