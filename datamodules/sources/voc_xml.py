"""PASCAL VOC: one XML per image, image sets as lists of names."""

import logging
import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from datamodules.sources.checks import (
    Box,
    InvalidBox,
    check_pairs,
    checked_box,
    class_index,
    dataset_folder,
    files_by_stem,
    read_list,
)
from datamodules.sources.images import IMAGE_SUFFIXES, image_hw, read_image
from datamodules.sources.source import Source, original_target
from detectors.errors import ConfigError, DataError
from detectors.structures import DatasetInfo, Target

log = logging.getLogger(__name__)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(slots=True)
class Annotation:
    """One XML file: the image's size, and boxes as xyxy in continuous original px."""

    hw: tuple[int, int]
    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    difficult: Bool[np.ndarray, " n"]


class VocXml(Source):
    """Images and XML files, paired by the stem of their names; not by `<filename>`, nor `<size>`.

    Everything is checked here, so that a mistake shows before the first step.

    Args:
        info: a class gets the index of its name in `info.class_names`.
        root: folder of the dataset; it holds the three folders named by the next arguments.
        image_set: the first column of `<lists_dir>/<image_set>.txt` names the images; None: all.
        one_based: VOC counts pixels from 1 and includes the last, so xmin..xmax covers
            [xmin - 1, xmax) in continuous px. False: the numbers are continuous px already.
        invalid_boxes: `error` or `drop` a box with xmax <= xmin or ymax <= ymin, with a number that
            is not finite, or more than 2 px outside the image; up to 2 px are clipped.
        limit: only the first so many images (to overfit them, to try things out).

    Raises:
        DataError: one line with file, object, numbers and remedy.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | os.PathLike[str] | None = None,
        image_set: str | None = None,
        image_dir: str = "JPEGImages",
        annotation_dir: str = "Annotations",
        lists_dir: str = "ImageSets/Main",
        one_based: bool = True,
        invalid_boxes: str = "error",
        limit: int | None = None,
    ) -> None:
        if invalid_boxes not in ("error", "drop"):
            raise ConfigError(f"invalid_boxes={invalid_boxes} is unknown: choose error or drop")
        self.info = info
        self.dropped: list[InvalidBox] = []
        """Why boxes were left out under `invalid_boxes=drop`."""
        self._drop, self._one_based = invalid_boxes == "drop", one_based
        folder = dataset_folder(root)
        images = files_by_stem(folder / image_dir, IMAGE_SUFFIXES, "image_dir")
        labels = files_by_stem(folder / annotation_dir, {".xml"}, "annotation_dir")
        names = sorted(images | labels)
        if image_set is not None:
            names = read_list(folder / lists_dir / f"{image_set}.txt")
        self.ids: Sequence[str] = names[:limit]
        check_pairs(self.ids, images, labels)
        self._images = [images[name] for name in self.ids]
        self._annotations = [self._read(labels[name], images[name]) for name in self.ids]
        if self.dropped:
            first = self.dropped[0]
            log.warning("%d invalid boxes left out; the first: %s", len(self.dropped), first)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The decoded file."""
        return read_image(self._images[index])

    def target(self, index: int) -> Target:
        """VOC has no crowds, and an object's area is its box's."""
        note = self._annotations[index]
        return original_target(self.ids[index], note.hw, note.boxes, note.labels, note.difficult)

    def where(self, index: int) -> str:
        """The image file."""
        return str(self._images[index])

    def file_bytes(self, index: int) -> int:
        """Of the image."""
        return self._images[index].stat().st_size

    def _read(self, path: Path, image: Path) -> Annotation:
        hw = image_hw(image)
        rows: list[tuple[Box, int, bool]] = []
        for number, node in enumerate(_parse(path).findall("object"), start=1):
            where = f"{path}: object {number}"
            label = class_index((node.findtext("name") or "").strip(), self.info.class_names, where)
            try:
                corners = _corners(node, where)
                written = f"{where}: box ({', '.join(f'{value:g}' for value in corners)})"
                box = checked_box(_continuous(corners, self._one_based), hw, written)
            except InvalidBox as error:
                if not self._drop:
                    raise
                self.dropped.append(error)
                continue
            rows.append((box, label, _is_difficult(node, where)))
        return Annotation(
            hw,
            np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
            np.array([label for _, label, _ in rows], np.int64),
            np.array([difficult for _, _, difficult in rows], np.bool_),
        )


def _parse(path: Path) -> ET.Element:
    """The root element; ElementTree resolves no external entity, expat bounds inner ones."""
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise DataError(f"{path}: malformed XML ({error}): correct or restore the file") from None
    except (OSError, LookupError, ValueError) as error:
        raise DataError(f"{path}: not a readable XML file ({error}): restore the file") from None
    if root.tag != "annotation":
        raise DataError(f"{path}: the root is <{root.tag}>, not VOC's <annotation>: replace it")
    return root


def _corners(node: ET.Element, where: str) -> Box:
    """xmin, ymin, xmax, ymax as written."""
    x1, y1, x2, y2 = (_number(node, f"bndbox/{tag}", where) for tag in _CORNERS)
    return x1, y1, x2, y2


def _continuous(corners: Box, one_based: bool) -> Box:
    """xyxy in continuous px; a box without extent as written has no area under either rule."""
    x1, y1, x2, y2 = corners
    shift = 1.0 if one_based and x1 < x2 and y1 < y2 else 0.0
    return x1 - shift, y1 - shift, x2, y2


def _number(node: ET.Element, tag: str, where: str) -> float:
    text = node.findtext(tag)
    try:
        return float(text or "")
    except ValueError:
        found = "is missing" if text is None else f"is '{text.strip()}'"
        raise DataError(f"{where}: <{tag}> {found}: write the number in px") from None


def _is_difficult(node: ET.Element, where: str) -> bool:
    text = (node.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise DataError(f"{where}: <difficult> is '{text}': write 0 or 1")
    return text == "1"
