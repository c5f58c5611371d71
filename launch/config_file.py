"""Config files read by path: loading one, listing its fields by dotted name, setting a field from text."""

import runpy
from pathlib import Path

from absl import flags
from ml_collections import config_dict
from ml_collections.config_flags import config_flags as ml_config_flags

from launch.arguments import nearest

PROJECT = Path(__file__).resolve().parent.parent


def load_config(name: str) -> config_dict.ConfigDict:
    """What `get_config(variant)` returns for the name `FILE.py[:variant]`.

    A relative file is looked up in the current folder, then beside the installed project. FileNotFoundError
    where it is in neither, ValueError where it is no config.
    """
    file, _, variant = name.partition(":")
    path = next((folder / file for folder in (Path(), PROJECT) if (folder / file).is_file()), None)
    if path is None:
        known = [f"configs/{found.name}" for found in sorted((PROJECT / "configs").glob("*.py"))]
        raise FileNotFoundError(f"--config: found no file {file} here or in {PROJECT}{nearest(file, known)}")
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
    except SyntaxError as error:
        raise ValueError(f"--config: {file} line {error.lineno} is not valid Python: {error.msg}") from error
    if get_config is None:
        raise ValueError(f"--config: {file} defines no function get_config(variant)")
    return get_config(variant) if variant else get_config()


def fields(config: config_dict.ConfigDict, prefix: str = "") -> dict[str, object]:
    """Leaf values of a nested config by dotted name."""
    found = {}
    for name, value in config.items():
        is_group = isinstance(value, config_dict.ConfigDict)
        found |= fields(value, f"{prefix}{name}.") if is_group else {f"{prefix}{name}": value}
    return found


def set_field(config: config_dict.ConfigDict, override: str, file: str) -> None:
    """Sets one field from `--config.name=text`; ValueError names field, text and the type expected."""
    name, _, text = override.removeprefix("--config.").partition("=")
    known = fields(config)
    if name not in known:
        raise ValueError(f"--config.{name}: {file} has no field {name}{nearest(name, list(known))}")
    values = flags.FlagValues()  # our own, so that a second call in one process starts clean
    try:
        ml_config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=[override])
        values(["selfpab", override])
    except (flags.Error, TypeError, ValueError) as error:
        found, expected = text or "nothing", type(known[name]).__name__
        raise ValueError(
            f"--config.{name}: found {found}, expected {expected} such as the config's {known[name]!r}"
        ) from error
