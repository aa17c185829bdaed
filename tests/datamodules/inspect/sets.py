"""A small clean VOC set on disk, to be spoilt by a test."""

import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from datamodules.detection import DetectionDataModule
from datamodules.inspect.check import full_check
from datamodules.inspect.dataset import Dataset, read_dataset
from datamodules.inspect.finding import Finding
from datamodules.inspect.look import look_at_all
from datamodules.sources.voc_xml import VocXml
from detectors.structures import DatasetInfo
from tests.datamodules.folders import INFO, listed, object_xml, voc_folder

HW = (100, 120)
CLEAN = object_xml("cat", (11, 21, 60, 70)) + object_xml("dog", (61, 31, 110, 90))
TRAIN, VAL = tuple("abcdefgh"), tuple("ijkl")


def picture(name: str, hw: tuple[int, int] = HW) -> np.ndarray:
    """Soft coloured clouds, other ones for every name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    coarse = rng.integers(0, 255, (9, 9, 3)).astype(np.uint8)
    return cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC)


def add(root: Path, split: str, **objects: str) -> None:
    """More images for a split, each with the XML of its objects."""
    file = root / f"ImageSets/Main/{split}.txt"
    before = file.read_text() if file.exists() else ""
    voc_folder(root, objects, HW, split)
    file.write_text(before + file.read_text())
    for name in objects:
        cv2.imwrite(str(root / f"JPEGImages/{name}.jpg"), picture(name))


def clean(root: Path) -> Path:
    """Eight images to train on and four to validate with, each with a cat and a dog."""
    add(root, "train", **dict.fromkeys(TRAIN, CLEAN))
    add(root, "val", **dict.fromkeys(VAL, CLEAN))
    return root


def datamodule(root: Path, info: DatasetInfo = INFO) -> DetectionDataModule:
    train, val = (partial(VocXml, split=listed(split)) for split in ("train", "val"))
    return DetectionDataModule(info, train, val, (96, 96), root=str(root), mistakes="drop_all")


def dataset(root: Path, info: DatasetInfo = INFO) -> Dataset:
    return read_dataset(datamodule(root, info))


def check(data: Dataset) -> list[Finding]:
    return full_check(data, list(look_at_all(data)))
