"""DeepLabCut: tables of labelled body parts beside the video frames they were labelled in."""

import difflib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.sources.body_box import BodyBox, PointsBox
from datamodules.sources.checks import (
    InvalidBox,
    Point,
    UnpairedFile,
    checked_points,
    files_by_id,
    no_image,
    written_numbers,
)
from datamodules.sources.dlc_table import Row, Table, read_table
from datamodules.sources.file_source import FileSource, Object, Record, parsed
from datamodules.sources.images import IMAGE_SUFFIXES, image_hw
from datamodules.sources.parsing import checked_unlabelled, unlabelled_images
from datamodules.splits import Split
from detectors.errors import ConfigError, DataError
from detectors.structures import DatasetInfo

Recipe = Sequence[str | Sequence[str]]
"""A keypoint is the mean of these body parts; parts in a list of their own count as their mean."""


class DlcCsv(FileSource):
    """Labelled frames of one or several animals; every animal is of the dataset's only class.

    A keypoint is absent if any of its parts is; parts of DeepLabCut's individual `single` (unique
    parts, such as the corners of an arena) belong to no animal and are not read. All points are
    visible. A row without any point is a frame that nobody labelled.

    Args:
        info, root, split, class_map, mistakes, limit: see `FileSource`.
        points: keypoint -> its recipe; None: each keypoint is the body part of its name.
        box: derives an animal's box from all the parts in `points`; None: `PointsBox()`.
        tables: which files hold the labels, a pattern below `root`; `.h5` files need pandas.
        image_dir: folder of the frames below `root`; of a path in a table what follows it counts.
        centre_at_zero: the windows people label in (matplotlib, napari) give the centre of the
            first pixel as 0, so half a pixel is added. False: the numbers are continuous px.
        unlabelled: a frame nobody labelled is a mistake (`error`), shows no animal (`empty`), or is
            left out (`skip`, as DeepLabCut does).
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | os.PathLike[str] | None = None,
        split: Split | None = None,
        points: Mapping[str, Recipe] | None = None,
        box: BodyBox | None = None,
        tables: str = "labeled-data/*/CollectedData_*.csv",
        image_dir: str = "labeled-data",
        centre_at_zero: bool = True,
        unlabelled: str = "error",
        class_map: Mapping[str, str | None] | None = None,
        mistakes: str = "error",
        limit: int | None = None,
    ) -> None:
        if len(info.class_names) != 1:
            raise ConfigError(
                f"datamodule.info.class_names={list(info.class_names)}: "
                "DeepLabCut does not tell species apart, so name one class"
            )
        self._recipes = _recipes(points, info.keypoint_names)
        self._box = PointsBox() if box is None else box
        self._tables, self._image_dir = tables, image_dir
        self._unlabelled = checked_unlabelled(unlabelled)
        self._shift = 0.5 if centre_at_zero else 0.0
        super().__init__(info, root, split, class_map, mistakes, limit)

    def _records(self, folder: Path) -> Mapping[str, Record | DataError]:
        image_dir = folder / self._image_dir
        images = files_by_id(image_dir, IMAGE_SUFFIXES, "image_dir")
        rows = self._labelled(folder)
        found = unlabelled_images(images, rows, folder / self._tables, self._unlabelled)
        for name, of_image in rows.items():
            found[name] = (
                self._record(images[name], of_image)
                if name in images
                else no_image(of_image[0].where, name, image_dir)
            )
        return found

    def _record(self, image: Path, rows: Sequence[Row]) -> Record | UnpairedFile:
        if len(rows) > 1:
            where, other = rows[1].where, rows[0].where
            return UnpairedFile(where, f"{image.name} is labelled in {other} too", "keep one")
        return Record(image, partial(self._objects, rows[0], image), rows[0].where)

    def _labelled(self, folder: Path) -> dict[str, list[Row]]:
        """image_id -> the rows of all tables that label it."""
        found: dict[str, list[Row]] = {}
        for file in self._files(folder):
            table = read_table(file)
            _check_parts(table, self._parts())
            for row in table.rows:
                with self._mistakes.left_out():
                    if isinstance(row, DataError):
                        raise row
                    if not row.is_empty:
                        found.setdefault(_image_id(row.image, self._image_dir), []).append(row)
        return found

    def _files(self, folder: Path) -> list[Path]:
        try:
            files = sorted(folder.glob(self._tables))
        except (ValueError, NotImplementedError):  # an empty or an absolute pattern
            files = []
        if not files:
            what = f"no file matches tables={self._tables}"
            raise DataError(folder, what, "check datamodule.root and datamodule.train.tables")
        return files

    def _parts(self) -> list[str]:
        groups = (group for recipe in self._recipes.values() for group in _groups(recipe))
        return list(dict.fromkeys(part for group in groups for part in group))

    def _objects(self, row: Row, image: Path) -> list[Object | DataError]:
        hw = image_hw(image)
        return [
            parsed(self._object, f"{row.where}: {who}" if who else row.where, parts, image, hw)
            for who, parts in row.animals().items()
        ]

    def _object(
        self,
        where: str,
        written: Mapping[str, tuple[float, float]],
        image: Path,
        hw: tuple[int, int],
    ) -> Object:
        names = [name for name in self._parts() if name in written]
        if len(names) < 2:
            raise InvalidBox(
                where,
                f"{len(names)} labelled part(s), which make no box",
                "label two, or set datamodule.mistakes=drop_boxes",
            )
        shifted = [(written[n][0] + self._shift, written[n][1] + self._shift, 2.0) for n in names]
        inside = np.array(checked_points(shifted, names, hw, where))[:, :2]
        parts = dict(zip(names, inside, strict=True))
        box = self._box(inside, image)
        return Object(
            where,
            name=self.info.class_names[0],
            box=box,
            written=written_numbers(box),
            points=[_mean(recipe, parts) for recipe in self._recipes.values()],
        )


def _mean(recipe: Recipe, parts: Mapping[str, np.ndarray]) -> Point:
    groups = _groups(recipe)
    if any(part not in parts for group in groups for part in group):
        return (0.0, 0.0, 0.0)
    x, y = np.mean([np.mean([parts[p] for p in group], axis=0) for group in groups], axis=0)
    return float(x), float(y), 2.0


def _groups(recipe: Recipe) -> list[Sequence[str]]:
    return [[item] if isinstance(item, str) else item for item in recipe]


def _recipes(points: Mapping[str, Recipe] | None, names: Sequence[str]) -> dict[str, Recipe]:
    """The recipe of every keypoint, in the dataset's order."""
    points = {name: [name] for name in names} if points is None else points
    if set(points) != set(names) or not all(map(_groups, points.values())):
        raise ConfigError(
            f"datamodule.train.points names {', '.join(points)}: "
            f"it must give body parts for each of {', '.join(names)}"
        )
    return {name: points[name] for name in names}


def _image_id(path: str, image_dir: str) -> str:
    """The path below the image folder without the ending, wherever the table was written."""
    below = f"/{path}".rpartition(f"/{image_dir}/")[2].lstrip("/")
    return os.path.splitext(below)[0]


def _check_parts(table: Table, wanted: Sequence[str]) -> None:
    for part in wanted:
        if part not in table.parts:
            near = difflib.get_close_matches(part, table.parts, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(table.parts)};"
            raise DataError(
                table.file,
                f"has no body part '{part}'",
                f"{hint} correct datamodule.train.points, or datamodule.info.keypoint_names",
            )
