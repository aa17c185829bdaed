"""The region proposal network's head: is there an object, and where exactly?"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class RPNHead(nn.Module):
    """A 3x3 convolution, then two 1x1 ones: objectness and box code of each anchor of each cell.

    One set of weights for all levels. The configuration gives it as a partial; the family completes
    it with `in_channels` and `per_cell`. `hidden`: channels between (paper: 512 on VGG16, 256 on
    ZF); null: as many as come in.

    Paper: Ren et al. 2015, section 3.1; new layers start at N(0, 0.01²).
    Differs: one logit per anchor in place of a softmax over two; the difference of the two is the
    one. torchvision's RPNHead knows no width of its own.
    """

    def __init__(self, *, in_channels: int, per_cell: int, hidden: int | None = None) -> None:
        super().__init__()
        width = hidden or in_channels
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.objectness = nn.Conv2d(width, per_cell, 1)
        self.deltas = nn.Conv2d(width, per_cell * 4, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> tuple[Float[Tensor, "b a"], Float[Tensor, "b a 4"], list[int]]:
        """Logits, codes, and the number of anchors of each level.

        Ordered by level, row, column, anchor; in float32 or better, also under autocast.
        """
        hidden = [F.relu(self.conv(x)) for x in features]
        objectness = [_per_anchor(self.objectness(x), 1) for x in hidden]
        deltas = [_per_anchor(self.deltas(x), 4) for x in hidden]
        per_level = [part.shape[1] for part in objectness]
        return torch.cat(objectness, dim=1)[..., 0], torch.cat(deltas, dim=1), per_level


def _per_anchor(x: Float[Tensor, "b _ h w"], numbers: int) -> Float[Tensor, "b a {numbers}"]:
    flat = x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)  # (b, h w anchors, numbers)
    return flat.to(torch.promote_types(flat.dtype, torch.float32))
