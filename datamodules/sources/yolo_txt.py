"""YOLO: one text per image, read and written; a line per object: class cx cy w h in image sizes."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from datamodules.sources.checks import Point, UnknownClass, files_by_id, no_image, written_numbers
from datamodules.sources.file_source import FileSource, Object, Record, parsed
from datamodules.sources.images import IMAGE_SUFFIXES, image_hw
from datamodules.sources.parsing import (
    checked_unlabelled,
    number,
    shown,
    text_of,
    unlabelled_images,
    whole_number,
)
from datamodules.sources.source import Source
from datamodules.sources.writing import Lost, lost_of, new_folder, write_image, write_text
from datamodules.splits import Split
from detectors.errors import DataError
from detectors.structures import DatasetInfo, Target

_BOX = 5
"""Numbers of a line without points."""


@dataclass(slots=True, frozen=True)
class Names:
    """What the numbers of the labels mean: data.yaml, or a list of class names.

    `point_dims` is 2 (x, y) or 3 (x, y, v); `points` is empty if the file does not name them.
    """

    classes: Mapping[int, str]
    num_points: int = 0
    point_dims: int = 3
    points: Sequence[str] = ()


class YoloTxt(FileSource):
    """Images and texts of the same name; classes are found by name, never by number.

    Points follow the box where data.yaml has `kpt_shape: [k, 2 or 3]`; by the names in its
    `kpt_names`, else in the order of `info.keypoint_names`. With two numbers each, a point is
    absent at (0, 0) or below 0, else visible. YOLO knows no crowds, and an object's area is its
    box's.

    Args:
        info, root, split, class_map, mistakes, limit: see `FileSource`.
        image_dir: folder of the images below `root`.
        label_dir: folder of the texts below `root`; may be `image_dir`.
        names: data.yaml (its paths do not count), or a text with a class name per line.
        unlabelled: an image without text is an `error`, `empty` (it shows no object, as YOLO's own
            trainers take it), or not part of the set (`skip`).
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | os.PathLike[str] | None = None,
        split: Split | None = None,
        image_dir: str = "images",
        label_dir: str = "labels",
        names: str = "data.yaml",
        unlabelled: str = "error",
        class_map: Mapping[str, str | None] | None = None,
        mistakes: str = "error",
        limit: int | None = None,
    ) -> None:
        self._image_dir, self._label_dir, self._names = image_dir, label_dir, names
        self._unlabelled = checked_unlabelled(unlabelled)
        super().__init__(info, root, split, class_map, mistakes, limit)

    def _records(self, folder: Path) -> Mapping[str, Record | DataError]:
        image_dir, label_dir = folder / self._image_dir, folder / self._label_dir
        names = read_names(folder / self._names)
        _check_points(names, self.info.keypoint_names, folder / self._names)
        images = files_by_id(image_dir, IMAGE_SUFFIXES, "image_dir")
        labels = files_by_id(label_dir, {".txt"}, "label_dir")
        found: dict[str, Record | DataError] = {}
        for name, path in labels.items():
            if name in images:
                read = partial(_objects, path, images[name], names, self.info.keypoint_names)
                found[name] = Record(images[name], read, str(path))
            elif _holds_labels(path):
                found[name] = no_image(path, name, image_dir)
        return found | unlabelled_images(images, labels, label_dir, self._unlabelled)


def read_names(path: Path) -> Names:
    """What the numbers of the labels mean.

    Raises:
        DataError: missing, malformed, or without names.
    """
    text = text_of(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return Names(dict(enumerate(line.strip() for line in text.rstrip().splitlines())))
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)  # all texts: a class `no` stays one
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(path, f"malformed YAML ({error})", "correct or restore the file") from None
    content = content if isinstance(content, dict) else {}
    classes = _classes(content.get("names"), path)
    if content.get("kpt_shape") is None:
        return Names(classes)
    num_points, point_dims = _shape(content["kpt_shape"], path)
    points = _point_names(content.get("kpt_names"), num_points, path)
    return Names(classes, num_points, point_dims, points)


def _classes(names: object, path: Path) -> dict[int, str]:
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not all(isinstance(n, str) for n in numbered.values()):
        raise DataError(path, f"names is {shown(names)}", "write a list of class names")
    return {whole_number(k, str(path), "a key of names"): n.strip() for k, n in numbered.items()}


def _shape(kpt_shape: object, path: Path) -> tuple[int, int]:
    pair = kpt_shape if isinstance(kpt_shape, list) else []
    sizes = [whole_number(value, str(path), "kpt_shape") for value in pair]
    if len(sizes) != 2 or sizes[0] < 1 or sizes[1] not in (2, 3):
        what = f"kpt_shape is {shown(kpt_shape)}"
        raise DataError(path, what, "write [number of points, 2 or 3 numbers each]")
    return sizes[0], sizes[1]


def _point_names(kpt_names: object, count: int, path: Path) -> list[str]:
    """The names of the points: a list, or one per class, which must be the same."""
    if kpt_names is None:
        return []
    lists = list(kpt_names.values()) if isinstance(kpt_names, dict) else [kpt_names]
    names = lists[0] if lists and isinstance(lists[0], list) else []
    if len(names) != count or any(other != names for other in lists):
        what = f"kpt_names is {shown(kpt_names)}"
        raise DataError(path, what, f"write a list of {count} names, the same for each class")
    return [str(name) for name in names]


