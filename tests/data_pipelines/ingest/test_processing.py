"""Files of one person that differ in zone or columns, and a file whose clock was set back."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.ingest import pairs, people
from data_pipelines.ingest.one import ingest_one
from data_pipelines.readers import declared
from data_pipelines.shard_reading import read_shard
from data_pipelines.shards import SHARDS
from tests.data_pipelines import cwa_writer
from tests.data_pipelines.ingest.conftest import SETTINGS, START, signal, write_cwa

CSV = dataclasses.replace(
    SETTINGS, calibrate=False, align=False, columns=declared.parse("time=time,x=x,y=y,z=z,unit=g,rate=50")
)
SAME = "2022-06-01T08:00:00", "+02:00"


def write_csv(path, start, zone, header="time,x,y,z", per_g=1):
    """Five minutes of the sensor that the file is named after, at 50 Hz from `start` on."""
    measured = signal(path.stem, 3, minutes=5).acceleration.round(5) * per_g
    clock = np.datetime_as_string(np.datetime64(start, "us") + np.arange(len(measured)) * np.timedelta64(20, "ms"))
    rows = (",".join([time + zone, *map(str, row)]) for time, row in zip(clock, measured.tolist(), strict=True))
    path.write_text("\n".join([header, *rows]) + "\n")


def ingested(folder, columns=""):
    """(sidecar, shard) of back.csv and thigh.csv, the latter with columns of its own if these are given."""
    table = f'file,person,place,columns\nback.csv,p,back,\nthigh.csv,p,thigh,"{columns}"\n'
    (folder / "pairs.csv").write_text(table)
    person = pairs.read(folder, folder / "pairs.csv", CSV.cut.sensors).people[0]
    (folder / "out" / SHARDS).mkdir(parents=True)
    sidecar, _ = ingest_one(person, CSV, folder / "out")
    return sidecar, read_shard(folder / "out" / SHARDS / "p.array_record")


@pytest.fixture(scope="module")
def in_one_zone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    for place in ("back", "thigh"):
        write_csv(folder / f"{place}.csv", *SAME)
    return ingested(folder)


@pytest.mark.parametrize(
    "thigh", [("2022-06-01T06:00:00", "Z"), ("2022-06-01 02:00:00", "-0400"), ("2022-06-01T07:00:00", "+01:00")]
)
def test_the_first_sensors_zone_is_that_of_all(tmp_path, in_one_zone, thigh):
    write_csv(tmp_path / "back.csv", *SAME)
    write_csv(tmp_path / "thigh.csv", *thigh)
    sidecar, shard = ingested(tmp_path)
    np.testing.assert_array_equal(shard.counts, in_one_zone[1].counts)
    np.testing.assert_array_equal(shard.time, in_one_zone[1].time)
    assert sidecar["entry"]["start_us"] == in_one_zone[0]["entry"]["start_us"] == 1_654_070_400_000_000
    ends = [[report[end] for end in ("first_us", "last_us")] for report in reports(sidecar)]
    assert ends[0] == ends[1] == [1_654_070_400_000_000, 1_654_070_400_000_000 + 15_059 * 20_000]


def reports(sidecar):
    return [sidecar["sensors"][place]["report"] for place in ("back", "thigh")]


def test_without_a_zone_clocks_are_taken_as_they_are(tmp_path, in_one_zone):
    write_csv(tmp_path / "back.csv", *SAME)
    write_csv(tmp_path / "thigh.csv", SAME[0], "")
    sidecar, shard = ingested(tmp_path)
    np.testing.assert_array_equal(shard.time, in_one_zone[1].time)
    assert [report["utc_offset_us"] for report in reports(sidecar)] == [7_200_000_000, None]


def test_a_file_with_columns_of_its_own(tmp_path, in_one_zone):
    write_csv(tmp_path / "back.csv", *SAME)
    write_csv(tmp_path / "thigh.csv", *SAME, header="when,a,b,c", per_g=1000)
    _, shard = ingested(tmp_path, "time=when,x=a,y=b,z=c,unit=mg,rate=50")
    np.testing.assert_allclose(shard.counts, in_one_zone[1].counts, atol=1)


@pytest.mark.parametrize(("before", "after"), [(3, 9), (9, 3)])
def test_a_clock_that_was_set_back(tmp_path, before, after):
    """The lesser part of a file may be left out, as blocks; not the greater."""
    begin = write_cwa(tmp_path / "w.cwa", signal("back", 0, before)).read_bytes()
    earlier = str(np.datetime64(START) - np.timedelta64(1, "D"))
    rest = tmp_path / "rest.cwa"
    cwa_writer.write(rest, signal("back", 1, after).acceleration, rate_hz=50, true_rate_hz=50.2, start=earlier)
    blocks = rest.read_bytes()[cwa_writer.HEADER_BYTES :]
    rest.unlink()
    (tmp_path / "w.cwa").write_bytes(begin + blocks)
    wrist = dataclasses.replace(CSV, cut=dataclasses.replace(CSV.cut, sensors=("wrist",)))
    person = people.one_file_each(tmp_path, "wrist")[0]
    (tmp_path / "out" / SHARDS).mkdir(parents=True)
    count, of = len(blocks) // 512, (len(begin) + len(blocks)) // 512 - 2
    if before < after:
        with pytest.raises(ValueError, match=f"w.cwa: {count} of {of} blocks are of an earlier time .* clock was set"):
            ingest_one(person, wrist, tmp_path / "out")
    else:
        sidecar, _ = ingest_one(person, wrist, tmp_path / "out")
        assert sidecar["sensors"]["wrist"]["report"]["bad_blocks"] == {"out of order or clock went back": count}
