"""Files that are whole or not there: written beside their place, moved into it once all is on disk.

Nothing heavy is imported here: the command line uses it before it needs torch.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from detectors.errors import RunError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and vanishes when not.

    Raises `RunError` when the system refuses to write (full disk, no permission); whatever stood at
    `path` is untouched then. One writer per path: the temporary neighbour has a fixed name, so that
    a killed process leaves at most one behind.
    """
    path = Path(path)
    with (
        _replacing(path, path.with_name(f".{path.name}.partial")) as partial,
        partial.open("wb") as file,
    ):
        yield file


@contextmanager
def replacing_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `replacing`, for a library that opens the file itself: a path with the suffix of `path`.

    Without a file there in the end, nothing takes the place of `path`: `RunError`.
    """
    path = Path(path)
    with _replacing(path, path.with_name(f".{path.stem}.partial{path.suffix}")) as partial:
        yield partial


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 text; see `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json_atomically(
    path: str | os.PathLike[str], value: Any, indent: int | None = None
) -> None:
    """Writes strict JSON (NaN is refused: say null); see `replacing`."""
    write_text_atomically(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


@contextmanager
def _replacing(path: Path, partial: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        _discard(partial)
        refusal = _system_refusal(error)
        if refusal is None:
            raise
        raise RunError(
            f"cannot write {path}: {refusal.strerror} ({_free_bytes(path):,} bytes free): make "
            "room or choose another folder (paths.runs); an earlier file of that name is intact"
        ) from error


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is no folder: then there is nothing to discard
        return


def _system_refusal(error: BaseException | None) -> OSError | None:
    """The OSError behind `error`: a library writing for us may wrap it (torch does)."""
    while isinstance(error, Exception):
        if isinstance(error, OSError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _free_bytes(path: Path) -> int:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free
