import hashlib
import io
import multiprocessing
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from datamodules.detection import DetectionDataModule
from datamodules.download import Archive, download
from datamodules.sources.voc_xml import VocXml
from detectors.errors import ConfigError, DataError
from tests.datamodules.folders import INFO, listed, object_xml, voc_folder

NOISE = np.random.default_rng(0).bytes(300_000)
"""What no compression shortens."""


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` with ranges; cuts the first `server.cuts` answers in the middle."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(content) or not self.server.resumes:
            if start and self.server.resumes:
                self.send_error(416)
                return
            start = 0
        rest = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(self.server.promise or len(rest)))
        self.end_headers()
        if self.server.cuts > 0:
            self.server.cuts -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str | None] = []
        self.cuts = 0
        self.resumes = True
        self.promise: int | None = None

    def offer(self, name: str, content: bytes, holds: str = "set/last.txt", **wrong) -> Archive:
        self.files[f"/{name}"] = content
        checksum = wrong.get("checksum", f"md5:{hashlib.md5(content).hexdigest()}")
        return Archive(f"http://127.0.0.1:{self.server_port}/{name}", checksum, holds)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def tar_of(files: Mapping[str, bytes], mode: str = "w", **special: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # pyright: ignore
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in special.values():
            tar.addfile(info)
    return buffer.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILES = {"set/last.txt": b"last", "set/images/a.jpg": NOISE, "set/b.txt": b"b"}


def content_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, less the lock."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    found.pop(".download.lock", None)
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar", tar_of(FILES)),
        ("a.tar.gz", tar_of(FILES, "w:gz")),
        ("a.tar.xz", tar_of(FILES, "w:xz")),
        ("a.zip", zip_of(FILES)),
    ],
)
def test_an_archive_is_fetched_unpacked_and_removed(server, tmp_path, name, content):
    download([server.offer(name, content)], tmp_path / "new" / "folder")
    assert content_of(tmp_path / "new" / "folder") == FILES


def test_what_is_there_costs_no_request(server, tmp_path):
    archive = server.offer("a.tar", tar_of(FILES))
    download([archive], tmp_path)
    download([archive], tmp_path)
    assert len(server.asked) == 1


def test_what_somebody_unpacked_by_hand_needs_no_network(tmp_path, unused_port):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/last.txt").write_text("mine")
    url = f"http://127.0.0.1:{unused_port}/a.tar"
    download([Archive(url, "md5:00", "set/last.txt")], tmp_path)
    assert content_of(tmp_path) == {"set/last.txt": b"mine"}


def test_an_archive_carried_there_by_hand_is_verified_and_used(server, tmp_path):
    content = tar_of(FILES)
    archive = server.offer("a.tar", content)
    (tmp_path / "a.tar").write_bytes(content)
    download([archive], tmp_path)
    assert content_of(tmp_path) == FILES
    assert server.asked == []


def test_a_cut_connection_goes_on_where_it_ended(server, tmp_path):
    content = tar_of(FILES)
    server.cuts = 2
    download([server.offer("a.tar", content)], tmp_path)
    half = len(content) // 2
    assert server.asked == [None, f"bytes={half}-", f"bytes={half + (len(content) - half) // 2}-"]
    assert content_of(tmp_path) == FILES


def test_an_interrupted_download_goes_on_at_the_next_start(server, tmp_path):
    content = tar_of(FILES)
    (tmp_path / "a.tar.part").write_bytes(content[:1000])
    download([server.offer("a.tar", content)], tmp_path)
    assert server.asked == ["bytes=1000-"]
    assert content_of(tmp_path) == FILES


def test_a_download_interrupted_at_its_very_end_is_complete(server, tmp_path):
    content = tar_of(FILES)
    (tmp_path / "a.tar.part").write_bytes(content)
    download([server.offer("a.tar", content)], tmp_path)
    assert content_of(tmp_path) == FILES


def test_a_server_that_cannot_resume_starts_over(server, tmp_path):
    content = tar_of(FILES)
    server.resumes = False
    (tmp_path / "a.tar.part").write_bytes(b"x" * 1000)
    download([server.offer("a.tar", content)], tmp_path)
    assert content_of(tmp_path) == FILES


def test_a_lost_connection_keeps_what_came_and_says_so(server, tmp_path):
    content = tar_of(FILES)
    archive = server.offer("a.tar", content)
    server.cuts = 1_000
    with pytest.raises(DataError, match=r"/a\.tar: no connection, or lost after .* start again"):
        download([archive], tmp_path)
    assert set(content_of(tmp_path)) == {"a.tar.part"}
    server.cuts = 0
    download([archive], tmp_path)
    assert content_of(tmp_path) == FILES


def test_without_a_network_the_error_is_one_line_with_the_way_out(tmp_path, unused_port):
    archive = Archive(f"http://127.0.0.1:{unused_port}/a.tar", "md5:00", "set/last.txt")
    with pytest.raises(DataError) as caught:
        download([archive], tmp_path)
    assert "Connection refused" in str(caught.value)
    assert f"put it at {tmp_path}/a.tar" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_the_server_does_not_have_is_explained(server, tmp_path):
    archive = server.offer("a.tar", b"")
    server.files.clear()
    with pytest.raises(DataError, match=r"/a\.tar: the server answers 404 Not Found"):
        download([archive], tmp_path)
    assert content_of(tmp_path) == {}


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_another_checksum_is_refused_and_the_download_thrown_away(server, tmp_path, algorithm):
    content = tar_of(FILES)
    right = hashlib.new(algorithm, content).hexdigest()
    wrong = server.offer("a.tar", content, checksum=f"{algorithm}:{right[:-1]}g")
    with pytest.raises(DataError, match=f"its {algorithm} is {right}, but"):
        download([wrong], tmp_path)
    assert content_of(tmp_path) == {}
    download([server.offer("a.tar", content, checksum=f"{algorithm}:{right.upper()}")], tmp_path)
    assert content_of(tmp_path) == FILES


def test_a_disk_too_small_for_the_file_is_noticed_before_it_is_full(server, tmp_path):
    archive = server.offer("a.tar", b"")
    server.promise = 1 << 60
    with pytest.raises(DataError, match=r"MiB are to come, but \d+ MiB are free: free some space"):
        download([archive], tmp_path)


def test_a_folder_that_cannot_be_written_is_explained(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/data: cannot be written \(Not a directory\)"):
        download([server.offer("a.tar", tar_of(FILES))], tmp_path / "file" / "data")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_with_link() -> bytes:
    buffer = io.BytesIO(zip_of(FILES))
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("set/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        tar_of({**FILES, "../escaped": b""}),
        tar_of({**FILES, "set/../../escaped": b""}),
        tar_of({**FILES, "/tmp/escaped": b""}),
        tar_of(FILES, a=link("set/link", "/etc")),
        tar_of(FILES, a=link("set/link", "b.txt")),
        tar_of(FILES, a=link("set/link", "../../x", tarfile.LNKTYPE)),
        tar_of(FILES, a=link("set/null", "", tarfile.CHRTYPE)),
        tar_of(FILES, a=link("set/pipe", "", tarfile.FIFOTYPE)),
        zip_of({**FILES, "../escaped": b""}),
        zip_of({**FILES, "/tmp/escaped": b""}),
        zip_of({**FILES, r"..\escaped": b""}),
        zip_with_link(),
    ],
)
def test_an_archive_with_links_devices_or_ways_out_leaves_nothing_behind(server, tmp_path, content):
    root = tmp_path / "a" / "b"
    with pytest.raises(DataError, match=r"leads out of the folder|is no plain file or folder"):
        download([server.offer("a.x", content)], root)
    assert set(content_of(tmp_path)) - {"a/b/.download.lock"} == {"a/b/a.x"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an archive that can be unpacked"),
        (b"no archive", "not an archive that can be unpacked"),
        (tar_of(FILES)[:200_000], "not an archive that can be unpacked"),
        (tar_of(FILES, "w:gz")[:200_000], "not an archive that can be unpacked"),
        (zip_of(FILES)[:200_000], "not an archive that can be unpacked"),
        (zip_of(FILES).replace(NOISE[100:200], NOISE[:100]), "Bad CRC-32"),
        (tar_of({"set/other.txt": b""}), r"does not hold set/last\.txt"),
    ],
)
def test_a_damaged_or_wrong_archive_leaves_nothing_that_looks_complete(
    server, tmp_path, content, message
):
    with pytest.raises(DataError, match=message) as caught:
        download([server.offer("a.x", content)], tmp_path)
    assert "\n" not in str(caught.value)
    assert set(content_of(tmp_path)) == {"a.x"}


def test_an_unpacking_that_was_killed_is_done_again(server, tmp_path):
    archive = server.offer("a.tar", tar_of(FILES))
    (tmp_path / ".a.tar.unpacked/set").mkdir(parents=True)
    (tmp_path / ".a.tar.unpacked/set/half").write_text("")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/b.txt").write_text("moved before the end came")
    download([archive], tmp_path)
    assert content_of(tmp_path) == FILES


def test_two_archives_may_share_folders_and_each_is_asked_for_once(server, tmp_path):
    first = server.offer("a.tar", tar_of({"set/a": b"a", "set/1": b""}), "set/a")
    second = server.offer("b.tar", tar_of({"set/b": b"b", "set/2": b""}), "set/b")
    download([first], tmp_path)
    download([first, second], tmp_path)
    assert set(content_of(tmp_path)) == {"set/a", "set/1", "set/b", "set/2"}
    assert len(server.asked) == 2


def test_two_processes_that_want_the_same_fetch_it_once(server, tmp_path):
    archive = server.offer("a.tar", tar_of(FILES))
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=download, args=([archive], tmp_path)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(server.asked) == 1
    assert content_of(tmp_path) == FILES


@pytest.mark.parametrize(
    ("url", "checksum", "holds"),
    [
        ("file:///etc/passwd", "md5:0", "a"),
        ("http://host/", "md5:0", "a"),
        ("http://host/a.tar", "crc:0", "a"),
        ("http://host/a.tar", "md5:", "a"),
        ("http://host/a.tar", "md5:0", "../a"),
        ("http://host/a.tar", "md5:0", ""),
    ],
)
def test_an_impossible_archive_is_refused(url, checksum, holds):
    with pytest.raises(ConfigError, match="archive "):
        Archive(url, checksum, holds)


def pets(root: Path | None, archive: Archive, **options) -> DetectionDataModule:
    make = partial(VocXml, split=listed("train"))
    folder = None if root is None else str(root)
    return DetectionDataModule(
        INFO, make, make, input_hw=(64, 64), root=folder, archives=[archive], **options
    )


def test_a_datamodule_downloads_only_when_told_and_before_it_reads(server, tmp_path):
    made = voc_folder(tmp_path / "made", {"a": object_xml()})
    files = {p.relative_to(made).as_posix(): p.read_bytes() for p in made.rglob("*.*")}
    archive = server.offer("voc.tar", tar_of(files), "ImageSets/Main/train.txt")
    with pytest.raises(DataError, match="no such folder"):
        pets(tmp_path / "set", archive).setup("fit")
    with pytest.raises(DataError, match=r"set datamodule\.root=FOLDER"):
        pets(None, archive, download=True).prepare_data()
    module = pets(tmp_path / "set", archive, download=True)
    module.setup("fit")
    assert list(module.ground_truth("train")) == ["a"]
    assert len(server.asked) == 1
