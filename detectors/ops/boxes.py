"""Box arithmetic that torchvision.ops lacks."""

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
