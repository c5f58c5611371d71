"""Fetching a public archive over HTTP, here from this machine: unpacked, kept, and failures in one sentence."""

import http.server
import io
import threading
import zipfile

import pytest

from data_pipelines.builders import build, labelled_from_tfds, pamap2


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def standing():
    """A file of PAMAP2, 10 s: gravity on y of the chest (column 23) and on x of the ankle (39)."""
    cells = ["0"] * 52
    cells[20] = cells[36] = "9.8"
    return "".join(f"{i / 100:.2f} 3 {' '.join(cells)}\n" for i in range(1_000))


# As at UCI: an archive inside an archive.
INNER = zipped(**{"PAMAP2_Dataset/Protocol/subject105.dat": standing()})
PAMAP2 = zipped(**{"readme.pdf": b"", "PAMAP2_Dataset.zip": INNER})


@pytest.fixture
def server(monkeypatch):
    """Path -> content; an unknown path is 404. The builder's URL points at it."""
    contents = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802, the library's name
            contents["asked"] = contents.get("asked", 0) + 1
            self.send_response(200 if self.path in contents else 404)
            self.end_headers()
            self.wfile.write(contents.get(self.path, b""))

        def log_message(self, *_):
            pass

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        monkeypatch.setattr(pamap2, "URL", f"http://127.0.0.1:{listening.server_port}/pamap2+data.zip")
        yield contents
        listening.shutdown()


def test_an_archive_inside_an_archive(tmp_path, server):
    server["/pamap2+data.zip"] = PAMAP2
    folder = build("pamap2", None, tmp_path)
    assert folder == tmp_path / "pamap2" / "1.0.0"
    (recording,) = labelled_from_tfds(folder)
    assert recording.subject == "subject105" and recording.counts.shape == (6, 500)
    assert server["asked"] == 1 and not list(tmp_path.rglob("*.partial"))


def test_failures_are_one_sentence_and_do_not_last(tmp_path, server):
    with pytest.raises(OSError, match=r"pamap2\+data\.zip cannot be downloaded \(.*404.*fetch the data by hand"):
        build("pamap2", None, tmp_path)
    for damaged in (b"<html>log in first</html>", PAMAP2[:400], zipped(**{"inner.zip": b"none"})):
        server["/pamap2+data.zip"] = damaged
        with pytest.raises(OSError, match=r"data\.zip is no zip archive that can be unpacked \(BadZipFile") as caught:
            build("pamap2", None, tmp_path)
        assert "\n" not in str(caught.value) and not any(path.is_file() for path in tmp_path.rglob("*"))
    server["/pamap2+data.zip"] = zipped(**{"other.csv": "1"})
    with pytest.raises(FileNotFoundError, match="nothing in layout pamap2 found, expected files Protocol/subject101"):
        build("pamap2", None, tmp_path / "other")
    server["/pamap2+data.zip"] = PAMAP2
    assert len(labelled_from_tfds(build("pamap2", None, tmp_path))) == 1
