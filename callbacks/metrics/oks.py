"""COCO average precision and recall of keypoints."""

from math import nan
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from jaxtyping import Float

from callbacks import coco_files
from callbacks.metrics.points import predict_points
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Detections, Target

IOU_50, IOU_75 = 0, 5
"""Positions of these thresholds among 0.50, 0.55 ... 0.95."""

Precision = Float[np.ndarray, "thresholds recalls c"]
Recall = Float[np.ndarray, "thresholds c"]


class OKS:
    """AP averaged over OKS 0.50:0.95, at 0.50 and 0.75, and recall; overall and by class.

    OKS is to points what IoU is to boxes: the mean over an object's labelled points (hidden ones
    too) of exp(-d² / (2 area (2 sigma)²)), with d px between the predicted and the true point. The
    area is `Target.area`, of the annotated object; never the hull of its points, which is zero when
    they lie on a line. What a detector says of a point's visibility does not count.

    `max_detections` per image and class count, best scores first (COCO: 20). Objects that are
    `crowd` or `difficult` and objects without labelled points are ignored: they need not be found,
    and detections there are no mistakes. NaN where there is nothing to measure: no such object, no
    keypoints in the dataset, or a detector without them.

    faster_coco_eval does the counting; the numbers are pycocotools' with the same sigmas.

    Paper: COCO keypoint evaluation, cocodataset.org/#keypoints-eval; sigmas as defined there.
    """

    def __init__(self, info: DatasetInfo, max_detections: int = 20) -> None:
        _check_sigmas(info)
        self.info = info
        self.max_detections = max_detections
        self.reset()

    def update(self, detections: list[Detections], targets: list[Target]) -> None:
        """Adds images; both lists in original pixels and in the same order."""
        self._measurable = self._measurable and predict_points(detections, self.info)
        self._detections += detections
        self._targets += targets

    def compute(self) -> dict[str, float]:
        """The keys are `oks_map`, `oks_map_50`, `oks_map_75`, `oks_mar_<max_detections>`, and per
        class `oks_ap/<class>` and `oks_ap_50/<class>`.
        """
        if self._measurable and any(map(_has_labelled_points, self._targets)):
            return self._summary(*self._evaluate())
        classes = len(self.info.class_names)
        return self._summary(np.full((10, 101, classes), -1.0), np.full((10, classes), -1.0))

    def reset(self) -> None:
        """Forgets all images."""
        self._measurable = True
        self._detections: list[Detections] = []
        self._targets: list[Target] = []

    def _evaluate(self) -> tuple[Precision, Recall]:
        names = {target.frame.image_id: i for i, target in enumerate(self._targets, start=1)}
        truth = COCO(coco_files.dataset(self._targets, names, self.info))
        found = truth.loadRes(coco_files.results(self._detections, names))
        sigmas = [float(sigma) for sigma in self.info.oks_sigmas]
        evaluation = COCOeval_faster(
            truth, found, "keypoints", kpt_oks_sigmas=sigmas, print_function=_say_nothing
        )
        evaluation.params.catIds = list(range(len(self.info.class_names)))
        evaluation.params.maxDets = [self.max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
        # (thresholds, recalls, classes, areas, max detections) and the same without recalls
        return evaluation.eval["precision"][..., 0, 0], evaluation.eval["recall"][..., 0, 0]

    def _summary(self, precision: Precision, recall: Recall) -> dict[str, float]:
        values = {
            "oks_map": _mean(precision),
            "oks_map_50": _mean(precision[IOU_50]),
            "oks_map_75": _mean(precision[IOU_75]),
            f"oks_mar_{self.max_detections}": _mean(recall),
        }
        for label, name in enumerate(self.info.class_names):
            values[f"oks_ap/{name}"] = _mean(precision[..., label])
            values[f"oks_ap_50/{name}"] = _mean(precision[IOU_50, ..., label])
        return values


def _check_sigmas(info: DatasetInfo) -> None:
    points, sigmas = len(info.keypoint_names), list(info.oks_sigmas)
    if len(sigmas) != points or not all(sigma > 0 for sigma in sigmas):
        raise ConfigError(
            f"datamodule.info.oks_sigmas={sigmas} does not fit the {points} keypoint_names: give "
            "one positive number per point, or remove oks from metrics"
        )


def _has_labelled_points(target: Target) -> bool:
    return target.keypoints is not None and bool((target.keypoints[..., 2] > 0).any())


def _mean(values: np.ndarray) -> float:
    """COCO marks what cannot be measured by -1."""
    known = values[values > -1]
    return float(known.mean()) if len(known) else nan


def _say_nothing(*words: Any) -> None:
    """faster_coco_eval logs its steps otherwise."""
