"""Command lines of jobs described by a config file: `--config=configs/x.py[:smoke] --config.field=value`."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from ml_collections import config_dict

from launch.arguments import Parser
from launch.config_file import fields, load_config, set_field


def config_flags(
    job: str, argv: Sequence[str] | None, extra_flags: Mapping[str, dict] | None = None, description: str = ""
) -> tuple[config_dict.ConfigDict, argparse.Namespace]:
    """(locked config with the overrides applied, namespace with config, workdir, resume and the extra flags).

    `argv` None means the process's own arguments. `extra_flags` maps a flag's name to its argparse settings:
    {"run": {"required": True, "metavar": "DIR", "help": "..."}}. `--help` prints the flags, with `--config`
    the fields of that config too, and exits 0.

    Raises:
      ValueError: an unknown flag or field, a value of the wrong type, a missing flag.
      FileNotFoundError: there is no such config.
    """
    overrides, rest = split_overrides(sys.argv[1:] if argv is None else argv)
    parser = _parser(job, extra_flags or {}, description)
    if "-h" in rest or "--help" in rest:
        _print_help(parser, rest)
        raise SystemExit(0)
    parsed = parser.parse_args(rest)
    for flag, value in (("--config=FILE.py", parsed.config), ("--workdir=DIR", parsed.workdir)):
        if not value:
            parser.error(f"{flag} is missing")
    config = load_config(parsed.config)
    for override in overrides:
        set_field(config, override, parsed.config)
    return config.lock(), parsed


def _parser(job: str, extra_flags: Mapping[str, dict], description: str) -> Parser:
    """The flags of a config job other than the config's own fields."""
    usage = f"selfpab {job} --config=FILE.py[:VARIANT] --workdir=DIR [--config.FIELD=VALUE ...] [flags]"
    parser = Parser(job, description, usage=usage, add_help=False)
    parser.add_argument("--config", metavar="FILE.py[:VARIANT]", help="the experiment: configs/x.py:smoke")
    parser.add_argument("--workdir", metavar="DIR", help="run folder: checkpoints, metrics, results")
    parser.add_argument("--resume", action="store_true", help="continue the run in an existing run folder")
    for name, settings in extra_flags.items():
        parser.add_argument(f"--{name}", **settings)
    parser.add_argument("-h", "--help", action="store_true", help="this text; with --config also its fields")
    return parser


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(`--config.field=value` arguments, all others); `--config.field value` counts as one argument."""
    overrides, rest, tokens = [], [], list(argv)
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--config."):
            rest.append(token)
        elif "=" in token or not tokens or tokens[0].startswith("--"):
            overrides.append(token)
        else:
            overrides.append(f"{token}={tokens.pop(0)}")
    return overrides, rest


def _print_help(parser: Parser, rest: Sequence[str]) -> None:
    """Prints the flags, and the fields of the config where one is named."""
    print(parser.format_help())
    # A parser of its own: `--help` must answer although required flags are missing.
    config_only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    config_only.add_argument("--config")
    name = config_only.parse_known_args(rest)[0].config
    if name is None:
        print(f"`{parser.prog} --config=FILE.py --help` lists the fields of that config.")
        return
    print(f"fields of {name}:")
    for field, value in fields(load_config(name)).items():
        print(f"  --config.{field}={value!r}")
