"""What `selfpab describe` says of raw files: bad blocks by reason, equal files, sensors that do not move together."""

from data_pipelines.ingest.clocks import UNRELATED
from launch.described_files import rows_of_files


def printed(**files: dict) -> dict[str, str]:
    """The rows of a folder with a recording for each file, named in capitals; what is not given is unremarkable."""
    usual = {"bytes": 5, "calibration": "calibrated", "orientation": "as worn", "clock": None, "bad_blocks": {}}
    entries = [
        {"name": name.upper(), "source": [usual | {"file": f"{name}.cwa", "crc32": number} | found]}
        for number, (name, found) in enumerate(files.items())
    ]
    return rows_of_files({"recordings": entries})


def bad(**counts: int) -> dict:
    return {"bad_blocks": {reason.replace("_", " "): count for reason, count in counts.items()}}


def test_bad_blocks_by_reason():
    rows = printed(a=bad(truncated=1), b=bad(truncated=1, checksum=12), c={}, d=bad(not_a_data_block=1))
    begin = list(rows).index("bad blocks or rows")
    assert list(rows.items())[begin:] == [
        ("bad blocks or rows", "3 files, 15"),
        ("  truncated", "2 files (copy them again): a.cwa, b.cwa"),
        ("  checksum", "1 file, 12: b.cwa"),
        ("  not a data block", "1 file: d.cwa"),
    ]


def test_of_many_files_the_worst_are_named():
    rows = printed(a=bad(checksum=1), b=bad(checksum=1200), c=bad(checksum=7), d=bad(checksum=7), e=bad(truncated=1))
    assert rows["bad blocks or rows"] == "5 files, 1,216"
    assert rows["  checksum"] == "4 files, 1,215: b.cwa, c.cwa, d.cwa, ..."
    assert rows["  truncated"] == "1 file (copy it again): e.cwa"


def test_no_bad_block():
    assert printed(a={}, b={}) == {
        "calibrated": "2 of 2 files",
        "turned": "0 files",
        "bad blocks or rows": "none",
    }


def test_groups_of_equal_files():
    names = [f"{letter}{n}" for letter in "abcdefg" for n in (1, 2)] + ["a3", "a4"]
    rows = printed(**{name: {"crc32": ord(name[0])} for name in names}, other={})
    begin = list(rows).index("equal files")
    assert list(rows.items())[begin:] == [
        ("equal files", "16"),
        ("  a1.cwa", "= a2.cwa = a3.cwa = ..."),
        *((f"  {letter}1.cwa", f"= {letter}2.cwa") for letter in "bcde"),
        ("  and 2 more", "see --files"),
    ]
    five = printed(**{name: {"crc32": ord(name[0])} for name in names[:10]})
    assert list(five)[-1] == "  e1.cwa"


def test_sensors_that_do_not_move_together():
    aligned, apart = {"clock": "aligned"}, {"clock": UNRELATED}
    rows = list(printed(a=aligned, b=apart, c=apart).items())
    at = rows.index(("clocks aligned", "1 of 3 recordings"))
    assert rows[at + 1] == (
        "  do not move together",
        "2 recordings: B, C (is the pairing right, are the clocks within a minute?)",
    )
    assert "  do not move together" not in printed(a=aligned)
    many = printed(**{name: apart for name in "abcdef"})
    assert (
        many["  do not move together"]
        == "6 recordings: A, B, C, D, E, ... (is the pairing right, are the clocks within a minute?)"
    )
