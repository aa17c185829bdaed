"""Detections and ground truth as COCO JSON, so that pycocotools can score them from files alone.

Image ids are whole numbers (the string id is `file_name`), category ids are our 0-based labels,
boxes are x, y, width, height in original pixels.
"""

from typing import Any

import torch
from torch import Tensor

from detectors.structures import DatasetInfo, Detections, Target


def results(detections: list[Detections], numbers: dict[str, int]) -> list[dict[str, Any]]:
    """COCO results: one entry per detection; `numbers` maps our image ids to COCO's."""
    return [entry for found in detections for entry in _entries(found, numbers)]


def dataset(
    targets: list[Target], numbers: dict[str, int], info: DatasetInfo
) -> dict[str, list[dict[str, Any]]]:
    """COCO ground truth. `iscrowd` is 1 for crowd and difficult objects, as CocoAP ignores both."""
    images = [_image(target, numbers) for target in targets]
    annotations = [entry for target in targets for entry in _annotations(target, numbers)]
    for number, annotation in enumerate(annotations, start=1):  # pycocotools takes 0 for "no match"
        annotation["id"] = number
    return {
        "images": images,
        "annotations": annotations,
        "categories": [_category(label, name, info) for label, name in enumerate(info.class_names)],
    }


def _entries(found: Detections, numbers: dict[str, int]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [
        {
            "image_id": numbers[found.frame.image_id],
            "category_id": label,
            "bbox": box,
            "score": score,
        }
        for label, box, score in zip(
            found.labels.tolist(), _xywh(found.boxes), found.scores.tolist(), strict=True
        )
    ]
    _add_keypoints(entries, found.keypoints)
    return entries


def _image(target: Target, numbers: dict[str, int]) -> dict[str, Any]:
    height, width = target.frame.original_hw
    image_id = target.frame.image_id
    return {"id": numbers[image_id], "file_name": image_id, "height": height, "width": width}


def _annotations(target: Target, numbers: dict[str, int]) -> list[dict[str, Any]]:
    columns = (_xywh(target.boxes), *(column.tolist() for column in _columns(target)))
    entries: list[dict[str, Any]] = [
        {
            "image_id": numbers[target.frame.image_id],
            "category_id": label,
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd or difficult),
            "difficult": int(difficult),
        }
        for box, label, area, crowd, difficult in zip(*columns, strict=True)
    ]
    _add_keypoints(entries, target.keypoints)
    if target.keypoints is not None:
        for entry, labelled in zip(entries, (target.keypoints[..., 2] > 0).sum(dim=1), strict=True):
            entry["num_keypoints"] = int(labelled)
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


def _xywh(boxes: Tensor) -> list[list[float]]:
    corner, far = boxes.split(2, dim=1)
    return torch.cat([corner, far - corner], dim=1).tolist()
