"""Anchors, also called priors or default boxes: the boxes that predictions are coded against."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Size = int | float | Sequence[int | float]
"""The side of a square, or width and height; px."""


@dataclass(frozen=True, slots=True)
class CentredAnchors:
    """Boxes of given `sizes` in every cell of every level, centred on it, not clipped to the image.

    `sizes` per level, finest first: squares in RetinaFace, pairs of width and height in YOLO.

    Paper: RetinaFace (Deng et al. 2019), section 4.2, with the PyTorch reference's two sizes on
    three levels; YOLOv2 (Redmon and Farhadi 2017), section 2, "dimension clusters".
    """

    sizes: Sequence[Sequence[Size]]

    @property
    def per_cell(self) -> list[int]:
        """Anchors in one cell of each level."""
        return [len(sizes) for sizes in self.sizes]

    def __call__(
        self,
        feature_hw: Sequence[tuple[int, int]],
        strides: Sequence[int],
        device: torch.device | None = None,
    ) -> Float[Tensor, "a 4"]:
        """xyxy in px, ordered by level, row, column, size: as the dense heads order their outputs.

        `feature_hw` and `strides` are those of the levels. A map counts ceil(side / stride) cells,
        so any image size is legal.
        """
        levels = zip(feature_hw, strides, self.sizes, strict=True)
        return torch.cat([_level(hw, stride, sizes, device) for hw, stride, sizes in levels])


def _level(
    hw: tuple[int, int], stride: int, sizes: Sequence[Size], device: torch.device | None
) -> Float[Tensor, "a 4"]:
    """By numbers, not by a tensor of sizes: moving that to the device would wait for the device."""
    y, x = ((torch.arange(n, device=device, dtype=torch.float32) + 0.5) * stride for n in hw)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    boxes = [
        torch.stack([columns - w / 2, rows - h / 2, columns + w / 2, rows + h / 2], dim=-1)
        for w, h in map(_width_and_height, sizes)
    ]
    return torch.stack(boxes, dim=2).reshape(-1, 4)  # (h, w, sizes, 4) -> (a, 4)


def _width_and_height(size: Size) -> tuple[float, float]:
    width, height = size if isinstance(size, Sequence) else (size, size)
    return float(width), float(height)
