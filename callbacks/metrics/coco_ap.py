"""COCO average precision and recall."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nan, tensor
from torchmetrics.detection import MeanAveragePrecision

from detectors.structures import Detections, Target

ALL, SMALL, MEDIUM, LARGE = range(4)
"""Positions of COCO's area ranges (split at 32² and 96² original px²) in its result arrays."""
IOU_50, IOU_75 = 0, 5
"""Positions of these thresholds among 0.50, 0.55 ... 0.95."""


class CocoAP:
    """AP averaged over IoU 0.50:0.95, at 0.50 and 0.75, by object size and by class; and recall.

    `max_detections` is the number of detections per image and class that count, best scores first.
    Objects that are `crowd` or `difficult` are ignored alike, as COCO ignores crowds: they need not
    be found, and detections inside them are no mistakes. A class or size without objects is NaN,
    not 0 or -1, and does not enter a mean.

    torchmetrics does the counting (through faster_coco_eval); the numbers are read from its full
    precision and recall arrays, since its own summary is rounded to float32 and evaluates again for
    every class.
    """

    def __init__(self, class_names: Sequence[str], max_detections: int = 100) -> None:
        logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)
        self.class_names = list(class_names)
        self.max_detections = max_detections
        self._images = 0
        self._coco = MeanAveragePrecision(
            box_format="xyxy",
            # its own defaults are float32: a recall of 0.3 would then miss the threshold 0.3
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0.0, 1.0, 101).tolist(),
            max_detection_thresholds=sorted([1, min(10, max_detections), max_detections]),
            extended_summary=True,
            backend="faster_coco_eval",
            sync_on_compute=False,
        )
        self._coco.warn_on_many_detections = False

    def update(self, detections: list[Detections], targets: list[Target]) -> None:
        """Adds images; both lists in original pixels and in the same order."""
        self._coco.update(
            [_prediction(found) for found in detections], [_truth(target) for target in targets]
        )
        self._images += len(targets)

    def compute(self) -> dict[str, float]:
        """The keys are `map`, `map_50`, `map_75`, `map_small`, `map_medium`, `map_large`,
        `mar_<max_detections>`, and per class `ap/<class>` and `ap_50/<class>`.
        """
        if not self._has_boxes():
            return dict.fromkeys(self._summary({}, tensor([]), tensor([])), nan)
        result = self._coco.compute()
        columns = {
            label: column for column, label in enumerate(result["classes"].view(-1).tolist())
        }
        # (thresholds, recalls, classes, areas, max detections) and the same without recalls
        return self._summary(columns, result["precision"][..., -1], result["recall"][..., -1])

    def reset(self) -> None:
        """Forgets all images."""
        self._coco.reset()
        self._images = 0

    def _has_boxes(self) -> bool:
        labels: Any = [*self._coco.detection_labels, *self._coco.groundtruth_labels]
        return any(len(of_image) for of_image in labels)

    def _summary(
        self, columns: dict[int, int], precision: Tensor, recall: Tensor
    ) -> dict[str, float]:
        def average_precision(iou: Any = slice(None), area: int = ALL, label: Any = None) -> float:
            if not columns or (label is not None and label not in columns):
                return nan
            chosen = slice(None) if label is None else columns[label]
            return _mean(precision[iou][..., chosen, area])

        values = {
            "map": average_precision(),
            "map_50": average_precision(iou=IOU_50),
            "map_75": average_precision(iou=IOU_75),
            "map_small": average_precision(area=SMALL),
            "map_medium": average_precision(area=MEDIUM),
            "map_large": average_precision(area=LARGE),
            f"mar_{self.max_detections}": _mean(recall[..., ALL]) if columns else nan,
        }
        for label, name in enumerate(self.class_names):
            values[f"ap/{name}"] = average_precision(label=label)
            values[f"ap_50/{name}"] = average_precision(iou=IOU_50, label=label)
        return values


def _prediction(found: Detections) -> dict[str, Tensor]:
    values = {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}
    return {name: value.detach().cpu() for name, value in values.items()}


def _truth(target: Target) -> dict[str, Tensor]:
    ignored = (target.crowd | target.difficult).long()
    values = {
        "boxes": target.boxes,
        "labels": target.labels,
        "iscrowd": ignored,
        "area": target.area,
    }
    return {name: value.cpu() for name, value in values.items()}


def _mean(values: Tensor) -> float:
    """COCO marks what cannot be measured by -1."""
    known = values[values > -1]
    return known.mean().item() if len(known) else nan
