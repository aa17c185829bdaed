"""Percentage of correct keypoints, and what else tells how well points are placed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Float

from callbacks.metrics.point_errors import PointErrors, joined, measure
from callbacks.metrics.points import BODY, body_ends, predict_points
from detectors.structures import DatasetInfo, Detections, Target


class PCK:
    """Share of correct keypoints, normalised errors, errors in px, and head-tail swaps.

    Scored are the labelled points (v > 0: hidden ones too) of objects that are neither crowd nor
    difficult. A detection answers for an object as `match_boxes` says, at a box IoU of `match_iou`
    or more. What a detector says of a point's visibility does not count.

    - `pck_box_10`: share of points whose error is at most 0.10 x the longer side of the true box;
      `pck_body_10`: x the body's length, between the true points at the positions `body` (-1 is the
      last point). The points of an object that no detection answers for are wrong.
    - `nme_box`, `nme_body`: mean error in units of these lengths. `error_px`, `median_px`: mean and
      median error. They know only objects that a detection answers for, so read them beside
      `match_recall`, the share of these.
    - `swap_rate`: share of the answered objects whose two ends of the body fit better exchanged, by
      the sum of squared distances: predicted and true body point more than 90° apart.

    The first five exist for each point (`pck_box_10/head`) and pooled over all points
    (`pck_box_10`). NaN where there is nothing to measure: no such object, no keypoints in the
    dataset, or a detector without them.

    Paper: Yang and Ramanan 2013, "Articulated Human Detection with Flexible Mixtures of Parts",
    section 7 (PCK by the longer side of a box).
    """

    def __init__(
        self,
        info: DatasetInfo,
        thresholds: Sequence[float] = (0.05, 0.1, 0.2),
        body: Sequence[int] = BODY,
        match_iou: float = 0.5,
    ) -> None:
        self.info = info
        self.thresholds = list(thresholds)
        self.body = body_ends(body, len(info.keypoint_names))
        self.match_iou = match_iou
        self.reset()

    def update(self, detections: list[Detections], targets: list[Target]) -> None:
        """Adds images; both lists in original pixels and in the same order."""
        self._measurable = self._measurable and predict_points(detections, self.info)
        if self._measurable:
            pairs = zip(detections, targets, strict=True)
            self._images += [self._measure(found, target) for found, target in pairs]

    def compute(self) -> dict[str, float]:
        """The keys are those of the class."""
        of_all = joined(self._images if self._measurable else [], len(self.info.keypoint_names))
        predicted = np.where(np.isinf(of_all.errors), nan, of_all.errors)
        return {
            **self._in_units("box", of_all.box, of_all.errors, predicted),
            **self._in_units("body", of_all.body, of_all.errors, predicted),
            **self._by_point("error_px", predicted),
            **self._by_point("median_px", predicted, np.median),
            "swap_rate": _of_known(of_all.swapped),
            "match_recall": _of_known(of_all.matched),
        }

    def reset(self) -> None:
        """Forgets all images."""
        self._measurable = True
        self._images: list[PointErrors] = []

    def _measure(self, found: Detections, target: Target) -> PointErrors:
        target = target.to("cpu")
        if target.keypoints is None:
            absent = target.boxes.new_zeros(len(target), len(self.info.keypoint_names), 3)
            target = replace(target, keypoints=absent)
        return measure(found.to("cpu"), target, self.body, self.match_iou)

    def _in_units(
        self,
        unit: str,
        length: Float[np.ndarray, " n"],
        errors: Float[np.ndarray, "n k"],
        predicted: Float[np.ndarray, "n k"],
    ) -> dict[str, float]:
        relative = errors / length[:, None]
        values: dict[str, float] = {}
        for threshold in self.thresholds:
            correct = np.where(np.isnan(relative), nan, relative <= threshold)
            values |= self._by_point(f"pck_{unit}_{_percent(threshold)}", correct)
        return values | self._by_point(f"nme_{unit}", predicted / length[:, None])

    def _by_point(
        self, key: str, values: Float[np.ndarray, "n k"], average: Callable[..., Any] = np.mean
    ) -> dict[str, float]:
        columns = zip(self.info.keypoint_names, values.T, strict=True)
        pooled = {key: _of_known(values, average)}
        return pooled | {f"{key}/{name}": _of_known(column, average) for name, column in columns}


def _of_known(values: np.ndarray, average: Callable[..., Any] = np.mean) -> float:
    known = values[~np.isnan(values)]
    return float(average(known)) if len(known) else nan


def _percent(share: float) -> str:
    """0.05 is "05", 0.1 is "10", 0.025 is "2.5"."""
    return f"{100 * share:g}".zfill(2)
