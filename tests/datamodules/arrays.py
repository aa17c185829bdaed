"""Images in memory whose pixels say where their object is: red on black."""

from dataclasses import replace

import numpy as np
import torch

from datamodules.objects import Sample
from datamodules.sources.source import Source, original_target
from detectors.structures import DatasetInfo, Target

CORNERS = DatasetInfo(
    "corners",
    ("square",),
    keypoint_names=("top left", "top right", "bottom left", "bottom right"),
    flip_pairs=((0, 1), (2, 3)),
)


class Arrays(Source):
    """Images and targets from lists; counts what is asked for."""

    info = CORNERS

    def __init__(self, images: list[np.ndarray], targets: list[Target]) -> None:
        self.ids = [target.frame.image_id for target in targets]
        self.images, self.targets = images, targets
        self.images_read = self.objects_read = 0

    def image(self, index: int) -> np.ndarray:
        self.images_read += 1
        return self.images[index]

    def target(self, index: int) -> Target:
        self.objects_read += len(self.targets[index])
        return self.targets[index]


def red_box(number: int, hw: tuple[int, int], boxes: list[list[int]]) -> tuple[np.ndarray, Target]:
    """A black image with red boxes, whose corners are keypoints; all on whole pixels."""
    image = np.zeros((*hw, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2, 0] = 255
    array = np.array(boxes, np.float32).reshape(-1, 4)
    target = original_target(f"image{number}", hw, array, np.zeros(len(boxes), np.int64))
    corners = array[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    points = np.concatenate([corners, np.full((len(boxes), 4, 1), 2.0)], axis=-1)
    return image, replace(target, keypoints=torch.tensor(points, dtype=torch.float32))


def red_boxes(seed: int, count: int = 12, most: int = 2) -> Arrays:
    """Images of several sizes with none to `most` boxes each, some of which touch the border."""
    rng = np.random.default_rng(seed)
    images, targets = [], []
    for number in range(count):
        height, width = (int(side) for side in rng.integers(60, 240, 2))
        boxes = []
        for _ in range(rng.integers(0, most + 1)):
            w, h = rng.integers(width // 5, width // 2), rng.integers(height // 5, height // 2)
            x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            x, y = (0 if rng.random() < 0.2 else x), (0 if rng.random() < 0.2 else y)
            boxes.append([int(x), int(y), int(x + w), int(y + h)])
        image, target = red_box(number, (height, width), boxes)
        images.append(image)
        targets.append(target)
    return Arrays(images, targets)


def is_red(image: np.ndarray) -> np.ndarray:
    """Where pixels have a strong colour; black, grey and their blends have none in any light."""
    return np.ptp(image.astype(int), axis=-1) > 40


def covered(sample: Sample, margin: float) -> np.ndarray:
    """The pixels whose centre lies in a box that is larger by `margin` px on each side."""
    mask = np.zeros(sample.image.shape[:2], bool)
    for x1, y1, x2, y2 in sample.target.boxes.tolist():
        left, top, right, bottom = x1 - margin, y1 - margin, x2 + margin, y2 + margin
        ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
        mask |= (xs > left) & (xs < right) & (ys > top) & (ys < bottom)
    return mask
