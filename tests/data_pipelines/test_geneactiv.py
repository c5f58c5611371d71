"""GENEActiv files written here page by page: what is read of them, and what damage leaves."""

import sys
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.raw import Report
from data_pipelines.readers import geneactiv
from data_pipelines.readers.geneactiv import open_file

pytest.importorskip("skdh", reason="scikit-digital-health is not installed: pip install -e '.[ingest]'")

START = np.datetime64("2020-01-31T12:00:00", "ms")
START_US = int(START.astype("datetime64[us]").astype(int))
HEADER = """Device Identity
Device Unique Serial Code:012967
Device Type:GENEActiv
Device Model:1.1
Device Firmware Version:Ver4.08d date15Dec13
Calibration Date:2012-03-13 16:29:03:000

Device Capabilities
Accelerometer Range:-8 to 8
Accelerometer Resolution:0.0039
Accelerometer Units:g
Light Meter Range:0 to 5000
Light Meter Resolution:5
Light Meter Units:lux
Temperature Sensor Range:0 to 60
Temperature Sensor Resolution:0.25
Temperature Sensor Units:deg. C

Configuration Info
Measurement Frequency:100 Hz
Measurement Period:168 Hours
Start Time:2020-01-31 12:00:00:000
Time Zone:GMT +01:00

Trial Info
Study Centre:
Study Code:
Investigator ID:
Exercise Type:
Config Operator ID:
Config Time:2012-06-21 17:00:43:000
Config Notes:
Extract Operator ID:
Extract Time:2012-06-25 15:19:35:000
Extract Notes:

Subject Info
Device Location Code:left wrist
Subject Code:abc
Date of Birth:1900-1-1
Sex:
Height:
Weight:
Handedness Code:
Subject Notes:

Calibration Data
x gain:25000
x offset:-800
y gain:25000
y offset:0
z gain:25000
z offset:500
Volts:100
Lux:1000

Memory Status
Number of Pages:{n}

"""
COUNTS = np.random.default_rng(0).integers(-2048, 2048, (10, 300, 3))  # 12 bit
# g = (100 counts - offset) / gain, by the header above
G = (100 * COUNTS - np.array([-800, 0, 500])) / 25000
PAGE_US = 3_000_000


def page(number: int, *, after_ms: int = 0, hz: str = "100.0") -> str:
    """300 samples; 3 in 10 bit of light are 30 lux by the header."""
    digits = "".join(f"{x & 4095:03X}{y & 4095:03X}{z & 4095:03X}00C" for x, y, z in COUNTS[number % 10].tolist())
    time = str(START + 3000 * number + after_ms).replace("T", " ").replace(".", ":")
    return (
        f"Recorded Data\nDevice Unique Serial Code:012967\nSequence Number:{number}\nPage Time:{time}\nUnassigned:\n"
        f"Temperature:21.5\nBattery voltage:4.1\nDevice Status:Recording\nMeasurement Frequency:{hz}\n{digits}\n"
    )


def write(folder: Path, pages: list[str], end: str = "\n", header: str = HEADER) -> Path:
    text = header.replace("{n}", str(len(pages))) + "".join(pages)
    (folder / "1.bin").write_bytes(text.replace("\n", end).encode())
    return folder / "1.bin"


def pages() -> list[str]:
    return [page(number) for number in range(10)]


def check_pages(path: Path, kept: list[int]) -> Report:
    """The report, after a check that exactly these pages are read, each at its time."""
    report = Report()
    pieces = list(open_file(path).read(report))
    time, acceleration = (np.concatenate([piece[at] for piece in pieces]) for at in (0, 1))
    expected = START_US + PAGE_US * np.array(kept)[:, None] + 10_000 * np.arange(300)
    np.testing.assert_array_equal(time, expected.ravel())
    np.testing.assert_allclose(acceleration, G[kept].reshape(-1, 3), atol=1e-6)
    assert time.dtype == np.int64 and acceleration.dtype == np.float32
    return report


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("piece", [200, 3])
def test_a_whole_file(tmp_path, monkeypatch, end, piece):
    monkeypatch.setattr(geneactiv, "PIECE_PAGES", piece)
    path = write(tmp_path, pages(), end)
    report = check_pages(path, list(range(10)))
    assert (report.blocks, report.bad_blocks, report.gaps, report.clock_jumps) == (10, {}, 0, 0)
    found = open_file(path)
    assert (found.device, found.rate_hz, found.range_g) == ("GENEActiv 012967", 100, 8)
    assert found.facts["start"] == "2020-01-31 12:00:00:000" and found.facts["pages by the header"] == 10
    first = next(found.read(Report()))
    assert first.light[0] == 30 and first.temperature[0] == 21.5 and first.battery[0] == np.float32(4.1)
    assert len(first.light) == len(first.temperature) == len(first.battery) == len(first.time)


