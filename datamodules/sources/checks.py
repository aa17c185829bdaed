"""What every annotation format verifies: folders, lists, pairs of files, boxes, class names."""

import difflib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from detectors.errors import DataError

MAX_OVERHANG = 2.0
"""px. A box this far over the edge is a matter of counting and is clipped; farther is a mistake."""

Box = tuple[float, float, float, float]


class InvalidBox(DataError):
    """A box that no image can hold; `invalid_boxes=drop` leaves it out."""


def dataset_folder(root: str | os.PathLike[str] | None) -> Path:
    """The root folder of a dataset, which must exist."""
    if root is None:
        raise DataError("the dataset's folder is not given: set datamodule.root=FOLDER")
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: set datamodule.root=FOLDER to the dataset")
    return folder


def files_by_stem(folder: Path, suffixes: Collection[str], option: str) -> dict[str, Path]:
    """The files of a folder with these endings; `option` is the key that names the folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: check datamodule.root and its {option}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes:
            continue
        if path.stem in found:
            raise DataError(
                f"{path}: shares its name with {found[path.stem].name}: "
                "annotations are matched by name, so keep one of the two"
            )
        found[path.stem] = path
    if not found:
        raise DataError(f"{folder}: holds no {'/'.join(sorted(suffixes))} file: check {option}")
    return found


def read_list(path: Path) -> list[str]:
    """The first column of a text file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        there = sorted(p.stem for p in path.parent.glob("*.txt"))
        hint = f"choose image_set from {', '.join(there)}" if there else "check lists_dir"
        raise DataError(f"{path}: no such image set: {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable list ({error}): replace it") from None
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path}: the list names no image: fill it, or choose another image_set")
    return names


def check_pairs(
    names: Sequence[str], images: Mapping[str, Path], labels: Mapping[str, Path]
) -> None:
    """Every name has an image and an annotation file."""
    image_dir, label_dir = (next(iter(files.values())).parent for files in (images, labels))
    for name in names:
        if name not in images and name not in labels:
            raise DataError(
                f"{image_dir / name}: neither image nor annotation exists: "
                "remove the name from the image set, or restore both files"
            )
        if name not in images:
            raise DataError(
                f"{labels[name]}: labels without an image: {image_dir} holds no {name} with a "
                "known ending; restore the image, or remove labels and name from the image set"
            )
        if name not in labels:
            raise DataError(
                f"{images[name]}: an image without labels: {label_dir} holds none for {name}; "
                "add the file (with no object if the image is empty), or remove the image"
            )


def checked_box(box: Box, hw: tuple[int, int], written: str) -> Box:
    """The box, xyxy in continuous px, clipped if it overhangs the image by a way of counting.

    `written` says where the box stands and gives its numbers as the file has them.

    Raises:
        InvalidBox: not finite, without area, or more than 2 px outside.
    """
    x1, y1, x2, y2 = box
    height, width = hw
    remedy = "correct the file, or set datamodule.invalid_boxes=drop"
    if not all(map(math.isfinite, box)):
        raise InvalidBox(f"{written} is not finite: {remedy}")
    if max(-x1, -y1, x2 - width, y2 - height) > MAX_OVERHANG:
        raise InvalidBox(f"{written} lies outside the {width}x{height} px image (w x h): {remedy}")
    clipped = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise InvalidBox(f"{written} has no area: {remedy}")
    return clipped


def class_index(name: str, class_names: Sequence[str], where: str) -> int:
    """The 0-based index of a class name."""
    if name in class_names:
        return list(class_names).index(name)
    by_folded = {known.casefold(): known for known in class_names}
    near = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.5)
    hint = f"did you mean '{by_folded[near[0]]}'?" if near else f"known: {', '.join(class_names)};"
    raise DataError(
        f"{where}: unknown class '{name}': {hint} correct the file or datamodule.info.class_names"
    )
