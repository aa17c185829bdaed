"""A head that says the same numbers of every anchor of every level."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DenseHead(nn.Module):
    """One 1x1 convolution per level, with its own weights -> `outputs` numbers per anchor.

    `in_channels` and `per_cell` (anchors in one cell) are those of the levels.
    """

    def __init__(
        self, *, in_channels: Sequence[int], per_cell: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.layers = nn.ModuleList(
            nn.Conv2d(c, count * outputs, 1) for c, count in zip(in_channels, per_cell, strict=True)
        )

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b a out"]:
        """Ordered by level, row, column, anchor; in float32 or better, also under autocast."""
        levels = [
            layer(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.outputs)  # (b, h w anchors, out)
            for layer, x in zip(self.layers, features, strict=True)
        ]
        flat = torch.cat(levels, dim=1)
        return flat.to(torch.promote_types(flat.dtype, torch.float32))
