"""What was found in the raw files of a prepared folder and decided about them, as rows of a table. No jax in here."""

from collections.abc import Mapping, Sequence

SHOWN = 5  # groups of equal files; recordings whose sensors do not move together
FILES_SHOWN = 3  # in a row
CUT_SHORT = "truncated"  # what readers call the last block of a file that ends within it


def rows_of_files(manifest: Mapping) -> dict[str, str]:
    """What is said of each quantity, by its name; nothing where the manifest does not know."""
    from data_pipelines.describe import raw_files

    found = raw_files(manifest)
    if found is None:
        return {}
    rows = {"calibrated": f"{found.calibrated:,} of {found.files:,} files"}
    status = dict(found.orientations)
    left = {word: status.pop(word, 0) for word in ("as worn", "not checked", "as stated", "undecided")}
    if left["not checked"] < found.files:
        others = (f", {word} {left[word]:,}" for word in ("as stated", "undecided") if left[word])
        rows["turned"] = _count(sum(status.values()), "file") + "".join(others)
    if found.paired:
        rows["clocks aligned"] = f"{found.aligned:,} of {found.paired:,} recordings"
    if found.unrelated:
        which = f"{_count(len(found.unrelated), 'recording')}: {_first(found.unrelated, SHOWN)}"
        rows["  do not move together"] = f"{which} (is the pairing right, are the clocks within a minute?)"
    return rows | _bad(found.bad) | _equal(found.equal)


def _bad(bad: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """How many files, and how many blocks of them; then reason by reason, the one of most files first."""
    files = {file for counts in bad.values() for file in counts}
    blocks = {reason: sum(counts.values()) for reason, counts in bad.items()}
    rows = {"bad blocks or rows": f"{_count(len(files), 'file')}, {sum(blocks.values()):,}" if files else "none"}
    for reason in sorted(bad, key=lambda reason: (len(bad[reason]), blocks[reason]), reverse=True):
        worst = sorted(bad[reason], key=bad[reason].get, reverse=True)
        words = _count(len(worst), "file")
        if blocks[reason] > len(worst):  # else one of each
            words += f", {blocks[reason]:,}"
        if reason == CUT_SHORT:
            words += f" (copy {'it' if len(worst) == 1 else 'them'} again)"
        rows[f"  {reason}"] = f"{words}: {_first(worst, FILES_SHOWN)}"
    return rows


def _equal(groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """How many files have the content of another one, and which."""
    rows = {"equal files": f"{sum(map(len, groups)):,}"} if groups else {}
    rows |= {f"  {first}": f"= {_first(others, FILES_SHOWN - 1, ' = ')}" for first, *others in groups[:SHOWN]}
    return rows | ({f"  and {len(groups) - SHOWN:,} more": "see --files"} if len(groups) > SHOWN else {})


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _first(names: Sequence[str], shown: int, between: str = ", ") -> str:
    return between.join([*names[:shown], *["..."] * (len(names) > shown)])
