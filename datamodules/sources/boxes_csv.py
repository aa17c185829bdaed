"""Boxes in one table: filename,width,height,class,xmin,ymin,xmax,ymax, a line per box."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from datamodules.sources.checks import continuous, files_by_id, no_image, written_numbers
from datamodules.sources.file_source import FileSource, Object, Record, parsed
from datamodules.sources.images import IMAGE_SUFFIXES
from datamodules.sources.parsing import (
    checked_unlabelled,
    number,
    text_of,
    unlabelled_images,
    whole_number,
)
from datamodules.splits import Split
from detectors.errors import DataError
from detectors.structures import DatasetInfo

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NEEDED = ("filename", "class", *_CORNERS)

Line = tuple[str, Mapping[str, str]]
"""What an error message calls a line of the table, and its cells by column."""


class BoxesCsv(FileSource):
    """Images and one table of boxes; columns are found by name, and others do no harm.

    `width` and `height` may be missing; where they are given, the image must have that size. A
    table cannot name an image without boxes: `unlabelled` says what images outside of it are.

    Args:
        info, root, split, class_map, mistakes, limit: see `FileSource`.
        table: the CSV file below `root`.
        image_dir: the folder below `root` that the table's `filename` start from; endings do not
            count.
        one_based: xmin..xmax covers [xmin - 1, xmax) in continuous px, as in VOC, which many such
            tables were made from. False: the numbers are continuous px already.
        unlabelled: an image outside of the table is an `error`, `empty` (it shows no object), or
            not part of the set (`skip`, for several tables with one image folder).
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | os.PathLike[str] | None = None,
        split: Split | None = None,
        table: str = "annotations.csv",
        image_dir: str = "images",
        one_based: bool = False,
        unlabelled: str = "error",
        class_map: Mapping[str, str | None] | None = None,
        mistakes: str = "error",
        limit: int | None = None,
    ) -> None:
        self._table, self._image_dir, self._one_based = table, image_dir, one_based
        self._unlabelled = checked_unlabelled(unlabelled)
        super().__init__(info, root, split, class_map, mistakes, limit)

    def _records(self, folder: Path) -> Mapping[str, Record | DataError]:
        table, image_dir = folder / self._table, folder / self._image_dir
        images = files_by_id(image_dir, IMAGE_SUFFIXES, "image_dir")
        by_image: dict[str, list[Line]] = {}
        for line in read_table(table):
            with self._mistakes.left_out():
                by_image.setdefault(_image_id(*line), []).append(line)
        found: dict[str, Record | DataError] = {}
        for name, lines in by_image.items():
            found[name] = (
                parsed(_record, images[name], lines, self._one_based)
                if name in images
                else no_image(lines[0][0], name, image_dir)
            )
        others = unlabelled_images(images, by_image, table, self._unlabelled)
        return found | others


def read_table(path: Path) -> list[Line]:
    """The lines of a table of boxes, without its header.

    Raises:
        DataError: missing, no CSV, or without one of the columns.
    """
    reader = csv.reader(io.StringIO(text_of(path), newline=""))
    found: list[Line] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        missing = [name for name in _NEEDED if name not in header]
        if missing:
            what = f"the header has no column {', '.join(missing)}"
            raise DataError(path, what, f"name the columns {','.join(_NEEDED)}")
        for cells in reader:
            if cells:
                where = f"{path}: line {reader.line_num}"
                found.append((where, dict(zip(header, map(str.strip, cells), strict=False))))
    except csv.Error as error:
        where = f"{path}: line {reader.line_num}"
        raise DataError(where, f"malformed CSV ({error})", "correct or restore the file") from None
    return found


def _image_id(where: str, cells: Mapping[str, str]) -> str:
    path = PurePosixPath(cells["filename"].replace("\\", "/"))
    if not path.name:
        raise DataError(where, "filename is empty", "write the image's name")
    return str(path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path)


def _record(image: Path, lines: Sequence[Line], one_based: bool) -> Record:
    where = lines[0][0]
    sizes = {_hw(*line) for line in lines}
    if len(sizes) > 1:
        raise DataError(where, "lines of one image differ in width and height", "correct them")
    return Record(image, partial(_objects, lines, one_based), where, sizes.pop())


def _hw(where: str, cells: Mapping[str, str]) -> tuple[int, int] | None:
    if "width" not in cells or "height" not in cells:
        return None
    height, width = (whole_number(cells[key], where, key) for key in ("height", "width"))
    return height, width


def _objects(lines: Sequence[Line], one_based: bool) -> list[Object | DataError]:
    return [parsed(_object, *line, one_based) for line in lines]


def _object(where: str, cells: Mapping[str, str], one_based: bool) -> Object:
    x1, y1, x2, y2 = (number(cells.get(key), where, key) for key in _CORNERS)
    return Object(
        where,
        name=cells.get("class", ""),
        box=continuous((x1, y1, x2, y2), one_based),
        written=written_numbers((x1, y1, x2, y2)),
    )
