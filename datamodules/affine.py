"""Maps between pixel frames, as 2x3 matrices on continuous px: x' = a[:, :2] x + a[:, 2]."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Affine = Float[np.ndarray, "2 3"]

_CORNERS = [0, 1, 2, 1, 2, 3, 0, 3]
"""The four corners of a box in its xyxy."""


def scale_and_shift(
    scale_xy: Sequence[float], shift_xy: Sequence[float] | Float[np.ndarray, " 2"]
) -> Affine:
    """x' = scale x + shift, per axis."""
    return np.array([[scale_xy[0], 0.0, shift_xy[0]], [0.0, scale_xy[1], shift_xy[1]]])


def apply(affine: Affine, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
    """The mapped points, x and y in px."""
    return points @ affine[:, :2].T + affine[:, 2]


def after(second: Affine, first: Affine) -> Affine:
    """The composition: `first`, then `second`."""
    product = second[:, :2] @ first
    product[:, 2] += second[:, 2]
    return product


def hulls(affine: Affine, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """The upright boxes around the mapped ones, xyxy."""
    corners = apply(affine, boxes[:, _CORNERS].reshape(-1, 4, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def ellipse_hulls(affine: Affine, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """The upright boxes around the mapped ellipses that fill the boxes, xyxy.

    Half a side is the length of a row of the linear map times the half sides before: the same as
    `hulls` where axes stay axes, and smaller in between.

    Paper: Kalra et al. 2021, "Towards Rotation Invariance in Object Detection", section 3.
    """
    centres = apply(affine, (boxes[:, :2] + boxes[:, 2:]) / 2)
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    reach = np.sqrt(halves**2 @ (affine[:, :2] ** 2).T)
    return np.concatenate([centres - reach, centres + reach], axis=1)
