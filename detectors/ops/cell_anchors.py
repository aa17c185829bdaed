"""Anchors of several scales and aspect ratios in every cell, as Faster R-CNN has them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

CONVENTIONS = ("torchvision", "py_faster_rcnn")


@dataclass(frozen=True, slots=True)
class CellAnchors:
    """Boxes of `scales` x stride px (square root of the area) in `ratios` (height / width).

    `convention`, of where an anchor stands in its cell and how its sides are rounded:
    `torchvision`: centred on the cell's upper left corner; `py_faster_rcnn`: on the middle of the
    cell, with the rounded sides of the paper's code (at stride 16 and scale 8: 184x96, 128x128,
    88x176 px).

    On one map of stride 16, scales 8, 16, 32 are the paper's 128, 256 and 512 px; on a pyramid of
    strides 4 to 64, the one scale 8 is torchvision's 32 to 512 px.

    Paper: Ren et al. 2015, section 3.1.1.
    """

    scales: Sequence[float | int] = (8.0,)
    ratios: Sequence[float | int] = (0.5, 1.0, 2.0)
    convention: str = "torchvision"

    @property
    def per_cell(self) -> int:
        """Anchors in one cell of each level: ratio by ratio, within it scale by scale."""
        return len(self.scales) * len(self.ratios)

    def of_cell(self, stride: int) -> Float[Tensor, "k 4"]:
        """The anchors of the first cell, xyxy in px."""
        if self.convention == "torchvision":
            sides = tuple(scale * stride for scale in self.scales)
            generator = AnchorGenerator((sides,), (tuple(self.ratios),))  # pyright: ignore[reportArgumentType]
            return generator.cell_anchors[0]
        return torch.tensor([self._rounded(stride, r, s) for r in self.ratios for s in self.scales])

    def __call__(
        self,
        feature_hw: Sequence[tuple[int, int]],
        strides: Sequence[int],
        device: torch.device | None = None,
    ) -> Float[Tensor, "a 4"]:
        """xyxy in px, ordered by level, row, column, anchor of the cell; not clipped."""
        levels = zip(feature_hw, strides, strict=True)
        return torch.cat([self._level(hw, stride, device) for hw, stride in levels])

    def _rounded(self, stride: int, ratio: float | int, scale: float | int) -> list[float]:
        """py-faster-rcnn rounds the sides at scale 1, then scales them; a half goes to even."""
        width = round((stride**2 / ratio) ** 0.5)
        height = round(width * ratio)
        half_width, half_height, centre = width * scale / 2, height * scale / 2, stride / 2
        low = [centre - half_width, centre - half_height]
        return [*low, centre + half_width, centre + half_height]

    def _level(
        self, hw: tuple[int, int], stride: int, device: torch.device | None
    ) -> Float[Tensor, "a 4"]:
        """By numbers, not by a tensor of boxes: moving that to the device would wait for it."""
        y, x = (torch.arange(n, device=device, dtype=torch.float32) * stride for n in hw)
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        corners = torch.stack([columns, rows, columns, rows], dim=-1)  # (h, w, 4)
        boxes = [
            torch.stack([c + side for c, side in zip(corners.unbind(-1), box, strict=True)], -1)
            for box in self.of_cell(stride).tolist()
        ]
        return torch.stack(boxes, dim=2).reshape(-1, 4)  # (h, w, k, 4) -> (a, 4)
