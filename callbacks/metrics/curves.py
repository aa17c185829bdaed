"""Precision, recall and F1 as functions of the confidence from which on a detection counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from callbacks.metrics.curves_picture import draw
from callbacks.metrics.matching import judge
from detectors.structures import Detections, Target

GRID = np.linspace(0, 1, 1001, dtype=np.float32)
"""Confidences of the record; the step is the protocol's score floor."""


class Curves:
    """Precision, recall and F1 of the detections with a score of at least a confidence.

    At every confidence the hits, mistakes and missed objects of all classes are counted together.
    So one threshold, as it is set in use, gives precision, recall and their harmonic mean F1, each
    defined wherever something was found, which a mean over classes is not. Unlike a mean AP it
    weighs classes by their objects; `f1/<class>` shows them one by one. A detection of a class that
    has no object at all is a mistake like others.

    Hits are those of `judge` at a box IoU of `min_iou` or more, so crowd and difficult objects need
    not be found, and detections of them are no mistakes. Matching goes by falling score, therefore
    what counts at a higher confidence is matched as if there was nothing below it. All detections
    given count (the protocol's score floor and number per image were applied before).

    The best confidence is chosen on the very images it is scored on. Of the test split it flatters:
    for use, take the confidence of the val split.
    """

    def __init__(self, class_names: Sequence[str], min_iou: float = 0.5) -> None:
        self.class_names = list(class_names)
        self.min_iou = min_iou
        self.reset()

    def update(self, detections: list[Detections], targets: list[Target]) -> None:
        """Adds images; both lists in original pixels and in the same order."""
        for found, target in zip(detections, targets, strict=True):
            self._add(found.to("cpu"), target.to("cpu"))

    def compute(self) -> dict[str, float]:
        """`f1`, the largest over all confidences; `precision`, `recall` and, per class,
        `f1/<class>` at the `confidence` where it is reached: the highest of equals.

        NaN where there is nothing to measure: a class without objects, a precision of nothing
        found, a confidence where no detection hits.
        """
        pooled, of_class = self._curves()
        best = int(pooled.f1.argmax())
        confidence = pooled.confidence[[best]]
        values = {
            "f1": pooled.f1[best],
            "precision": pooled.precision[best],
            "recall": pooled.recall[best],
            "confidence": confidence[0] if isfinite(confidence[0]) else nan,
        }
        values |= {f"f1/{name}": curve.at(confidence).f1[0] for name, curve in of_class.items()}
        return {name: float(value) for name, value in values.items()}

    def reset(self) -> None:
        """Forgets all images."""
        self._scores: list[Float[np.ndarray, " m"]] = []
        self._labels: list[Int[np.ndarray, " m"]] = []
        self._hits: list[Bool[np.ndarray, " m"]] = []
        self._objects = np.zeros(len(self.class_names), np.int64)

    def record(self) -> dict[str, Any]:
        """The curves on `GRID`, `pooled` and by class; null where nothing can be measured."""
        pooled, of_class = self._curves()
        return {
            "min_iou": self.min_iou,
            "best": {k: v if isfinite(v) else None for k, v in self.compute().items()},
            "confidence": _plain(GRID),
            "pooled": _sampled(pooled),
            "classes": {name: _sampled(curve) for name, curve in of_class.items()},
        }

    def picture(self, record: dict[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
        """Three panels: F1, precision and recall against confidence."""
        return draw(record)

    def _add(self, found: Detections, target: Target) -> None:
        hits, mistakes = judge(found, target, self.min_iou)
        counted = hits | mistakes
        self._scores.append(found.scores.float().numpy()[counted])
        self._labels.append(found.labels.numpy()[counted])
        self._hits.append(hits[counted])
        scored = target.labels[~(target.crowd | target.difficult)].numpy()
        self._objects += np.bincount(scored, minlength=len(self.class_names))

    def _curves(self) -> tuple["Curve", dict[str, "Curve"]]:
        scores = np.concatenate([np.zeros(0, np.float32), *self._scores])
        labels = np.concatenate([np.zeros(0, np.int64), *self._labels])
        hits = np.concatenate([np.zeros(0, np.bool_), *self._hits])
        of_class = {
            name: curve(scores[labels == label], hits[labels == label], int(self._objects[label]))
            for label, name in enumerate(self.class_names)
        }
        return curve(scores, hits, int(self._objects.sum())), of_class


@dataclass(slots=True)
class Curve:
    """Counts at each score that occurs, falling; first at infinity, where nothing is found.

    Without objects there is nothing to measure, and everything is NaN.
    """

    confidence: Float[np.ndarray, " t"]
    found: Int[np.ndarray, " t"]
    """Detections with a score of at least `confidence`."""
    hits: Int[np.ndarray, " t"]
    """How many of them hit an object."""
    objects: int

    @property
    def precision(self) -> Float[np.ndarray, " t"]:
        """Hits / found; NaN where nothing is found."""
        return _ratio(self.hits, self.found * (self.objects > 0))

    @property
    def recall(self) -> Float[np.ndarray, " t"]:
        """Hits / objects."""
        return _ratio(self.hits, np.full_like(self.found, self.objects))

    @property
    def f1(self) -> Float[np.ndarray, " t"]:
        """The harmonic mean of precision and recall: 2 hits / (found + objects)."""
        return _ratio(2 * self.hits, (self.found + self.objects) * (self.objects > 0))

    def at(self, confidence: Float[np.ndarray, " s"]) -> "Curve":
        """The counts at other confidences."""
        row = np.searchsorted(-self.confidence, -confidence, side="right") - 1
        return Curve(confidence, self.found[row], self.hits[row], self.objects)


def curve(scores: Float[np.ndarray, " m"], hits: Bool[np.ndarray, " m"], objects: int) -> Curve:
    """From each detection's score, and whether it hits one of so many objects."""
    order = (-scores).argsort(kind="stable")
    scores = np.append(np.float32(np.inf), scores[order])
    counts = np.append(0, hits[order].cumsum())
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of equal scores
    return Curve(scores[last], last, counts[last], objects)


def _ratio(part: Int[np.ndarray, " t"], whole: Int[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    return np.divide(part, whole, out=np.full(len(part), nan), where=whole > 0)


def _sampled(exact: Curve) -> dict[str, Any]:
    on_grid = exact.at(GRID)
    shares = {name: getattr(on_grid, name) for name in ("precision", "recall", "f1")}
    return {"objects": exact.objects} | {name: _plain(values) for name, values in shares.items()}


def _plain(values: Float[np.ndarray, " t"]) -> list[float | None]:
    rounded = values.astype(np.float64).round(4).tolist()
    return [value if isfinite(value) else None for value in rounded]
