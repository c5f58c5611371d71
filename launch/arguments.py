"""Command lines of single jobs: flags in full only, every mistake one sentence. Standard library only."""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?` for the known word closest to `word`, or an empty string where none is close."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


class Parser(argparse.ArgumentParser):
    """argparse for one job; a mistake raises ValueError for run_job to word, no usage block is printed."""

    def __init__(self, job: str, description: str, **settings):
        super().__init__(prog=f"selfpab {job}", description=description, allow_abbrev=False, **settings)

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """Namespace of the flags; ValueError naming the first unknown flag and the nearest known one."""
        # Before argparse looks for flags that are missing: a misspelt one is the better thing to say.
        known = [option for action in self._actions for option in action.option_strings]
        given = (word.split("=", 1)[0] for word in (sys.argv[1:] if args is None else args) if word.startswith("--"))
        for name in given:
            if name not in known:
                self.error(f"unknown flag {name}{nearest(name, known)}")
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].split("=", 1)[0]
            if not name.startswith("-"):
                self.error(f"unexpected argument {name!r}: every value belongs to a flag")
            self.error(f"unknown flag {name}{nearest(name, known)}")
        return parsed

    def error(self, message: str):
        """Raises what argparse would have printed."""
        raise ValueError(f"{message} (`{self.prog} --help` lists the flags)")
