"""Detections and ground truth as COCO JSON, so that pycocotools can score them from files alone.

Image ids are whole numbers (the string id is `file_name`), category ids are our 0-based labels,
boxes are x, y, width, height in original pixels. Boxes and keypoints keep our continuous px: the
centre of the first pixel is 0.5. (COCO's own keypoints are pixel indices, 0.5 less.)
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from detectors.structures import DatasetInfo, Detections, Frame, Target


def results(detections: list[Detections], numbers: dict[str, int]) -> list[dict[str, Any]]:
    """COCO results: one entry per detection; `numbers` maps our image ids to COCO's.

    The third number of a keypoint is the detector's own; COCO does not read it.
    """
    return [
        entry for found in detections for entry in _entries(found, numbers[found.frame.image_id])
    ]


def dataset(
    targets: list[Target], numbers: dict[str, int], info: DatasetInfo
) -> dict[str, list[dict[str, Any]]]:
    """COCO ground truth. `iscrowd` is 1 for crowd and difficult objects, as CocoAP ignores both."""
    images, annotations = [], []
    for target in targets:
        number = numbers[target.frame.image_id]
        images.append(_image(target.frame, number, target.frame.image_id))
        annotations += _annotations(target, number, info)
    return _dataset(images, annotations, info)


def predicted_dataset(
    detections: list[Detections], file_names: list[str], info: DatasetInfo
) -> dict[str, list[dict[str, Any]]]:
    """A COCO dataset as the detector would annotate the images: annotations also have a `score`.

    A predicted keypoint is visible (v = 2), or absent (0) if the detector's own number is not > 0.
    """
    images, annotations = [], []
    for number, (found, name) in enumerate(zip(detections, file_names, strict=True), start=1):
        images.append(_image(found.frame, number, name))
        annotations += [_annotation(entry) for entry in _entries(_with_visibility(found), number)]
    return _dataset(images, annotations, info)


def _dataset(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], info: DatasetInfo
) -> dict[str, list[dict[str, Any]]]:
    for number, annotation in enumerate(annotations, start=1):  # pycocotools takes 0 for "no match"
        annotation["id"] = number
    return {
        "images": images,
        "annotations": annotations,
        "categories": [_category(label, name, info) for label, name in enumerate(info.class_names)],
    }


def _entries(found: Detections, number: int) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [
        {"image_id": number, "category_id": label, "bbox": box, "score": score}
        for label, box, score in zip(
            found.labels.tolist(), _xywh(found.boxes), found.scores.tolist(), strict=True
        )
    ]
    _add_keypoints(entries, found.keypoints)
    return entries


def _annotation(entry: dict[str, Any]) -> dict[str, Any]:
    _, _, width, height = entry["bbox"]
    return entry | {"area": width * height, "iscrowd": 0}


def _with_visibility(found: Detections) -> Detections:
    if found.keypoints is None:
        return found
    xy, own = found.keypoints.split([2, 1], dim=-1)
    return replace(found, keypoints=torch.cat([xy, 2.0 * (own > 0)], dim=-1))


def _image(frame: Frame, number: int, name: str) -> dict[str, Any]:
    height, width = frame.original_hw
    return {"id": number, "file_name": name, "height": height, "width": width}


def _annotations(target: Target, number: int, info: DatasetInfo) -> list[dict[str, Any]]:
    columns = (_xywh(target.boxes), *(column.tolist() for column in _columns(target)))
    entries: list[dict[str, Any]] = [
        {
            "image_id": number,
            "category_id": label,
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd or difficult),
            "difficult": int(difficult),
        }
        for box, label, area, crowd, difficult in zip(*columns, strict=True)
    ]
    keypoints = target.keypoints
    if keypoints is None and info.keypoint_names:  # COCO demands them of every object, or of none
        keypoints = target.boxes.new_zeros(len(target), len(info.keypoint_names), 3)
    _add_keypoints(entries, keypoints)
    return entries


def _columns(target: Target) -> tuple[Tensor, ...]:
    return target.labels, target.area, target.crowd, target.difficult


def _category(label: int, name: str, info: DatasetInfo) -> dict[str, Any]:
    category: dict[str, Any] = {"id": label, "name": name}
    if info.keypoint_names:
        category["keypoints"] = list(info.keypoint_names)
        category["skeleton"] = [[first + 1, second + 1] for first, second in info.skeleton]
    return category


def _add_keypoints(entries: list[dict[str, Any]], keypoints: Tensor | None) -> None:
    if keypoints is not None:
        for entry, points in zip(entries, keypoints.flatten(start_dim=1).tolist(), strict=True):
            entry["keypoints"] = points
            entry["num_keypoints"] = sum(v > 0 for v in points[2::3])


def _xywh(boxes: Tensor) -> list[list[float]]:
    corner, far = boxes.split(2, dim=1)
    return torch.cat([corner, far - corner], dim=1).tolist()
