"""Damaged .cwa files: what is intact is read, nothing is invented, and the report says what was left out."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.raw import Report
from data_pipelines.readers import axivity
from data_pipelines.readers.axivity_blocks import seconds
from tests.data_pipelines import cwa_writer

HEADER = 1024
MARK = b"AX\xfc\x01"
ROOM = 120


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, Report]:
    """Time, acceleration and report."""
    report = Report()
    pieces = list(axivity.open_file(path).read(report))
    empty = (np.empty(0, np.int64), np.empty((0, 3), np.float32))
    pieces = [empty, *pieces]
    return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces]), report


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    """Six minutes: 300 blocks of 120 samples at 100 Hz, each sample different from all others."""
    acceleration = np.random.default_rng(0).normal(0, 0.5, (300 * ROOM, 3)) + [0, 0, 1]
    return cwa_writer.write(tmp_path_factory.mktemp("cwa") / "a.cwa", acceleration, true_rate_hz=99.2)


@pytest.fixture
def changed(intact, tmp_path):
    """(what changes the blocks, again sealed?) -> blocks of the intact file that are left, in order, and the report."""
    times, rows, _ = _read(intact)
    number = {rows[i : i + ROOM].tobytes(): i // ROOM for i in range(0, len(rows), ROOM)}

    def run(change, sealed=True, head=None):
        blocks = cwa_writer.blocks_of(intact)
        result = change(blocks)
        blocks = blocks if result is None else result
        blocks = cwa_writer.sealed(blocks) if sealed else blocks
        head = intact.read_bytes()[:HEADER] if head is None else head
        (tmp_path / "b.cwa").write_bytes(head + blocks.tobytes())
        time_us, found, report = _read(tmp_path / "b.cwa")
        assert (np.diff(time_us) > 0).all()
        left = [number[found[i : i + ROOM].tobytes()] for i in range(0, len(found), ROOM)]
        shift = time_us[::ROOM] - times[::ROOM][left]
        return left, report, shift

    return run


def _without(*numbers: int) -> list[int]:
    return [i for i in range(300) if i not in numbers]


def _put(field: str, index, value):
    def change(blocks):
        blocks[field][index] = value

    return change


def _later(index, by_s: int):
    def change(blocks):
        blocks["stamp"][index] = cwa_writer.packed_date(seconds(blocks["stamp"][index]) + by_s)

    return change


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("samples", 0, "impossible header"),
        ("samples", 121, "impossible header"),
        ("axes", 0x31, "impossible header"),
        ("axes", 0x42, "impossible header"),
        ("stamp", 14 << 26 | 13 << 22 | 7 << 17, "impossible header"),
        ("stamp", 14 << 26 | 2 << 22 | 30 << 17, "impossible header"),
        ("rate", 0x43, "impossible header"),
        ("offset", 30_000, "impossible header"),
        ("rate", 0x4B, "other rate or channels"),
        ("rate", 0x0A, "other rate or channels"),
        ("light", 0xE000, "other rate or channels"),
        ("session", 2, "other session"),
        ("stamp", 40 << 26 | 1 << 22 | 1 << 17, "time outside the recording"),
        ("tag", b"AY", "not a data block"),
        ("length", 507, "not a data block"),
    ],
)
@pytest.mark.parametrize("at", [0, 150, 299])
def test_a_block_that_is_wrong_with_a_right_checksum(changed, field, value, reason, at):
    left, report, shift = changed(_put(field, at, value))
    assert left == _without(at)
    assert report.bad_blocks == {reason: 1}
    assert (report.blocks, report.clock_jumps) == (300, 0)
    assert np.abs(shift).max() < 100  # microseconds


@pytest.mark.parametrize("at", [0, 1, 150, 298, 299])
@pytest.mark.parametrize("by_s", [-200 * 86_400, -3600, -3, 3, 3600, 200 * 86_400])
def test_one_wrong_time_costs_one_block(changed, at, by_s):
    left, report, shift = changed(_later(slice(at, at + 1), by_s))
    assert left == _without(at)
    assert report.bad_blocks == {"time unlike its neighbours": 1}
    assert (report.gaps, report.clock_jumps) == (0 if at in (0, 299) else 1, 0)
    # A first block that is alone goes by the nominal rate, 0.8 % of 1.2 s off.
    assert np.abs(shift[1:]).max() < 100 and abs(shift[0]) < (10_000 if at == 1 else 100)


def test_checksum(changed):
    left, report, shift = changed(_put("data", (slice(10, 13), 0), 255), sealed=False)
    assert left == _without(10, 11, 12)
    assert report.bad_blocks == {"checksum": 3}
    assert report.gaps == 1 and report.missing_s == pytest.approx(360 / 99.2, abs=0.02)


def test_a_clock_that_jumps_forward_leaves_a_gap(changed):
    left, report, shift = changed(_later(slice(200, None), 100))
    assert left == _without()
    assert (report.clock_jumps, report.gaps, report.bad_blocks) == (1, 1, {})
    assert report.largest_jump_s == pytest.approx(100, abs=0.02)
    assert np.abs(shift[:200]).max() < 100 and np.abs(shift[200:] - 100_000_000).max() < 100


def test_blocks_are_left_out_until_a_clock_that_went_back_has_caught_up(changed):
    left, report, _ = changed(_later(slice(200, None), -60))
    assert report.clock_jumps == 1 and report.largest_jump_s == pytest.approx(-60, abs=0.02)
    late = report.bad_blocks["out of order or clock went back"]
    assert left == [*range(200), *range(200 + late, 300)]
    assert late in (50, 51)  # 1.21 s each


def test_repeated_and_moved_blocks(changed):
    left, report, shift = changed(lambda blocks: np.insert(blocks, [100, 120, 120], blocks[[99, 80, 81]]))
    assert left == _without() and report.bad_blocks == {"repeated": 3} and report.gaps == 0
    assert np.abs(shift).max() == 0
    left, report, _ = changed(lambda blocks: blocks[[*range(100), 101, 100, *range(102, 300)]])
    assert left == _without(101) and report.bad_blocks == {"time unlike its neighbours": 1}
    left, report, _ = changed(lambda blocks: blocks[[*range(100), 250, *range(101, 250), 100, *range(251, 300)]])
    assert left == _without(100, 250)  # 250 in the place of 100 would cost all between


def test_a_run_that_begins_before_the_last_sample(changed):
    def change(blocks):
        blocks["sequence"][100:] += 7
        blocks["offset"][100:] += 5  # samples

    left, report, shift = changed(change)
    assert left == _without(100) and report.bad_blocks == {"out of order or clock went back": 1}
    assert shift[100:] == pytest.approx(-5 / 99.2 * 1e6, abs=100)


def test_a_device_that_begins_to_count_anew(changed):
    def change(blocks):
        _later(slice(150, None), 500)(blocks)
        blocks["sequence"][150:] -= 150

    left, report, _ = changed(change)
    assert left == _without() and (report.gaps, report.clock_jumps, report.bad_blocks) == (1, 0, {})


def test_a_header_that_is_damaged_or_absent(changed, intact):
    for head in (b"?" * HEADER, b"", intact.read_bytes()[:700], b"?" * 100):
        left, report, _ = changed(lambda blocks: None, head=head)
        assert left[-200:] == list(range(100, 300))
        assert left == _without() or len(head) == 700 and left == _without(0)


def test_lost_and_inserted_bytes(intact, tmp_path):
    whole = intact.read_bytes()
    times, rows, _ = _read(intact)
    path = tmp_path / "b.cwa"
    at = HEADER + 512 * 100 + 300
    path.write_bytes(whole[:at] + b"noise" * 33 + whole[at:])  # in block 100
    time_us, found, report = _read(path)
    np.testing.assert_array_equal(found, np.delete(rows, slice(100 * ROOM, 101 * ROOM), axis=0))
    assert report.bad_blocks == {"checksum": 1, "not a data block": 1}
    path.write_bytes(whole[:at] + whole[at + 200 :])
    time_us, found, report = _read(path)
    np.testing.assert_array_equal(found[: 100 * ROOM], rows[: 100 * ROOM])
    np.testing.assert_array_equal(found[-198 * ROOM :], rows[-198 * ROOM :])


def test_sectors_that_were_never_written(intact, tmp_path):
    whole, path = intact.read_bytes(), tmp_path / "b.cwa"
    path.write_bytes(whole + b"\xff" * 5120 + bytes(512 * 7))
    _, rows, report = _read(path)
    assert (len(rows), report.bad_blocks, report.blocks) == (300 * ROOM, {}, 300)
    path.write_bytes(whole[: HEADER + 5120] + bytes(1024) + whole[HEADER + 6144 :])
    _, rows, report = _read(path)
    assert (len(rows), report.bad_blocks, report.blocks) == (298 * ROOM, {"empty": 2}, 300)


def test_truncated_files(intact, tmp_path):
    _, rows, _ = _read(intact)
    (tmp_path / "b.cwa").write_bytes(intact.read_bytes()[: HEADER + 512 * 200 + 100])
    _, found, report = _read(tmp_path / "b.cwa")
    np.testing.assert_array_equal(found, rows[: 200 * ROOM])
    assert report.bad_blocks == {"truncated": 1} and report.blocks == 201
    packed = gzip.compress(intact.read_bytes(), mtime=0)
    (tmp_path / "b.cwa.gz").write_bytes(packed[: len(packed) // 2])
    _, found, report = _read(tmp_path / "b.cwa.gz")
    assert 130 * ROOM < len(found) < 170 * ROOM and report.bad_blocks == {"truncated": 1}
    np.testing.assert_array_equal(found, rows[: len(found)])
    (tmp_path / "b.cwa.gz").write_bytes(packed[:-8])  # without its own checksum
    _, found, report = _read(tmp_path / "b.cwa.gz")
    np.testing.assert_array_equal(found, rows)
    assert report.bad_blocks == {"truncated": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no Axivity .cwa file"),
        (b"time,x,y,z\n" * 500, "no Axivity .cwa file"),
        (gzip.compress(b"time,x,y,z\n" * 500, mtime=0), "no Axivity .cwa file"),
        (cwa_writer.header(1, 1, 0x4A, "AX3", ""), "it holds no samples"),
        (cwa_writer.header(1, 1, 0x4A, "AX3", "") + MARK.ljust(512, b"\0") * 9, "none of its 9 blocks"),
    ],
    ids=["nothing", "text", "packed text", "a header alone", "damaged blocks"],
)
def test_what_holds_no_recording_is_one_sentence(tmp_path, content, said):
    path = tmp_path / "a.cwa"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: .*{said}") as error:
        axivity.open_file(path)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    for path in (tmp_path / "none.cwa", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"^{path}: no such file"):
            axivity.open_file(path)
