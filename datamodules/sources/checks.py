"""What every annotation format verifies: folders, pairs of files, boxes, points, class names."""

import difflib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from detectors.errors import DataError

MAX_OVERHANG = 2.0
"""px. What is this far over the edge is a matter of counting and is clipped; farther, a mistake."""

MIN_SIDE = 0.01
"""px. A box thinner than this is a matter of rounding; float32 cannot hold it in large images."""

Box = tuple[float, float, float, float]
Point = tuple[float, float, float]
"""x, y in continuous px, v (0 absent, 1 hidden, 2 visible)."""

_ANY = "*"


class InvalidBox(DataError):
    """A box that no image can hold; `mistakes=drop_boxes` leaves it out."""


class InvalidPoint(DataError):
    """A keypoint that no image can hold."""


class UnknownClass(DataError):
    """A class name that is neither in `info.class_names` nor in the class map."""


class UnpairedFile(DataError):
    """An image without labels, labels without an image, or two files of one name."""


def dataset_folder(root: str | os.PathLike[str] | None) -> Path:
    """The root folder of a dataset, which must exist."""
    if root is None:
        raise DataError("dataset", "its folder is not given", "set datamodule.root=FOLDER")
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(folder, "no such folder", "set datamodule.root=FOLDER to the dataset")
    return folder


def files_by_id(folder: Path, suffixes: Collection[str], option: str) -> dict[str, Path]:
    """image_id -> file, of the files with these endings in the folder and below it.

    The id is the path below the folder without the ending; `option` is the key that names the
    folder.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder", f"check datamodule.root and its {option}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes:
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UnpairedFile(
                path,
                f"shares its name with {found[name].name}",
                "annotations are matched by name, so keep one of the two",
            )
        found[name] = path
    if not found:
        raise DataError(folder, f"holds no {'/'.join(sorted(suffixes))} file", f"check {option}")
    return found


def no_image(labels: object, name: str, image_dir: Path) -> UnpairedFile:
    """Labels whose image is not there."""
    return UnpairedFile(
        labels,
        f"labels without an image: {image_dir} holds no {name} with a known ending",
        "restore the image, or remove labels and name from the split",
    )


def no_labels(image: Path, name: str, label_dir: Path, remedy: str) -> UnpairedFile:
    """An image that nobody labelled, which is not the same as an image without objects."""
    return UnpairedFile(
        image, f"an image without labels: {label_dir} holds none for {name}", remedy
    )


def written_numbers(numbers: Sequence[float]) -> str:
    """Numbers as an error message shows them: (1, 2.5, 30, 40)."""
    return f"({', '.join(f'{value:g}' for value in numbers)})"


def continuous(corners: Box, one_based: bool) -> Box:
    """xyxy in continuous px from corners as written; see `one_based` of the formats.

    A box without extent as written has no area under either rule.
    """
    x1, y1, x2, y2 = corners
    shift = 1.0 if one_based and x1 < x2 and y1 < y2 else 0.0
    return x1 - shift, y1 - shift, x2, y2


def checked_box(box: Box, hw: tuple[int, int], where: str, written: str) -> Box:
    """The box, xyxy in continuous px, clipped if it overhangs the image by a way of counting.

    `where` says where the box stands, `written` gives its numbers as the file has them.

    Raises:
        InvalidBox: not finite, without area, or more than 2 px outside.
    """
    x1, y1, x2, y2 = box
    height, width = hw
    remedy = "correct the file, or set datamodule.mistakes=drop_boxes"
    if not all(map(math.isfinite, box)):
        raise InvalidBox(where, f"box {written} is not finite", remedy)
    if max(-x1, -y1, x2 - width, y2 - height) > MAX_OVERHANG:
        what = f"box {written} lies outside the {width}x{height} px image (w x h)"
        raise InvalidBox(where, what, remedy)
    clipped = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if min(clipped[2] - clipped[0], clipped[3] - clipped[1]) < MIN_SIDE:
        raise InvalidBox(where, f"box {written} has no area", remedy)
    return clipped


def checked_area(area: float | None, hw: tuple[int, int], where: str) -> float | None:
    """An object's area in px², which an image can hold; None: as its box.

    Raises:
        DataError: negative, not finite, or larger than the image.
    """
    height, width = (side + 2 * MAX_OVERHANG for side in hw)
    if area is None or 0 <= area <= height * width:
        return area
    what = f"area {area:g} is not between 0 and the {hw[1]}x{hw[0]} px of the image (w x h)"
    raise DataError(where, what, "correct it, or leave it out (the box's area is taken)")


def checked_points(
    points: Sequence[Point], names: Sequence[str], hw: tuple[int, int], where: str
) -> list[Point]:
    """One point per keypoint name; absent ones are (0, 0, 0), an object without any has all absent.

    Raises:
        InvalidPoint: not finite, v not 0, 1 or 2, or more than 2 px outside the image.
        DataError: another number of points than names.
    """
    if not points or not names:
        return [(0.0, 0.0, 0.0)] * len(names)
    if len(points) != len(names):
        raise DataError(
            where,
            f"{len(points)} points, but datamodule.info.keypoint_names has {len(names)}",
            "correct one of the two",
        )
    return [_checked_point(p, n, hw, where) for p, n in zip(points, names, strict=True)]


def _checked_point(point: Point, name: str, hw: tuple[int, int], where: str) -> Point:
    x, y, v = point
    height, width = hw
    if v == 0:
        return (0.0, 0.0, 0.0)
    point_is = f"point '{name}' {written_numbers(point)}"
    remedy = "correct the file, or set datamodule.mistakes=drop_all"
    if not (math.isfinite(x) and math.isfinite(y)) or v not in (1, 2):
        what = f"{point_is} is not finite, or its visibility is not 0, 1 or 2"
        raise InvalidPoint(where, what, remedy)
    if max(-x, -y, x - width, y - height) > MAX_OVERHANG:
        what = f"{point_is} lies outside the {width}x{height} px image (w x h)"
        raise InvalidPoint(where, what, remedy)
    return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height)), float(v)


def class_index(
    name: str, class_names: Sequence[str], where: str, class_map: Mapping[str, str | None]
) -> int | None:
    """The 0-based index of a class name after the map; None: objects of this name are left out.

    Raises:
        UnknownClass: neither mapped nor known.
    """
    known = name if name in class_names else class_map.get(_ANY, name)
    mapped = class_map.get(name, known)
    if mapped is None:
        return None
    if mapped in class_names:
        return list(class_names).index(mapped)
    by_folded = {known.casefold(): known for known in class_names}
    near = difflib.get_close_matches(mapped.casefold(), list(by_folded), n=1, cutoff=0.5)
    hint = f"did you mean '{by_folded[near[0]]}'?" if near else f"known: {', '.join(class_names)};"
    raise UnknownClass(
        where,
        f"unknown class '{mapped}'",
        f"{hint} correct the file, datamodule.info.class_names, or datamodule.class_map",
    )
