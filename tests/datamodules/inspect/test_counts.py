"""Counts against a set counted by hand."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from datamodules.detection import DetectionDataModule
from datamodules.inspect.counts import count
from datamodules.inspect.dataset import read_dataset
from datamodules.sources.coco_json import CocoJson
from detectors.structures import DatasetInfo

BINS = {"tiny": 0, "small": 16, "large": 96}


def write(root: Path) -> DetectionDataModule:
    """Two images with three objects and none."""
    mouse = {"image_id": 1, "category_id": 1}
    annotations = [
        # sqrt(area) 15.99, on the edge of small, and its own area instead of the box's
        mouse | {"id": 1, "bbox": [0, 0, 15.99, 15.99], "keypoints": [9, 9, 2, 0, 0, 0]},
        mouse | {"id": 2, "bbox": [0, 0, 16, 16], "keypoints": [9, 9, 1, 9, 9, 2], "iscrowd": 1},
        mouse | {"id": 3, "bbox": [0, 0, 100, 100], "area": 100.0, "category_id": 2, "ignore": 1},
    ]
    images = [
        {"id": 1, "file_name": "a.png", "width": 120, "height": 110},
        {"id": 2, "file_name": "b.png", "width": 90, "height": 60},
    ]
    for image in images:
        pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
        cv2.imwrite(str(root / image["file_name"]), pixels)
    categories = [
        {"id": 1, "name": "mouse", "keypoints": ["head", "tail"]},
        {"id": 2, "name": "rat"},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "a.json").write_text(json.dumps(content))
    info = DatasetInfo("mice", ("mouse", "rat", "cat"), ("head", "tail"))
    source = partial(CocoJson, root=str(root), annotations="a.json", image_dir=".")
    return DetectionDataModule(info, source, None, (96, 96))


def test_counts_are_those_of_the_hand(tmp_path: Path):
    (found,) = count(read_dataset(write(tmp_path)), BINS)
    assert (found.split, found.images, found.objects, found.empty) == ("train", 2, 3, 1)
    assert found.mean_per_image == 1.5
    assert found.per_image == {3: 1, 0: 1}
    assert found.classes == {"mouse": 2, "rat": 1, "cat": 0}
    assert list(found.classes) == ["mouse", "rat", "cat"]
    assert found.sizes == {(110, 120): 1, (60, 90): 1}
    assert found.bins == {"tiny": 2, "small": 1, "large": 0}
    assert (found.crowd, found.difficult) == (1, 1)
    assert found.keypoints == {"head": (1, 1, 1), "tail": (2, 0, 1)}


def test_every_object_is_in_one_bin_and_one_class(tmp_path: Path):
    (found,) = count(read_dataset(write(tmp_path)), {"all": 0})
    assert found.bins == {"all": 3}
    assert sum(found.classes.values()) == found.objects
