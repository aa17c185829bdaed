"""Fetches a dataset's archives from their publisher: resumed, verified, unpacked all or nothing."""

import fcntl
import hashlib
import http.client
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from datamodules.unpack import stays_inside, unpack
from detectors.errors import ConfigError, DataError

_CHUNK = 1 << 20
"""Bytes read at once."""

_PATIENCE = 30
"""Seconds without a byte after which a connection counts as lost."""


class Archive:
    """A tar or zip file that holds a part of a dataset.

    Args:
        url: http or https.
        checksum: of the publisher's: `md5:` or `sha256:` and the hexadecimal digits.
        holds: one of its files, as a path below the dataset's folder. It is put in place last:
            where it exists, the archive is complete and not asked for again.
    """

    def __init__(self, url: str, checksum: str, holds: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.name = PurePosixPath(unquote(parts.path)).name
        self.algorithm, _, self.digits = checksum.partition(":")
        self.holds = holds
        if parts.scheme not in ("http", "https") or not parts.netloc or not self.name:
            raise ConfigError(f"archive {url}: give the http or https address of a file")
        if self.algorithm not in ("md5", "sha256") or not self.digits:
            raise ConfigError(f"archive {url}: checksum={checksum} is not md5:... or sha256:...")
        if not stays_inside(holds):
            raise ConfigError(f"archive {url}: holds={holds} is no path below the dataset's folder")

    def is_unpacked(self, root: Path) -> bool:
        """Whether the dataset's folder has all of it."""
        return (root / self.holds).is_file()


def download(archives: Sequence[Archive], root: Path) -> None:
    """Puts the content of the archives into a folder; what is there already costs no request.

    An archive that lies in the folder under its own name, carried there by hand, is used. Another
    process that wants the same waits until this one is done.

    Raises:
        DataError: no network, no such file, another checksum, an unsafe archive, no space. What
            came of an archive stays for the next attempt; nothing half-unpacked does.
    """
    if all(archive.is_unpacked(root) for archive in archives):
        return
    with _writing(root):
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root), _progress() as progress:
            for archive in archives:
                if not archive.is_unpacked(root):
                    file = _fetched(archive, root, progress)
                    unpack(file, root, archive.holds)
                    file.unlink()


def _fetched(archive: Archive, root: Path, progress: Progress) -> Path:
    """The verified archive in the folder; it gets its name only when it is complete."""
    file = root / archive.name
    if file.is_file():
        _verify(archive, file)
        return file
    part = root / f"{archive.name}.part"
    _receive_all(archive.url, part, progress)
    try:
        _verify(archive, part)
    except DataError:
        part.unlink()
        raise
    return part.rename(file)


def _verify(archive: Archive, file: Path) -> None:
    with file.open("rb") as handle:
        found = hashlib.file_digest(handle, archive.algorithm).hexdigest()
    if found != archive.digits.lower():
        raise DataError(
            file,
            f"its {archive.algorithm} is {found}, but {archive.digits} was published",
            f"remove it if it is still there, and fetch {archive.url} again",
        )


class _Lost(Exception):
    """The connection, or there was none."""


def _receive_all(url: str, part: Path, progress: Progress) -> None:
    """Connects anew, where the last connection was cut, as long as each one brings something."""
    task = progress.add_task(part.stem, total=None)
    while True:
        before = _size(part)
        try:
            for have, total in _receive(url, part, before):
                progress.update(task, completed=have, total=total)
            return
        except _Lost as problem:
            if _size(part) <= before:
                by_hand = f"or fetch it elsewhere and put it at {part.with_suffix('')}"
                raise DataError(
                    url,
                    f"no connection, or lost after {before >> 20} MiB ({problem})",
                    f"start again, it goes on from there, {by_hand}",
                ) from None


def _receive(url: str, part: Path, have: int) -> Iterator[tuple[int, int | None]]:
    """One connection: appends to a file of `have` bytes; yields its size so far, and the final one.

    Raises:
        _Lost: before the end.
    """
    answer = _answer(url, have, part)
    if answer is None:
        return
    with answer:
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server does not resume
        length = answer.headers["Content-Length"]
        total = have + int(length) if length else None
        _check_space(part.parent, (total or have) - have)
        with part.open("ab" if have else "wb") as handle:
            while chunk := _chunk(answer):
                have += handle.write(chunk)
                yield have, total
    if total is not None and have < total:
        raise _Lost(f"{total >> 20} MiB announced")


def _answer(url: str, have: int, part: Path) -> http.client.HTTPResponse | None:
    """The server's answer to a request for the rest; None: it has no more."""
    headers = {"User-Agent": "lineup"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return urlopen(Request(url, headers=headers), timeout=_PATIENCE)
    except HTTPError as error:
        if have and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        raise DataError(
            url,
            f"the server answers {error.code} {error.reason}",
            f"fetch it elsewhere and put it at {part.with_suffix('')}",
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Lost(getattr(error, "reason", error)) from None


def _chunk(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Lost(error) from None


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            folder,
            f"{needed >> 20} MiB are to come, but {free >> 20} MiB are free",
            "free some space there, or set datamodule.root to another folder",
        )


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _progress() -> Progress:
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True))


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    with (root / ".download.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            root,
            f"cannot be written ({error.strerror or error})",
            "free some space there, or set datamodule.root to another folder",
        ) from None
