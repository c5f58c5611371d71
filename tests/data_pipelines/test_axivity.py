"""Reading intact .cwa files: against a block written by hand, the files of real devices, and the writer's."""

import gzip
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.raw import Piece, Report
from data_pipelines.readers import axivity
from data_pipelines.readers.axivity_blocks import seconds
from tests.data_pipelines import cwa_writer

START = "2014-05-07T10:00:00.25"
START_US = int(np.datetime64(START, "us").astype(np.int64))


def _whole(path: Path, blocks_at_once: int = 2048) -> tuple[Piece, Report]:
    report = Report()
    pieces = list(axivity.open_file(path, blocks_at_once).read(report))
    return Piece(*[None if part[0] is None else np.concatenate(part) for part in zip(*pieces, strict=True)]), report


def _motion(samples: int, seed: int = 0, scale: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, scale, (samples, 3)) + [0, 0, 1]


@pytest.fixture(scope="module")
def devices() -> Path:
    """Folder with skdh/ and GGIRread/, files of real devices."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SELFPAB_REAL_DATA", beside)) / "raw_device"
    if not folder.is_dir():
        pytest.skip(f"no files of real devices in {folder} (SELFPAB_REAL_DATA names the folder above)")
    return folder


def test_a_block_written_by_hand(tmp_path):
    """Two packed samples at 50 Hz, 8 g; stamp 2014-05-07 10:00:00 + 16384/32768 s at sample -24 + 25 = 1."""
    stamp = 14 << 26 | 5 << 22 | 7 << 17 | 10 << 12
    block = struct.pack("<2sHHIIIHHBBBBhH", b"AX", 508, 0xC000, 9, 0, stamp, 0, 256, 0, 0, 0x49, 0x30, -24, 2)
    # x = 256, y = -256 and z = 0 without exponent; x = -512, y = 511, z = 1 times 2^2.
    samples = struct.pack("<II", 256 | (1024 - 256) << 10, 512 | 511 << 10 | 1 << 20 | 2 << 30)
    block = (block + samples).ljust(510, b"\0")
    block += struct.pack("<H", -sum(struct.unpack("<255H", block)) & 0xFFFF)
    head = b"MD\xfc\x03\x17" + struct.pack("<HI", 77, 9) + b"\xff\xff" + bytes(23) + b"\x49" + bytes(4) + b"\x2d"
    (tmp_path / "hand.cwa").write_bytes(head.ljust(64, b"\xff") + b"_p=right+wrist".ljust(960) + block)

    file = axivity.open_file(tmp_path / "hand.cwa")
    assert (file.device, file.rate_hz, file.range_g) == ("AX3 77", 50, 8)
    assert (file.facts["session"], file.facts["firmware"], file.facts["annotation"]) == (9, 45, "_p=right+wrist")
    assert (file.facts["start"], file.facts["header_rate_hz"], file.facts["sectors"]) == (None, 50, 1)
    piece, report = _whole(tmp_path / "hand.cwa")
    second = int(np.datetime64("2014-05-07T10:00:00.5", "us").astype(np.int64))
    assert piece.time.tolist() == [second - 20_000, second]
    np.testing.assert_array_equal(piece.acceleration, [[1, -1, 0], [-8, 2044 / 256, 4 / 256]])
    assert piece.temperature.tolist() == [25, 25]  # 256 * 75 / 256 - 50
    assert piece.battery.tolist() == [3, 3]  # 512 * 6 / 1024
    assert piece.light.tolist() == pytest.approx([1000, 1000])  # log10 = 512 * 6 / 1024
    assert piece.gyroscope is None
    assert (report.blocks, report.samples, report.bad_blocks) == (1, 2, {})


@pytest.mark.parametrize(("name", "room"), [("ax3", 120), ("ax6", 40)])
def test_real_files_against_another_reader(devices, record_property, name, room):
    piece, report = _whole(devices / "skdh" / f"{name}_sample.cwa")
    reference = dict(np.load(devices / "skdh" / f"{name}_data.npz"))
    largest = {"acceleration": np.abs(piece.acceleration - reference["accel"]).max()}
    if "gyro" in reference:
        largest["gyroscope"] = np.abs(piece.gyroscope - reference["gyro"]).max()
    # Another formula of the same number: (n - 171) / 3.142 against n * 75 / 256 - 50.
    number = reference["temperature"] * 3.142 + 171
    largest["temperature"] = np.abs(piece.temperature - (number * 75 / 256 - 50)).max()
    largest["time"] = np.abs(piece.time / 1e6 - reference["time"]).max()
    for key, value in largest.items():
        print(f"largest difference, {name} {key}: {value:.2e}")
        record_property(key, float(value))
    assert largest["acceleration"] < 1e-6 and largest.get("gyroscope", 0) < 1e-4  # it is rounded to six digits
    assert largest["temperature"] < 1e-4 and largest["time"] < 0.02
    assert (report.bad_blocks, report.gaps, report.clock_jumps) == ({}, 0, 0)

    def jitter(time):
        starts = (time - time[0])[::room]
        return np.abs(starts - np.convolve(starts, np.ones(21) / 21, "same"))[21:-21].max()

    # The reference leaves out the fraction of a second.
    assert jitter(piece.time / 1e6) < 0.0006 < 0.003 < jitter(reference["time"])


def test_a_real_file_with_a_set_start(devices):
    path = devices / "GGIRread" / "ax3_testfile.cwa"
    file = axivity.open_file(path)
    assert (file.device, file.rate_hz, file.range_g) == ("AX3 39434", 100, 8)
    assert file.facts["annotation"] == "_p=right+wrist&_sc=26"
    assert (file.facts["start"], file.facts["end"]) == ("2019-02-26T10:55:00", "2019-02-26T10:58:00")
    piece, report = _whole(path)
    assert (report.blocks, report.samples, report.bad_blocks, report.gaps) == (145, 145 * 120, {}, 0)
    assert np.datetime64(int(piece.time[0]), "us") > np.datetime64(file.facts["start"])
    assert report.effective_rate_hz == pytest.approx(98.86, abs=0.01)


@pytest.mark.parametrize("rate_hz", [6.25, 12.5, 25, 50, 100, 200, 400, 800, 1600, 3200])
@pytest.mark.parametrize("packed", [True, False])
def test_round_trip_at_each_rate(tmp_path, rate_hz, packed):
    acceleration = _motion(1000)
    true = rate_hz * 0.985
    path = cwa_writer.write(
        tmp_path / "a.cwa", acceleration, start=START, rate_hz=rate_hz, true_rate_hz=true, packed=packed
    )
    piece, report = _whole(path)
    assert axivity.open_file(path).rate_hz == rate_hz
    assert np.abs(piece.acceleration - acceleration).max() < (4 if packed else 0.51) / 256
    # Stamps count 1 / 32768 s; behind the last anchor and before the first one their rounding adds up.
    expected = START_US + np.arange(1000) * 1e6 / true
    assert np.abs(piece.time - expected).max() < 100
    assert report.bad_blocks == {} and report.gaps == report.clock_jumps == 0


@pytest.mark.parametrize("range_g", [2, 4, 8, 16])
@pytest.mark.parametrize("hardware", ["AX3", "AX6"])
@pytest.mark.parametrize("axes", [3, 6, 9])
def test_round_trip_of_ranges_and_axes(tmp_path, hardware, range_g, axes):
    acceleration = _motion(500, scale=range_g)  # beyond the range too
    turning = np.random.default_rng(1).uniform(-1999, 1999, (500, 3)) if axes > 3 else None
    path = cwa_writer.write(
        *(tmp_path / "a.cwa", acceleration),
        **dict(packed=False, hardware=hardware, range_g=range_g, gyroscope=turning, magnetometer=axes == 9),
        **dict(device=6011802, session=5, temperature=np.linspace(20, 35, 500), annotation="_sc=26"),
    )
    file = axivity.open_file(path)
    assert (file.device, file.range_g, file.facts["session"]) == (f"{hardware} 6011802", range_g, 5)
    piece, _ = _whole(path)
    unit = 1 / 256 if hardware == "AX3" else range_g / 32768
    assert np.abs(piece.acceleration - np.clip(acceleration, -range_g, range_g - unit)).max() <= 0.5001 * unit
    assert (piece.gyroscope is None) == (axes == 3)
    if axes > 3:
        assert np.abs(piece.gyroscope - turning).max() <= 0.501 * 2000 / 32768
    assert np.abs(piece.temperature - np.linspace(20, 35, 500)).max() < 0.15 + 15 * (480 // (2 * axes)) / 500


def test_packed_samples_keep_the_largest_values(tmp_path):
    acceleration = np.array([[15.9, -16, 0], [1.99, -2, 0.5], [2.01, 0, 0], [-4.1, 0, 0]])
    piece, _ = _whole(cwa_writer.write(tmp_path / "a.cwa", acceleration, range_g=16))
    steps = np.array([[8], [1], [2], [4]])  # 2^exponent / 256 g
    counts = np.floor(np.rint(acceleration * 256) / steps) * steps
    np.testing.assert_array_equal(piece.acceleration * 256, counts)


@pytest.mark.parametrize(("packed", "rate_hz"), [(True, 100), (False, 100), (False, 800), (True, 6.25)])
def test_stamps_of_whole_seconds(tmp_path, packed, rate_hz):
    """Older devices write at which sample the second began: right to half a sample."""
    path = cwa_writer.write(
        *(tmp_path / "a.cwa", _motion(12_000)),
        **dict(rate_hz=rate_hz, true_rate_hz=rate_hz * 1.01, packed=packed, fractional=False, start=START),
    )
    piece, report = _whole(path)
    expected = START_US + np.arange(12_000) * 1e6 / (rate_hz * 1.01)
    assert np.abs(piece.time - expected).max() < 1.1e6 / rate_hz
    assert (report.bad_blocks, report.gaps, report.clock_jumps, report.samples) == ({}, 0, 0, 12_000)


def test_very_old_files_have_the_rate_in_place_of_the_offset(tmp_path):
    path = cwa_writer.write(tmp_path / "a.cwa", _motion(2400), start=START, very_old=True)
    file = axivity.open_file(path)
    piece, report = _whole(path)
    assert (file.rate_hz, file.range_g) == (100, 8)  # the range is the header's
    assert np.abs(piece.time - (START_US + np.arange(2400) * 10_000)).max() < 1e6  # stamps of whole seconds
    assert (len(piece.time), report.bad_blocks, report.gaps) == (2400, {}, 0)


def test_gzip(tmp_path):
    plain = cwa_writer.write(tmp_path / "a.cwa", _motion(50_000))
    packed = cwa_writer.write(tmp_path / "a.cwa.gz", _motion(50_000))
    two = tmp_path / "two.cwa.gz"  # two members, and padding
    two.write_bytes(gzip.compress(plain.read_bytes()[:9999]) + gzip.compress(plain.read_bytes()[9999:]) + bytes(512))
    expected, report = _whole(plain)
    for path in (packed, two):
        piece, other = _whole(path)
        assert other == report
        np.testing.assert_array_equal(piece.time, expected.time)
        np.testing.assert_array_equal(piece.acceleration, expected.acceleration)


def test_lost_blocks_are_gaps(tmp_path):
    acceleration = _motion(120 * 200)
    path = cwa_writer.write(tmp_path / "a.cwa", acceleration, true_rate_hz=98.7, lost_blocks=[50, 51, 52, 120])
    piece, report = _whole(path)
    whole, _ = _whole(cwa_writer.write(tmp_path / "b.cwa", acceleration, true_rate_hz=98.7))
    kept = ~np.isin(np.arange(120 * 200) // 120, [50, 51, 52, 120])
    assert np.abs(piece.time - whole.time[kept]).max() < 100  # the ends of a run go on at its own rate
    np.testing.assert_array_equal(piece.acceleration, whole.acceleration[kept])
    assert (report.gaps, report.bad_blocks, report.clock_jumps) == (2, {}, 0)
    assert report.missing_s == pytest.approx(480 / 98.7, abs=0.002)
    assert report.longest_gap_s == pytest.approx(361 / 98.7, abs=0.001)
    assert report.effective_rate_hz == pytest.approx(98.7, abs=0.001)


@pytest.mark.parametrize("fractional", [True, False])
def test_the_number_of_blocks_at_once_changes_nothing(tmp_path, fractional):
    lost = [9, 10, 700, 1400]
    path = cwa_writer.write(
        *(tmp_path / "a.cwa", _motion(120 * 2500)),
        **dict(true_rate_hz=101.3, fractional=fractional, lost_blocks=lost),
    )
    blocks = cwa_writer.blocks_of(path)
    blocks["stamp"][1800:] = cwa_writer.packed_date(seconds(blocks["stamp"][1800:]) + 7)  # a clock jump
    blocks[[300, 302]] = blocks[[302, 300]]
    blocks["data"][1000, 7] += 1
    head = path.read_bytes()[:1024]
    jumped = cwa_writer.sealed(blocks)
    jumped["checksum"][1000] += 1
    path.write_bytes(head + jumped.tobytes()[: 512 * 2000] + b"\x00" * 700 + jumped.tobytes()[512 * 2000 :])
    expected, report = _whole(path)
    assert report.bad_blocks["checksum"] == 1 and report.clock_jumps == 1
    for at_once in (1, 3, 7, 300):
        piece, other = _whole(path, at_once)
        other.missing_s = pytest.approx(other.missing_s, rel=1e-12)  # a sum in another order
        assert other == report
        for ours, theirs in zip(piece, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_day_takes_little_memory(tmp_path):
    one_hour = _motion(360_000).astype(np.float32)
    path = cwa_writer.write(tmp_path / "a.cwa", np.tile(one_hour, (24, 1)))
    file = axivity.open_file(path)
    tracemalloc.start()
    samples = sum(len(piece.time) for piece in file.read(Report()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 24 * 360_000
    assert peak < 50e6
    program = (
        "import re, sys; from data_pipelines.raw import Report; from data_pipelines.readers import axivity\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
        "before = peak()\n"
        "for piece in axivity.open_file(sys.argv[1]).read(Report()): pass\n"
        "print(peak() - before)"
    )
    here = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", program, path], cwd=here, capture_output=True, text=True, check=True)
    assert 1000 < int(said.stdout) < 50_000  # KiB
