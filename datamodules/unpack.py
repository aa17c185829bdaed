"""Unpacks an archive of a stranger's: safely, and all or nothing."""

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from detectors.errors import DataError

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def unpack(file: Path, root: Path, last: str) -> None:
    """Puts every file of an archive into a folder; `last` comes last, and tells that all are there.

    Args:
        file: tar (plain or compressed) or zip.
        root: folder to unpack into; files of the same name are replaced.
        last: one of the files, a path below `root`.

    Raises:
        DataError: damaged, or a member is a link, a device, or leads out of the folder. Nothing is
            left of the archive's content then.
    """
    folder = root / f".{file.name}.unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        _extract(file, folder)
        if not (folder / last).is_file():
            raise DataError(file, f"does not hold {last}", "correct what the archive `holds`")
        inner = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        for name in sorted(inner, key=lambda path: path == Path(last)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(root / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(file: Path, folder: Path) -> None:
    """Plain files and folders only, none of them outside of the folder."""
    try:
        if tarfile.is_tarfile(file):
            with tarfile.open(file) as tar:
                for member in tar:
                    _check_member(file, member.name, member.isreg() or member.isdir())
                    tar.extract(member, folder, filter="data")
        else:
            with zipfile.ZipFile(file) as archive:
                for entry in archive.infolist():
                    is_link = stat.S_ISLNK(entry.external_attr >> 16)
                    _check_member(file, entry.filename, not is_link)
                    archive.extract(entry, folder)
    except (*_DAMAGED, EOFError, RuntimeError) as error:
        what = f"not an archive that can be unpacked ({error})"
        raise DataError(file, what, "unpack it by hand, or fetch it again") from None


def _check_member(file: Path, name: str, is_plain: bool) -> None:
    if not is_plain or not stays_inside(name):
        what = "is no plain file or folder" if not is_plain else "leads out of the folder"
        raise DataError(
            f"{file}: '{name}'", what, "do not trust this archive; nothing was unpacked"
        )


def stays_inside(name: str) -> bool:
    """Whether a relative path cannot lead out of the folder it starts from."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and path != PurePosixPath()
