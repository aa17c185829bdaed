"""How far the predicted keypoints of one image lie from the true ones, object by object."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from callbacks.metrics.matching import match_boxes
from callbacks.metrics.points import opposed
from detectors.structures import Detections, Target


@dataclass(slots=True)
class PointErrors:
    """Of the objects that are scored; NaN is what cannot be measured."""

    errors: Float[np.ndarray, "n k"]
    """px between the predicted and the true point; NaN: not labelled, infinite: not predicted."""
    box: Float[np.ndarray, " n"]
    """The longer side of the true box, px."""
    body: Float[np.ndarray, " n"]
    """Distance of the true ends of the body, px."""
    swapped: Float[np.ndarray, " n"]
    """1 if the predicted ends are exchanged, else 0."""
    matched: Float[np.ndarray, " n"]
    """1 if a detection answers for the object, else 0."""


def measure(
    detections: Detections, target: Target, body: Sequence[int], match_iou: float
) -> PointErrors:
    """One image; `body` are the positions of the two ends among the keypoints.

    Scored are objects with a labelled point (v > 0) that are neither crowd nor difficult.
    """
    assert detections.keypoints is not None
    assert target.keypoints is not None
    objects, chosen = match_boxes(detections, target, match_iou)
    true = target.keypoints[..., :2].double().numpy()
    labelled = (target.keypoints[..., 2] > 0).numpy()
    predicted = np.full_like(true, np.nan)
    predicted[objects] = detections.keypoints[..., :2].double().numpy()[chosen]
    predicted[~np.isfinite(predicted)] = np.nan
    known = np.logical_and(*labelled[:, body].T)
    length, swapped = _ends(predicted[:, body], true[:, body], known)
    sides = (target.boxes[:, 2:] - target.boxes[:, :2]).double().numpy()
    matched = np.isin(np.arange(len(target)), objects).astype(np.float64)
    columns = (_distances(predicted, true, labelled), _positive(sides.max(axis=1)), length)
    scored = labelled.any(axis=1) & ~(target.crowd | target.difficult).numpy()
    return PointErrors(*(column[scored] for column in (*columns, swapped, matched)))


def joined(images: Sequence[PointErrors], points: int) -> PointErrors:
    """The objects of all images, which have so many `points` each."""
    none = PointErrors(np.zeros((0, points)), *(np.zeros(0) for _ in fields(PointErrors)[1:]))
    names = [field.name for field in fields(PointErrors)]
    return PointErrors(
        *(np.concatenate([getattr(of_image, n) for of_image in [none, *images]]) for n in names)
    )


def _distances(
    predicted: Float[np.ndarray, "n k 2"], true: Float[np.ndarray, "n k 2"], labelled: np.ndarray
) -> Float[np.ndarray, "n k"]:
    distances = np.linalg.norm(predicted - true, axis=-1)
    distances[np.isnan(distances)] = np.inf
    return np.where(labelled, distances, np.nan)


def _ends(
    predicted: Float[np.ndarray, "n 2 2"], true: Float[np.ndarray, "n 2 2"], labelled: np.ndarray
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The length of the true body, and whether the predicted one points more than 90° away from it.

    |p1 - t2|² + |p2 - t1|² < |p1 - t1|² + |p2 - t2|² is (p2 - p1)·(t2 - t1) < 0.
    """
    axis = true[:, 1] - true[:, 0]
    length = _positive(np.where(labelled, np.linalg.norm(axis, axis=-1), np.nan))
    known_axis = np.where(np.isnan(length)[:, None], np.nan, axis)
    return length, opposed(predicted[:, 1] - predicted[:, 0], known_axis)


def _positive(lengths: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Nothing can be measured in units of zero length."""
    return np.where(lengths > 0, lengths, np.nan)
