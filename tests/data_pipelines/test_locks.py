"""Whether a folder is being written, asked from outside: the answer, and that asking disturbs nobody."""

import pytest

from data_pipelines.locks import in_use, locked
from data_pipelines.manifest import read_manifest


@pytest.mark.parametrize("shared", [False, True])
def test_in_use_while_somebody_holds_the_lock(tmp_path, shared):
    assert not in_use(tmp_path)
    with locked(tmp_path, shared=shared):
        assert in_use(tmp_path) and in_use(tmp_path)
    assert not in_use(tmp_path)


def test_asking_takes_nothing_from_anybody(tmp_path):
    with locked(tmp_path, shared=True):
        assert in_use(tmp_path)
        with locked(tmp_path, shared=True):  # another task comes
            pass
        with pytest.raises(OSError, match="by another process"), locked(tmp_path):
            pass
    assert not in_use(tmp_path)
    with locked(tmp_path):  # which nobody has kept
        pass


def test_what_is_no_folder_is_not_in_use(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert not in_use(tmp_path / "nowhere") and not in_use(tmp_path / "file")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("done", [0, 2])
def test_a_folder_without_manifest_that_is_being_written(tmp_path, shared, done):
    (tmp_path / "shards").mkdir()
    for number in range(done):
        (tmp_path / "shards" / f"{number}.json").touch()
    words = f"has no manifest.json yet: it is being written by another process, with {done} recordings done: wait for"
    with locked(tmp_path, shared=shared), pytest.raises(FileNotFoundError, match=words):
        read_manifest(tmp_path)
    with pytest.raises(FileNotFoundError, match="was stopped with 2" if done else "is no .finished. prepared folder"):
        read_manifest(tmp_path)
