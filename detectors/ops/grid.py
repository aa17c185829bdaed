"""Boxes on a grid of S x S cells, one object per cell (YOLOv1 section 2).

A cell is (image_height / S) x (image_width / S) px: not square when the image is not. Cells are
counted row by row: index = row * S + column, row from y, column from x.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_convert


@dataclass(frozen=True, slots=True)
class GridCoder:
    """Codes a box as x, y of its centre within its cell (0..1, in cells) and w, h in `size_units`.

    `cell`: w, h in cells, may exceed 1 (yolov1-optimization.txt); `image`: w, h relative to the
    image (paper section 2). `encode` and `decode` are inverses.
    """

    grid: int
    image_hw: tuple[int, int]
    size_units: str = "cell"

    def encode(self, boxes: Float[Tensor, "n 4"]) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 4"]]:
        """The cell each box's centre lies in, and the code of the box in it.

        A centre on the right or bottom border of the image belongs to the last cell, at 1.0.
        """
        height, width = self._cell_hw
        scaled = box_convert(_scale(boxes, 1 / width, 1 / height), "xyxy", "cxcywh")  # in cells
        corner = scaled[:, :2].floor().clamp(0, self.grid - 1)  # column, row
        column, row = corner.long().unbind(1)
        sizes = scaled[:, 2:] / self._size_unit
        return row * self.grid + column, torch.cat([scaled[:, :2] - corner, sizes], dim=1)

    def decode(self, codes: Float[Tensor, "*b s s k 4"]) -> Float[Tensor, "*b s s k 4"]:
        """The xyxy boxes in px of the k codes of every cell; a negative size is taken as 0."""
        centres = codes[..., :2] + self._corners(codes)
        height, width = self._cell_hw
        in_cells = self.to_corners(torch.cat([centres, codes[..., 2:]], dim=-1))
        return _scale(in_cells, width, height)

    def to_corners(self, codes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
        """xyxy in cells, from the corner of the code's own cell: enough to compare two by IoU."""
        sizes = codes[..., 2:].clamp(min=0) * self._size_unit
        return box_convert(torch.cat([codes[..., :2], sizes], dim=-1), "cxcywh", "xyxy")

    @property
    def _size_unit(self) -> int:
        """Length, in cells, of what w and h are measured by."""
        return 1 if self.size_units == "cell" else self.grid

    @property
    def _cell_hw(self) -> tuple[float, float]:
        """Height and width of a cell, px."""
        return self.image_hw[0] / self.grid, self.image_hw[1] / self.grid

    def _corners(self, like: Tensor) -> Float[Tensor, "s s 1 2"]:
        """Column and row of every cell."""
        steps = torch.arange(self.grid, device=like.device, dtype=like.dtype)
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        return torch.stack([columns, rows], dim=-1).unsqueeze(2)


def first_in_cell(
    cells: Int[Tensor, " n"], eligible: Bool[Tensor, " n"], num_cells: int
) -> Bool[Tensor, " n"]:
    """Which objects hold their cell: the first eligible one of each. No loop, no host sync.

    cells [4, 4, 7], eligible [False, True, True] -> [False, True, True].
    """
    order = torch.arange(len(cells), device=cells.device)
    nobody = len(cells)
    claims = order.masked_fill(~eligible, nobody)
    holder = order.new_full((num_cells,), nobody).scatter_reduce(0, cells, claims, "amin")
    return holder[cells] == order


def _scale(boxes: Float[Tensor, "*n 4"], x: float, y: float) -> Float[Tensor, "*n 4"]:
    """By numbers, not by a tensor of them: moving that to the device would wait for the device."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1 * x, y1 * y, x2 * x, y2 * y], dim=-1)