def with_page(number: int, text: str) -> list[str]:
    return [*pages()[:number], text, *pages()[number + 1 :]]


ZEROS = page(4)[: -len("0" * 3600 + "\n")] + "0" * 3600 + "\n"
DAMAGE = {
    "cut short": (page(4)[:-500] + "\n", "damaged page"),
    "no hex": (page(4)[:-9] + "zzzzzzzz\n", "damaged page"),
    "a line lost": (page(4).replace("Unassigned:\n", ""), "damaged page"),
    "no date": (page(4).replace("2020-01-31", "2020-02-31"), "damaged page"),
    "garbage": ("Recorded Data" + "\0" * 3700, "damaged page"),
    "zeros": (ZEROS, "page of zeros"),
    "another rate": (page(4, hz="50.0"), "page of another rate"),
    # Numbers at which the decoder alone would write outside its memory.
    "large number": (page(4).replace("Number:4", "Number:400000000"), "page with a wrong number or time"),
    "wrong year": (page(4).replace("2020-01", "2030-01"), "page with a wrong number or time"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_page_is_a_gap(tmp_path, case):
    text, reason = DAMAGE[case]
    report = check_pages(write(tmp_path, with_page(4, text)), [0, 1, 2, 3, 5, 6, 7, 8, 9])
    assert report.bad_blocks == {reason: 1} and report.blocks == 10
    assert report.gaps == 1 and report.missing_s == pytest.approx(3)


def test_missing_pages_are_a_gap_though_the_header_does_not_count_them(tmp_path):
    kept = [0, 1, 2, 5, 6, 9]
    report = check_pages(write(tmp_path, [page(number) for number in kept]), kept)
    assert (report.gaps, report.longest_gap_s, report.clock_jumps) == (2, 6.01, 0)


def test_a_repeated_page_is_left_out(tmp_path):
    report = check_pages(write(tmp_path, [*pages()[:5], *pages()[4:]]), list(range(10)))
    assert report.bad_blocks == {"page time not increasing": 1}


def test_a_file_that_was_cut_off(tmp_path):
    path = write(tmp_path, pages())
    path.write_bytes(path.read_bytes()[:-1000])
    assert check_pages(path, list(range(9))).bad_blocks == {"damaged page": 1}


def test_a_step_of_the_clock_is_a_gap(tmp_path):
    path = write(tmp_path, [page(number, after_ms=5000 * (number > 4)) for number in range(10)])
    report = Report()
    time = np.concatenate([piece.time for piece in open_file(path).read(report)])
    assert (report.clock_jumps, report.largest_jump_s, report.gaps) == (1, 5.0, 1) and (np.diff(time) > 0).all()


def test_samples_lie_evenly_up_to_the_next_page(tmp_path):
    path = write(tmp_path, [page(number, after_ms=-30 * number) for number in range(10)])  # 1 % fast
    time = next(open_file(path).read(Report())).time
    np.testing.assert_array_equal(time[:2700], START_US + 9900 * np.arange(2700))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"time,x,y,z\n", r"not a GENEActiv file \(.*\): save it as \.bin with GENEActiv's own software again, or"),
        (HEADER.encode(), "no page of data after the header"),
        ((HEADER.replace("y gain:25000", "y gain:") + page(0)).encode(), "y gain in the header is ''"),
        (
            (HEADER.replace("100 Hz", "0 Hz").replace("{n}", "1") + page(0)).encode(),
            "Measurement Frequency in the header is 0",
        ),
        ((HEADER.replace("Calibration Data\n", "") + page(0)).encode(), "has no line 'Calibration Data'"),
        ((HEADER.replace("{n}", "1") + page(0)[:900]).encode(), "none of 1 pages is whole"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, sentence):
    (tmp_path / "1.bin").write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        list(open_file(tmp_path / "1.bin").read(Report()))
    assert str(caught.value).startswith(f"{tmp_path / '1.bin'}: ") and "\n" not in str(caught.value)


def test_without_scikit_digital_health(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skdh.io", None)
    with pytest.raises(ValueError, match=r"needs scikit-digital-health: pip install -e '.\[ingest\]'"):
        open_file(write(tmp_path, pages()))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "1.bin")