def _check_points(names: Names, keypoint_names: Sequence[str], path: Path) -> None:
    remedy = "correct one of the two"
    if keypoint_names and not names.points and names.num_points != len(keypoint_names):
        what = f"kpt_shape gives {names.num_points} points, datamodule.info.keypoint_names has"
        raise DataError(path, f"{what} {len(keypoint_names)}", remedy)
    for name in keypoint_names:
        if names.points and name not in names.points:
            what = f"kpt_names has no '{name}' of datamodule.info.keypoint_names"
            raise DataError(path, what, remedy)


def _holds_labels(path: Path) -> bool:
    """Whether a text without an image is meant for one; lists of images or classes are not."""
    try:
        cells = text_of(path).split()[:_BOX]
        return len([number(cell, "", "") for cell in cells]) == _BOX
    except DataError:
        return False


def _objects(
    path: Path, image: Path, names: Names, keypoint_names: Sequence[str]
) -> list[Object | DataError]:
    hw = image_hw(image)
    return [
        parsed(_object, line.split(), f"{path}: line {row}", names, keypoint_names, hw)
        for row, line in enumerate(text_of(path).splitlines(), start=1)
        if line.strip()
    ]


def _object(
    cells: Sequence[str],
    where: str,
    names: Names,
    keypoint_names: Sequence[str],
    hw: tuple[int, int],
) -> Object:
    expected = _BOX + names.num_points * names.point_dims
    if len(cells) != expected:
        raise _wrong_count(len(cells), expected, where)
    numbers = [number(cell, where, f"number {i}") for i, cell in enumerate(cells, start=1)]
    label = whole_number(cells[0], where, "the class")
    if label not in names.classes:
        remedy = f"correct it, or add its name to the {len(names.classes)} there are"
        raise UnknownClass(where, f"class {label} has no name", remedy)
    cx, cy, w, h = numbers[1:_BOX]
    height, width = hw
    left, top = (cx - w / 2) * width, (cy - h / 2) * height
    return Object(
        where,
        name=names.classes[label],
        box=(left, top, left + w * width, top + h * height),
        written=written_numbers((cx, cy, w, h)),
        points=_points(numbers[_BOX:], names, keypoint_names, hw),
    )


def _wrong_count(found: int, expected: int, where: str) -> DataError:
    what = f"{found} numbers, not {expected}"
    if expected == _BOX and found > _BOX:
        what += ", so a polygon, or points without kpt_shape in data.yaml"
        return DataError(where, what, "keep class cx cy w h, or state kpt_shape")
    return DataError(where, what, "complete or remove the line")


def _points(
    numbers: Sequence[float], names: Names, keypoint_names: Sequence[str], hw: tuple[int, int]
) -> list[Point]:
    """In the order of `keypoint_names`, in px."""
    if not keypoint_names:
        return []
    height, width = hw
    points: list[Point] = []
    for start in range(0, len(numbers), names.point_dims):
        x, y, *given = numbers[start : start + names.point_dims]
        v = given[0] if given else 2.0 * (min(x, y) >= 0 and max(x, y) > 0)
        points.append((x * width, y * height, v))
    if not names.points:
        return points
    by_name = dict(zip(names.points, points, strict=True))
    return [by_name[name] for name in keypoint_names]


def write_yolo(sources: Mapping[str, Source], folder: Path) -> Lost:
    """Writes a dataset as images/SPLIT, labels/SPLIT and data.yaml, as Ultralytics reads it.

    Raises:
        ConfigError: the folder is not empty.
        DataError: an image cannot be copied.
    """
    lost: Lost = {}
    with new_folder(folder) as out:
        for split, source in sources.items():
            lost[split] = Counter()
            for index, name in enumerate(source.ids):
                target = source.target(index)
                write_image(source, index, out / "images" / split, name)
                write_text(out / "labels" / split / f"{name}.txt", _lines_of(target))
                lost[split] += lost_of(target, holds=("points",))
            content = _yaml_of(source.info, list(sources))
            text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
            write_text(out / "data.yaml", text)
    return lost


def _yaml_of(info: DatasetInfo, splits: Sequence[str]) -> dict[str, object]:
    content: dict[str, object] = {split: f"images/{split}" for split in splits}
    content["names"] = dict(enumerate(info.class_names))
    k = len(info.keypoint_names)
    if k:
        mirrored = {int(a): int(b) for pair in info.flip_pairs for a, b in (pair, reversed(pair))}
        content["kpt_shape"] = [k, 3]
        content["kpt_names"] = {i: list(info.keypoint_names) for i in range(len(info.class_names))}
        content["flip_idx"] = [mirrored.get(i, i) for i in range(k)]
    return content


def _lines_of(target: Target) -> str:
    """A line per object; 8 decimals are below 0.001 px in any image."""
    height, width = target.frame.original_hw
    lines: list[str] = []
    for row, (x1, y1, x2, y2) in enumerate(target.boxes.tolist()):
        shares = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]
        shares += [(x2 - x1) / width, (y2 - y1) / height]
        cells = [str(int(target.labels[row])), *(f"{share:.8f}" for share in shares)]
        if target.keypoints is not None:
            for x, y, v in target.keypoints[row].tolist():
                cells += [f"{x / width:.8f}", f"{y / height:.8f}", str(int(v))]
        lines.append(" ".join(cells) + "\n")
    return "".join(lines)
