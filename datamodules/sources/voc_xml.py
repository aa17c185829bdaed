"""PASCAL VOC: one XML per image, read and written."""

import os
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from datamodules.sources.checks import (
    continuous,
    files_by_id,
    no_image,
    no_labels,
    written_numbers,
)
from datamodules.sources.file_source import FileSource, Object, Record, parsed
from datamodules.sources.images import IMAGE_SUFFIXES
from datamodules.sources.source import Source
from datamodules.sources.writing import (
    Lost,
    image_names,
    lost_of,
    new_folder,
    write_image,
    write_text,
)
from datamodules.splits import Split
from detectors.errors import DataError
from detectors.structures import DatasetInfo, Target

_UNLABELLED = "add the file (with no object if the image is empty), or remove the image"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocXml(FileSource):
    """Images and XML files, paired by the stem of their names; not by `<filename>`, nor `<size>`.

    VOC has no crowds and no points, and an object's area is its box's.

    Args:
        info, root, split, class_map, mistakes, limit: see `FileSource`.
        image_dir: folder of the images below `root`.
        annotation_dir: folder of the XML files below `root`.
        one_based: VOC counts pixels from 1 and includes the last, so xmin..xmax covers
            [xmin - 1, xmax) in continuous px. False: the numbers are continuous px already.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | os.PathLike[str] | None = None,
        split: Split | None = None,
        image_dir: str = "JPEGImages",
        annotation_dir: str = "Annotations",
        one_based: bool = True,
        class_map: Mapping[str, str | None] | None = None,
        mistakes: str = "error",
        limit: int | None = None,
    ) -> None:
        self._image_dir, self._annotation_dir = image_dir, annotation_dir
        self._one_based = one_based
        super().__init__(info, root, split, class_map, mistakes, limit)

    def _records(self, folder: Path) -> Mapping[str, Record | DataError]:
        image_dir, label_dir = folder / self._image_dir, folder / self._annotation_dir
        images = files_by_id(image_dir, IMAGE_SUFFIXES, "image_dir")
        labels = files_by_id(label_dir, {".xml"}, "annotation_dir")
        found: dict[str, Record | DataError] = {}
        for name, image in images.items():
            found[name] = (
                Record(image, partial(_objects, labels[name], self._one_based), str(labels[name]))
                if name in labels
                else no_labels(image, name, label_dir, _UNLABELLED)
            )
        for name in labels.keys() - images.keys():
            found[name] = no_image(labels[name], name, image_dir)
        return found


def class_names(path: Path) -> set[str]:
    """The classes in one file; none if it is damaged."""
    try:
        found = {_name(node) for node in _parse(path).findall("object")}
    except DataError:
        return set()
    return found - {""}


def _objects(path: Path, one_based: bool) -> list[Object | DataError]:
    return [
        parsed(_object, node, f"{path}: object {number}", one_based)
        for number, node in enumerate(_parse(path).findall("object"), start=1)
    ]


def _object(node: ET.Element, where: str, one_based: bool) -> Object:
    x1, y1, x2, y2 = (_number(node, f"bndbox/{tag}", where) for tag in _CORNERS)
    return Object(
        where,
        name=_name(node),
        box=continuous((x1, y1, x2, y2), one_based),
        written=written_numbers((x1, y1, x2, y2)),
        difficult=_is_difficult(node, where),
    )


def _name(node: ET.Element) -> str:
    return (node.findtext("name") or "").strip()


def _parse(path: Path) -> ET.Element:
    """The root element; ElementTree resolves no external entity, expat bounds inner ones."""
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise DataError(path, f"malformed XML ({error})", "correct or restore the file") from None
    except (OSError, LookupError, ValueError) as error:
        raise DataError(path, f"not a readable XML file ({error})", "restore the file") from None
    if root.tag != "annotation":
        raise DataError(path, f"the root is <{root.tag}>, not VOC's <annotation>", "replace it")
    return root


def _number(node: ET.Element, tag: str, where: str) -> float:
    text = node.findtext(tag)
    try:
        return float(text or "")
    except ValueError:
        found = "is missing" if text is None else f"is '{text.strip()}'"
        raise DataError(where, f"<{tag}> {found}", "write the number in px") from None


def _is_difficult(node: ET.Element, where: str) -> bool:
    text = (node.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise DataError(where, f"<difficult> is '{text}'", "write 0 or 1")
    return text == "1"


def write_voc(sources: Mapping[str, Source], folder: Path) -> Lost:
    """Writes a dataset in VOC's layout and counting, with its class names in classes.txt.

    Raises:
        ConfigError: the folder is not empty.
        DataError: an image cannot be copied, or its name cannot stand in a list.
    """
    names = image_names(sources)
    lost: Lost = {}
    with new_folder(folder) as out:
        for split, source in sources.items():
            lost[split] = Counter()
            for index, name in enumerate(names[split]):
                image = write_image(source, index, out / "JPEGImages", _listable(name))
                target = source.target(index)
                objects = _object_nodes(target, source.info.class_names)
                thin = Counter({"objects of up to 1 px": len(target) - len(objects)})
                lost[split] += lost_of(target, holds=("difficult flags",)) + thin
                text = ET.tostring(_annotation_node(image, target, objects), encoding="unicode")
                write_text(out / "Annotations" / f"{name}.xml", text)
            lines = [f"{name}\n" for name in names[split]]
            write_text(out / "ImageSets/Main" / f"{split}.txt", "".join(lines))
            write_text(out / "classes.txt", "".join(f"{c}\n" for c in source.info.class_names))
    return lost


def _listable(name: str) -> str:
    if name != name.strip() or len(name.splitlines()) != 1:
        what = "begins or ends with a space, or has a line break, so no list can hold it"
        raise DataError(repr(name), what, "rename the image, or write COCO")
    return name


def _annotation_node(image: str, target: Target, objects: list[ET.Element]) -> ET.Element:
    height, width = target.frame.original_hw
    node = ET.Element("annotation")
    ET.SubElement(node, "filename").text = image
    size = ET.SubElement(node, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, tag).text = str(value)
    node.extend(objects)
    ET.indent(node)
    return node


def _object_nodes(target: Target, class_names: Sequence[str]) -> list[ET.Element]:
    """Counted from 1 the last pixel is included, so what covers one pixel seems to have no area."""
    nodes: list[ET.Element] = []
    rows = zip(target.boxes.tolist(), target.labels, target.difficult, strict=True)
    for (x1, y1, x2, y2), label, difficult in rows:
        corners = [round(value, 3) for value in (x1 + 1, y1 + 1, x2, y2)]
        if corners[0] >= corners[2] or corners[1] >= corners[3]:
            continue
        node = ET.Element("object")
        ET.SubElement(node, "name").text = class_names[int(label)]
        ET.SubElement(node, "difficult").text = str(int(difficult))
        box = ET.SubElement(node, "bndbox")
        for tag, value in zip(_CORNERS, corners, strict=True):
            ET.SubElement(box, tag).text = f"{value:.10g}"
        nodes.append(node)
    return nodes
