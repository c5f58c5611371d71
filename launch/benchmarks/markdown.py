"""A table of the benchmark in Markdown, from rows of its JSON and the columns that say how to show them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A field of the JSON rows as a column: what stands above it, how a value is written, what it means."""

    heading: str
    form: str
    meaning: str


def markdown(columns: Mapping[str, Column], rows: Sequence[Mapping]) -> str:
    """The rows as a Markdown table."""
    lines = [[column.heading for column in columns.values()], ["---:"] * len(columns)]
    lines += [[_cell(column, row[name]) for name, column in columns.items()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(column: Column, value: object) -> str:
    return "" if value is None else column.form.format(value)
