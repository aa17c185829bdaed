"""Region proposals: the best boxes of a dense prediction, duplicates removed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from detectors.ops.coders import AnchorCoder
from detectors.ops.suppression import Suppression

LARGEST_GROWTH = math.log(1000 / 16)
"""A code never makes a side more than 62.5 times its prior's: 16 px to 1000 px."""


@dataclass(frozen=True, slots=True)
class ProposalFilter:
    """Per level the `pre_nms` best, then suppression within the level, then the `post_nms` best.

    `nms_iou`: above this overlap, the lower-scored of two is a duplicate. `min_side`: px of the
    input; boxes with a shorter side (inside the image) are dropped.

    Paper: Ren et al. 2015, section 3.3; per level as torchvision does.
    """

    pre_nms: int
    nms_iou: float
    post_nms: int
    min_side: float

    def __call__(
        self,
        scores: Float[Tensor, "b a"],
        codes: Float[Tensor, "b a 4"],
        anchors: Float[Tensor, "a 4"],
        per_level: Sequence[int],
        image_hw: tuple[int, int],
    ) -> list[Float[Tensor, "_ 4"]]:
        """Per image at most `post_nms` boxes, best first, xyxy in px, clipped to the image.

        `codes` are relative to the anchors, of which the levels have `per_level`. The gradient of a
        box reaches its code, the choice of the boxes has none.
        """
        chosen, level = self._best(scores.detach(), per_level)
        boxes = decode_limited(
            AnchorCoder(1.0, 1.0),
            codes.gather(1, chosen[..., None].expand(-1, -1, 4)),
            anchors[chosen],
        )
        boxes = clip_boxes_to_image(boxes, image_hw)
        per_image = zip(boxes, scores.detach().gather(1, chosen), strict=True)
        return [self._distinct(*image, level) for image in per_image]

    def _best(
        self, scores: Float[Tensor, "b a"], per_level: Sequence[int]
    ) -> tuple[Int[Tensor, "b p"], Int[Tensor, " p"]]:
        """The anchors of the best scores of each level, and the level of each."""
        chosen, levels, start = [], [], 0
        for level, part in enumerate(scores.split(list(per_level), dim=1)):
            index = part.topk(min(self.pre_nms, part.shape[1]), dim=1).indices
            chosen.append(index + start)
            levels.append(torch.full_like(index[0], level))
            start += part.shape[1]
        return torch.cat(chosen, dim=1), torch.cat(levels)

    def _distinct(
        self, boxes: Float[Tensor, "p 4"], scores: Float[Tensor, " p"], level: Int[Tensor, " p"]
    ) -> Float[Tensor, "_ 4"]:
        constant = boxes.detach()
        large = (constant[:, 2:] - constant[:, :2] >= self.min_side).all(dim=1)
        suppression = Suppression(-math.inf, self.nms_iou, self.post_nms)
        kept = suppression(constant, scores.masked_fill(~large, -math.inf), level)
        return boxes[kept]


def decode_limited(
    coder: AnchorCoder, codes: Float[Tensor, "*b a 4"], anchors: Float[Tensor, "*#b a 4"]
) -> Float[Tensor, "*b a 4"]:
    """The boxes of codes whose growth is limited to `LARGEST_GROWTH`: exp() stays finite."""
    centres, sizes = codes.split(2, dim=-1)
    limited = sizes.clamp(max=LARGEST_GROWTH / coder.size_variance)
    return coder.decode(torch.cat([centres, limited], dim=-1), anchors)
