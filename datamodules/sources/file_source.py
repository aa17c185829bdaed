"""FileSource: what the formats that read files have in common; a format only parses.

A format yields one `Record` per image, with the objects as they are written; here they are selected
by split, verified, renamed and kept as arrays, so that a mistake shows before the first step.
"""

import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from datamodules.sources.checks import (
    Box,
    Point,
    checked_area,
    checked_box,
    checked_points,
    class_index,
    dataset_folder,
)
from datamodules.sources.images import image_hw, read_image
from datamodules.sources.mistakes import Mistakes
from datamodules.sources.source import Source, original_target
from datamodules.splits import Split
from detectors.errors import DataError
from detectors.structures import DatasetInfo, Target

log = logging.getLogger(__name__)

Parsed = TypeVar("Parsed")


@dataclass(slots=True)
class Object:
    """One annotated object as a file has it, in continuous original px; nothing is verified yet.

    `where` names file and object, `written` the box's numbers as they stand there. `points` are in
    the order of `info.keypoint_names`: x, y in px, v (0 absent, 1 hidden, 2 visible). `area` in
    px²; None: the box's.
    """

    where: str
    name: str
    box: Box
    written: str
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    points: Sequence[Point] = ()


@dataclass(slots=True)
class Record:
    """One image: its file, and how to get at its objects, which parses as little as possible.

    `image_hw` is the size the annotations are meant for, where they say so.
    """

    image: Path
    objects: Callable[[], Sequence[Object | DataError]]
    where: str
    image_hw: tuple[int, int] | None = None


@dataclass(slots=True)
class Annotation:
    """What stands in the files about one image, verified."""

    image: Path
    hw: tuple[int, int]
    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]
    area: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "n k 3"] | None


def parsed(parse: Callable[..., Parsed], *arguments: Any) -> Parsed | DataError:
    """The parsed object or record, or what is wrong with it, so that the next can be parsed."""
    try:
        return parse(*arguments)
    except DataError as mistake:
        return mistake


class FileSource(Source):
    """Images and annotations from files; everything is verified here, once.

    Args:
        info: a class gets the index of its name in `info.class_names`.
        root: folder of the dataset.
        split: picks the images of this split from all there are; None: all of them, by name.
        class_map: name in the files -> name in `info.class_names`, or null to leave such objects
            out; `*` stands for every name that is neither mapped nor known.
        mistakes: `error`: the first mistake in the files ends the program with one line;
            `drop_boxes`: impossible boxes are left out and counted; `drop_all`: so is whatever
            else cannot be used (unreadable files, unknown classes, points out of the image).
        limit: only the first so many images (to overfit them, to try things out).

    Raises:
        DataError: one line with file, object, numbers and remedy.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | os.PathLike[str] | None,
        split: Split | None,
        class_map: Mapping[str, str | None] | None,
        mistakes: str,
        limit: int | None,
    ) -> None:
        self.info = info
        self._class_map = dict(class_map or {})
        self._mistakes = Mistakes(mistakes)
        self.folder = dataset_folder(root)
        records = self._records(self.folder)
        names = sorted(records) if split is None else split(sorted(records), self.folder)
        self.ids: list[str] = []
        self._annotations: list[Annotation] = []
        for name in names[:limit]:
            with self._mistakes.left_out():
                self._annotations.append(self._annotation(records[name]))
                self.ids.append(name)
        self.dropped = self._mistakes.found
        if self.dropped:
            log.warning("%d mistakes left out; the first: %s", len(self.dropped), self.dropped[0])

    @abstractmethod
    def _records(self, folder: Path) -> Mapping[str, Record | DataError]:
        """image_id -> record of every image there is, or what is wrong with it.

        The id is the path below the image folder without the ending, whatever the format.
        """

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The decoded file."""
        return read_image(self._annotations[index].image)

    def target(self, index: int) -> Target:
        """The verified annotations."""
        note = self._annotations[index]
        return original_target(
            self.ids[index],
            note.hw,
            note.boxes,
            note.labels,
            difficult=note.difficult,
            crowd=note.crowd,
            area=note.area,
            keypoints=note.points,
        )

    def file(self, index: int) -> Path:
        """The image."""
        return self._annotations[index].image

    def _annotation(self, record: Record | DataError) -> Annotation:
        if isinstance(record, DataError):
            raise record
        hw = image_hw(record.image)
        if record.image_hw not in (None, hw):
            height, width = record.image_hw or hw
            raise DataError(
                record.where,
                f"made for {width}x{height} px (w x h), but {record.image} has {hw[1]}x{hw[0]}",
                "restore the image that was annotated, or correct the size",
            )
        labelled: list[tuple[int, Object]] = []
        for item in record.objects():
            with self._mistakes.left_out():
                label, checked = self._checked(item, hw)
                if label is not None:
                    labelled.append((label, checked))
        return self._arrays(record.image, hw, labelled)

    def _checked(self, item: Object | DataError, hw: tuple[int, int]) -> tuple[int | None, Object]:
        """The class and the object with its numbers verified; None: the class map leaves it out."""
        if isinstance(item, DataError):
            raise item
        label = class_index(item.name, self.info.class_names, item.where, self._class_map)
        if label is None:
            return None, item
        box = checked_box(item.box, hw, item.where, item.written)
        points = checked_points(item.points, self.info.keypoint_names, hw, item.where)
        area = checked_area(item.area, hw, item.where)
        return label, replace(item, box=box, points=points, area=area)

    def _arrays(
        self, image: Path, hw: tuple[int, int], labelled: Sequence[tuple[int, Object]]
    ) -> Annotation:
        objects = [item for _, item in labelled]
        boxes = np.array([o.box for o in objects], np.float32).reshape(-1, 4)
        own_area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        area = np.array([np.nan if o.area is None else o.area for o in objects], np.float32)
        k = len(self.info.keypoint_names)
        points = np.array([o.points for o in objects], np.float32).reshape(len(objects), k, 3)
        return Annotation(
            image,
            hw,
            boxes,
            labels=np.array([label for label, _ in labelled], np.int64),
            difficult=np.array([o.difficult for o in objects], np.bool_),
            crowd=np.array([o.crowd for o in objects], np.bool_),
            area=np.where(np.isnan(area), own_area, area),
            points=points if k else None,
        )
