"""The checks of annotations; they need no pixel."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
from torchvision.ops import box_iou

from datamodules.inspect.dataset import Dataset, LabelledImage
from datamodules.inspect.finding import Found
from detectors.structures import Target

DUPLICATE_IOU = 0.9
"""Boxes of one class that overlap by more are one object drawn twice."""
SAME_BOX_IOU = 0.999
"""Boxes of two classes that overlap by more contradict each other."""
MAX_OUTSIDE = 1.0
"""px a keypoint may lie outside its box: a matter of counting pixels."""
SMALLEST_SEEN = 2.0
"""px of the network's input; an object with a shorter side is gone."""
ODD_FACTOR = 4.0
"""A height or width that is so many times the median one, or so small a part of it, is odd."""


def classes_without_training(data: Dataset) -> Iterator[Found]:
    """The network never sees such a class: its AP is 0 whatever the detector, and lowers the mean.

    What is crowd or difficult does not count: it is not trained on.
    """
    if "train" not in data.sources:
        return
    seen = {split: _label_counts(data.split(split)) for split in data.sources}
    for label, name in enumerate(data.info.class_names):
        elsewhere = {split: n[label] for split, n in seen.items() if n[label] and split != "train"}
        if elsewhere and not seen["train"][label]:
            counts = ", ".join(f"{n} in {split}" for split, n in elsewhere.items())
            yield Found(
                "error",
                "train",
                f"class '{name}' has no object in train, but {counts}",
                "move images of this class to train, or drop it with datamodule.class_map",
            )


def classes_never_seen(data: Dataset) -> Iterator[Found]:
    """An output of the network that is trained to stay silent, and a table column without a number.

    Often the name is written differently in the files.
    """
    seen = sum((_label_counts(data.split(split)) for split in data.sources), Counter())
    for label, name in enumerate(data.info.class_names):
        if not seen[label]:
            yield Found(
                "warning",
                ", ".join(data.sources),
                f"class '{name}' has no object in any split",
                "remove it from datamodule.info.class_names, or correct its name",
            )


def duplicate_boxes(data: Dataset) -> Iterator[Found]:
    """One object counts twice in the loss, and a perfect detector is scored with a miss.

    Where the two have different classes, one of them is wrong.
    """
    for image in data.images:
        for first, second, overlap in duplicates(image.target):
            names = [data.info.class_names[int(image.target.labels[i])] for i in (first, second)]
            yield Found(
                "warning",
                image.where,
                f"objects {first + 1} ({names[0]}) and {second + 1} ({names[1]}) are one box "
                f"(IoU {overlap:.3f})",
                "delete one of the two; `lineup data check --fix` does where they are equal",
            )


def points_outside_their_box(data: Dataset) -> Iterator[Found]:
    """Crops and heatmaps follow the box: such a point cannot be learnt, and OKS still counts it."""
    for image in data.images:
        for number, point, distance in _outside(image.target):
            label = data.info.class_names[int(image.target.labels[number])]
            yield Found(
                "warning",
                image.where,
                f"object {number + 1} ({label}): point '{data.info.keypoint_names[point]}' lies "
                f"{distance:.1f} px outside the box",
                "enlarge the box, or correct the point",
            )


def vanishing_objects(data: Dataset) -> Iterator[Found]:
    """Nothing of such an object is left in the input: it is trained and scored as a guess."""
    height, width = data.input_hw
    for image in data.images:
        boxes = image.target.boxes.numpy()
        scale = min(height / image.hw[0], width / image.hw[1])
        sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) * scale
        small = int((sides < SMALLEST_SEEN).sum())
        if small:
            yield Found(
                "warning",
                image.where,
                f"objects narrower than {SMALLEST_SEEN:g} px in the {width}x{height} px input: "
                f"{small} of {len(boxes)}, the narrowest {sides.min():.2f} px",
                "enlarge protocol.input_hw, or cut the image into tiles",
            )


def odd_sizes(data: Dataset) -> Iterator[Found]:
    """Objects of such an image reach the network at another scale than all the others do."""
    heights, widths = ([image.hw[axis] for image in data.images] for axis in (0, 1))
    usual = median(heights), median(widths)
    for image in data.images:
        ratios = [
            max(side / often, often / side) for side, often in zip(image.hw, usual, strict=True)
        ]
        if max(ratios) >= ODD_FACTOR:
            yield Found(
                "warning",
                image.where,
                f"{image.hw[1]}x{image.hw[0]} px (w x h), where {usual[1]:g}x{usual[0]:g} is usual",
                "look whether it belongs here; cut large images into tiles",
            )


def images_without_objects(data: Dataset) -> Iterator[Found]:
    """They teach what is background, which is welcome; but forgotten labels teach misses."""
    for split in data.sources:
        images = data.split(split)
        empty = [image for image in images if not len(image.target)]
        if empty:
            yield Found(
                "note",
                split,
                f"{len(empty)} of {len(images)} images have no object, the first: {empty[0].where}",
                "look at a few: `lineup data preview`",
            )


def duplicates(target: Target) -> Iterator[tuple[int, int, float]]:
    """Pairs of objects that are one, and their IoU; crowds may overlap anything."""
    if len(target) < 2:
        return
    overlaps = box_iou(target.boxes, target.boxes).triu(diagonal=1)
    alike = target.labels[:, None] == target.labels[None]
    single = ~(target.crowd[:, None] | target.crowd[None])
    found = single & ((alike & (overlaps > DUPLICATE_IOU)) | (overlaps > SAME_BOX_IOU))
    for first, second in found.nonzero().tolist():
        yield first, second, overlaps[first, second].item()


def _label_counts(images: Sequence[LabelledImage]) -> Counter[int]:
    """Objects per label that are trained on."""
    counts: Counter[int] = Counter()
    for image in images:
        target = image.target
        counts.update(target.labels[~(target.crowd | target.difficult)].tolist())
    return counts


def _outside(target: Target) -> Iterator[tuple[int, int, float]]:
    """Object, keypoint and px by which it lies outside the object's box."""
    if target.keypoints is None:
        return
    points, boxes = target.keypoints.numpy(), target.boxes.numpy()[:, None]  # (n, k, 3), (n, 1, 4)
    beyond = np.maximum(boxes[..., :2] - points[..., :2], points[..., :2] - boxes[..., 2:])
    distance = beyond.max(axis=-1) * (points[..., 2] > 0)  # (n, k)
    for number, point in np.argwhere(distance > MAX_OUTSIDE).tolist():
        yield number, point, float(distance[number, point])
