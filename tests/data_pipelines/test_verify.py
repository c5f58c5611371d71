"""Verifying a prepared folder: every file and every shard's records; what it names; a large number of files."""

import shutil
from pathlib import Path

import pytest

from data_pipelines.manifest import file_crc32, read_normalization
from data_pipelines.shards import SIDECAR_VERSION, read_sidecar, write_sidecar
from data_pipelines.verify import DamagedFiles, unnamed, verify
from tests.data_pipelines.conftest import rewrite


@pytest.fixture
def folder(prepared, tmp_path) -> Path:
    """A prepared folder of its own: 3 shards and sidecars (S3 holds no window), 3 labelled files and two others."""
    return shutil.copytree(prepared, tmp_path / "out")


def sizes(folder: Path) -> int:
    kept = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return sum(path.stat().st_size for path in kept)


@pytest.mark.parametrize("workers", [1, 3, None])
def test_a_whole_folder_matches(folder, workers):
    assert verify(folder, workers) == (11, sizes(folder))
    assert unnamed(folder) == []


@pytest.mark.parametrize("name", ["shards/S1.array_record", "labelled/S2.npz", "normalization.npz", "movement.npz"])
def test_one_bit_of_any_file(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedFiles, match=rf"1 of 11 files are damaged: {name} \(its checksum differs\): run"):
        verify(folder, 2)


def test_all_that_is_wrong_is_named_in_order(folder):
    (folder / "labelled" / "S3.npz").unlink()
    (folder / "normalization.npz").write_bytes(b"")
    words = r"2 of 11 files are damaged: normalization.npz \(its checksum differs\), labelled/S3.npz \(missing\): run"
    with pytest.raises(DamagedFiles, match=words):
        verify(folder)


def test_a_shard_with_other_records_than_the_manifest_says(folder):
    def one_block_more(manifest):
        manifest["recordings"][0]["stretches"][0][0] += 15_000

    rewrite(folder, one_block_more)
    with pytest.raises(DamagedFiles, match=r"shards/S1.array_record \(it holds 2 records, expected 3\)"):
        verify(folder)


def test_a_shard_that_is_no_file_of_records(folder):
    shard = folder / "shards" / "S2.array_record"
    shard.write_bytes(b"nothing of the kind")
    rewrite(folder, lambda manifest: manifest["recordings"][1].update(crc32=file_crc32(shard)))
    with pytest.raises(DamagedFiles, match=r"shards/S2.array_record \(it is no file of records\)"):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: None, "missing"),
        (lambda text: text[:-100], "it is cut short or changed"),
        (lambda text: text.replace("{", "\0", 1), "it is cut short or changed"),
        (lambda text: "[]", "it is cut short or changed"),
        (lambda text: text.replace('"moments": {', '"moments": {"x": 1, '), "it is cut short or changed"),
        (lambda text: text.replace('"crc32": ', '"crc33": '), "it is cut short or changed"),
        (lambda text: text.replace(f'"version": {SIDECAR_VERSION}', '"version": 9'), "it is cut short or changed"),
    ],
)
def test_a_sidecar_that_changed(folder, change, words):
    sidecar = folder / "shards" / "S2.json"
    changed = change(sidecar.read_text())
    assert changed != sidecar.read_text()
    sidecar.unlink()
    if changed is not None:
        sidecar.write_text(changed)
    with pytest.raises(DamagedFiles, match=rf"1 of 11 files are damaged: shards/S2.json \({words}"):
        verify(folder, 2)


@pytest.mark.parametrize("field", ["subject", "windows", "rate_hz"])
def test_a_sidecar_that_says_something_else(folder, field):
    found = read_sidecar(folder / "shards" / "S2.json")
    part = found["settings" if field == "rate_hz" else "entry"]
    part[field] = "S1" if field == "subject" else part[field] + 1
    content = {key: value for key, value in found.items() if key not in ("version", "settings", "stamp")}
    write_sidecar(folder, "S2", found["settings"], found["stamp"], content)
    with pytest.raises(DamagedFiles, match=r"S2.json \(it says something else than the manifest: delete it\)"):
        verify(folder)


def test_a_file_that_cannot_be_read(folder):
    (folder / "movement.npz").unlink()
    (folder / "movement.npz").mkdir()
    with pytest.raises(DamagedFiles, match=r"movement.npz \(cannot be read, Is a directory\)"):
        verify(folder)


def test_of_many_files_the_first_are_named(folder):
    def hundred(manifest):
        gone = {"windows": 0, "stretches": [], "crc32": 1, "labelled": None, "subject": "x"}
        manifest["recordings"] += [gone | {"name": f"{n:03d}", "shard": f"shards/{n:03d}"} for n in range(100)]

    rewrite(folder, hundred)
    with pytest.raises(
        DamagedFiles, match=r"200 of 211 files .* shards/009.json \(missing\) and 180 more: run"
    ) as raised:
        verify(folder, 4)
    assert "shards/010" not in str(raised.value)


def test_files_that_the_manifest_does_not_name(folder):
    for name in ("shards/S9.array_record", "shards/S9.json", "labelled/S9.npz.partial"):
        (folder / name).write_bytes(b"")
    assert unnamed(folder) == ["labelled/S9.npz.partial", "shards/S9.array_record", "shards/S9.json"]
    assert verify(folder)[0] == 11


def test_no_manifest(folder, tmp_path):
    (folder / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="its preparation was stopped with 3 recordings done: run the same"):
        verify(folder)
    words = (
        "is no .finished. prepared folder: name one, or write it with `selfpab prepare` or, from raw files, `selfpab in"
    )
    with pytest.raises(FileNotFoundError, match=words):
        verify(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="workers is 0"):
        verify(folder, 0)


@pytest.mark.parametrize(("layout", "command"), [("harth", "prepare"), ("raw", "ingest")])
def test_the_command_that_wrote_the_folder_is_named(folder, layout, command):
    def changed(**fields) -> str:
        rewrite(folder, lambda manifest: manifest.update({"layout": layout} | fields))
        with pytest.raises(ValueError, match="run the|run `selfpab") as raised:
            read_normalization(folder)
        return str(raised.value)

    (folder / "normalization.npz").write_bytes(b"nothing")
    assert f"damaged (checksum differs from the manifest): run `selfpab {command}` again" in changed()
    assert f"version is 1, expected 2: run `selfpab {command}` into another folder" in changed(version=1)
    (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"version": 1', '"version": 2')
    )
    with pytest.raises(ValueError, match=f"it was changed: run `selfpab {command}` again"):
        read_normalization(folder)
    (folder / "manifest.json").write_text(f'{{"version": 2, "layout": "{layout}"}}')
    with pytest.raises(ValueError, match=f"field settings is missing: run `selfpab {command}` again"):
        read_normalization(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"version": 2}'])
def test_where_the_manifest_says_nothing_both_commands_are_named(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run the command that wrote it \(selfpab prepare or selfpab ingest\)"):
        verify(folder)


def test_a_missing_file_of_statistics(folder):
    (folder / "normalization.npz").unlink()
    with pytest.raises(FileNotFoundError, match="normalization.npz is missing: run `selfpab prepare` again"):
        read_normalization(folder)
