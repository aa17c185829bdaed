"""Builds small VOC folders on disk."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from datamodules.splits import ListedSplit
from detectors.structures import DatasetInfo

INFO = DatasetInfo("pets", ("cat", "dog"))


def listed(split: str) -> ListedSplit:
    return ListedSplit(f"ImageSets/Main/{split}.txt")


def object_xml(name: str = "dog", box: Sequence[object] = (11, 21, 60, 70), extra: str = "") -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return f"<object><name>{name}</name>{extra}<bndbox>{inner}</bndbox> stray text</object>"


def voc_folder(
    root: Path, objects: dict[str, str], hw: tuple[int, int] = (100, 120), split: str = "train"
) -> Path:
    """One JPEG and one XML per name of `objects`, and a list of the names."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (name, body) in enumerate(objects.items()):
        pixels = np.random.default_rng(number).integers(0, 255, (*hw, 3), np.uint8)
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), pixels)
        write_xml(root, name, f"<annotation>{body}</annotation>")
    (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(objects) + "\n")
    return root


def write_xml(root: Path, name: str, text: str) -> Path:
    path = root / "Annotations" / f"{name}.xml"
    path.write_text(text)
    return path
