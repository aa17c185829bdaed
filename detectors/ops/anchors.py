"""Anchors, also called priors or default boxes: the boxes that predictions are coded against."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SquareAnchors:
    """Squares in every cell of every level, centred on the cell, not clipped to the image.

    `sizes`: sides in px, per level (finest first).

    Paper: RetinaFace (Deng et al. 2019), section 4.2, with the PyTorch reference's two sizes on
    three levels.
    """

    sizes: Sequence[Sequence[int | float]]

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
    hw: tuple[int, int], stride: int, sizes: Sequence[int | float], device: torch.device | None
) -> Float[Tensor, "a 4"]:
    """By numbers, not by a tensor of sizes: moving that to the device would wait for the device."""
    y, x = ((torch.arange(n, device=device, dtype=torch.float32) + 0.5) * stride for n in hw)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack([columns, rows], dim=-1)  # (h, w, 2)
    squares = [torch.cat([centres - s / 2, centres + s / 2], dim=-1) for s in sizes]
    return torch.stack(squares, dim=2).reshape(-1, 4)  # (h, w, sizes, 4) -> (a, 4)
