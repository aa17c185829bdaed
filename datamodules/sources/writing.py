"""What the writers of formats share: a folder that appears whole, images, what gets lost."""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from datamodules.sources.source import Source
from detectors.errors import ConfigError, DataError
from detectors.structures import Target

Lost = dict[str, Counter[str]]
"""Split -> what its format cannot hold -> objects that had it."""


def check_new(folder: Path) -> None:
    """Refuses a folder that holds something, before the work is done that should go there."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already and not empty: name a new folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when all is written, and vanishes otherwise.

    Raises:
        ConfigError: `folder` is a file, or holds something.
        DataError: the disk refuses.
    """
    check_new(folder)
    partial = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        what = f"cannot be written ({error.strerror}: {error.filename})"
        raise DataError(folder, what, "make room, or name another folder") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def image_names(sources: Mapping[str, Source]) -> dict[str, list[str]]:
    """Split -> a name per image, for formats that keep the images of all splits in one folder.

    The ids; below a folder per split if two splits use one id for different images.
    """
    owner: dict[str, object] = {}
    clash = False
    for split, source in sources.items():
        for index, name in enumerate(source.ids):
            image = source.file(index) or (split, name)
            clash |= owner.setdefault(name, image) != image
    return {
        split: [f"{split}/{name}" if clash else name for name in source.ids]
        for split, source in sources.items()
    }


def write_image(source: Source, index: int, folder: Path, name: str) -> str:
    """Copies the image's file byte for byte, or writes a PNG; the file's name below `folder`."""
    file = source.file(index)
    written = f"{name}{file.suffix if file else '.png'}"
    path = folder / written
    path.parent.mkdir(parents=True, exist_ok=True)
    if file is not None:
        shutil.copyfile(file, path)
    else:
        _, encoded = cv2.imencode(".png", cv2.cvtColor(source.image(index), cv2.COLOR_RGB2BGR))
        path.write_bytes(encoded.tobytes())
    return written


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8, and the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lost_of(target: Target, holds: Collection[str] = ()) -> Counter[str]:
    """How many objects have points, flags or an area of their own that a format does not hold."""
    boxes, points = target.boxes.numpy(), target.keypoints
    own = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    has = {
        "points": np.zeros(0) if points is None else (points[..., 2] > 0).any(dim=1).numpy(),
        "crowd flags": target.crowd.numpy(),
        "difficult flags": target.difficult.numpy(),
        "areas": ~np.isclose(target.area.numpy(), own, rtol=1e-3, atol=1.0),
    }
    return Counter({what: int(rows.sum()) for what, rows in has.items() if what not in holds})
