"""Box arithmetic that torchvision.ops lacks."""

import torch
from jaxtyping import Float
from torch import Tensor


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


def _area(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
