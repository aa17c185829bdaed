"""What the keypoint metrics have in common."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Detections

BODY = (0, -1)
"""Positions of the two ends of a body among its points, unless told: the first and the last."""


def predict_points(detections: list[Detections], info: DatasetInfo) -> bool:
    """Whether keypoints can be scored: the dataset has some, and a detector predicted them.

    A detector with keypoints says so in every image, also without detections: (0, k, 3), not None.
    Raises `ConfigError` if it predicts another number of points than the dataset has.
    """
    known = len(info.keypoint_names)
    counts = {None if d.keypoints is None else d.keypoints.shape[1] for d in detections}
    for count in counts - {None, known} if known else ():
        raise ConfigError(
            f"the detector predicts {count} points per object and datamodule.info.keypoint_names "
            f"has {known}: train it for this data, or remove the keypoint metrics"
        )
    return known > 0 and None not in counts


def body_ends(body: Sequence[int], points: int) -> list[int]:
    """The positions of the two ends of a body among so many points, counted from the front.

    Raises:
        ConfigError: there are no such two positions.
    """
    if points and (len(body) != 2 or not all(-points <= end < points for end in body)):
        raise ConfigError(
            f"metrics.pck.body={list(body)} must be the positions of two of the {points} points of "
            f"datamodule.info.keypoint_names, {-points} to {points - 1}"
        )
    return [end % points for end in body] if points else list(body)


def opposed(
    first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, " n"]:
    """1 where two vectors point more than 90° apart, else 0; NaN where one of them is unknown."""
    along = (first * second).sum(axis=-1)
    return np.where(np.isnan(along), np.nan, along < 0)
