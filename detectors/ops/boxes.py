"""Box arithmetic that torchvision.ops lacks."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import box_area


def paired_iou(
    first: Float[Tensor, "*#n 4"], second: Float[Tensor, "*#n 4"]
) -> Float[Tensor, "*n"]:
    """IoU of xyxy boxes that belong together, row by row; leading axes broadcast.

    torchvision's `box_iou` compares all with all; its `diag` would cost n² memory. A box turned
    inside out (x2 < x1) counts as empty, and two empty boxes have IoU 0, never NaN.
    """
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = _area(first) + _area(second) - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def paired_ciou(
    first: Float[Tensor, "*#n 4"], second: Float[Tensor, "*#n 4"], eps: float = 1e-7
) -> Float[Tensor, "*n"]:
    """Complete IoU of xyxy boxes with an area, row by row, from -1.5 to 1.

    IoU - |distance of the centres|² / |diagonal of the hull|² - alpha v, where v compares the
    aspect ratios and alpha has no gradient.

    Paper: Zheng et al. 2020 (Distance-IoU), equations 8-11.
    Differs: torchvision's complete_box_iou_loss selects by a mask, for which a GPU is waited for.
    """
    iou = paired_iou(first, second)
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(
        first[..., :2], second[..., :2]
    )
    diagonal = hull.square().sum(-1) + eps
    apart = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2
    aspect = _angle(second) - _angle(first)
    v = 4 / math.pi**2 * aspect.square()
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return iou - apart.square().sum(-1) / diagonal - alpha * v


def normalized_wasserstein(
    first: Float[Tensor, "*#n 4"],
    second: Float[Tensor, "*#n 4"],
    constant: float = 12.8,
    eps: float = 1e-7,
) -> Float[Tensor, "*n"]:
    """NWD of xyxy boxes, row by row: a similarity from 0 to 1 that small boxes share without IoU.

    Boxes are Gaussians of centre c and standard deviations (w, h) / 2: with
    W² = |c1 - c2|² + ((w1 - w2)² + (h1 - h2)²) / 4, NWD = exp(-sqrt(W² + eps) / constant). `eps`
    keeps the gradient of equal boxes finite; their NWD is 0.99998. `constant` has the boxes' unit:
    about the mean size of the objects, 12.8 px in AI-TOD.

    Paper: Wang et al. 2021, "A Normalized Gaussian Wasserstein Distance for Tiny Object Detection",
    equations 6-8.
    """
    difference = first - second
    centre = (difference[..., :2] + difference[..., 2:]) / 2
    size = difference[..., 2:] - difference[..., :2]
    distance = centre.square().sum(-1) + size.square().sum(-1) / 4
    return (-(distance + eps).sqrt() / constant).exp()


def share_inside(
    iou: Float[Tensor, "n a"], regions: Float[Tensor, "n 4"], boxes: Float[Tensor, "a 4"]
) -> Float[Tensor, "n a"]:
    """Intersection / area of the box, from the IoU of all with all: I = IoU (A + B) / (1 + IoU)."""
    area = box_area(boxes)
    return iou * (box_area(regions)[:, None] + area) / ((1 + iou) * area.clamp(min=1e-6))


def map_boxes(boxes: Float[Tensor, "n 4"], affine: Float[Tensor, "2 3"]) -> Float[Tensor, "n 4"]:
    """The xyxy boxes around the corners of `boxes` after an affine map; a mirrored box is one."""
    corners = boxes.reshape(-1, 2, 2) @ affine[:, :2].T + affine[:, 2]  # (n, corner, xy)
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


def _area(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def _angle(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Of the diagonal: atan(w / h)."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    return torch.atan2(width, height)
