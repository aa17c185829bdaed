"""The second stage: features of each region of interest, then its class and its box."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align, roi_pool
from torchvision.ops.poolers import LevelMapper

from detectors.backbones.vgg16 import vgg16_weights
from detectors.ops.roi_sampling import sample_rois
from detectors.pretrained import load_matching

OPERATORS = ("pool", "align", "sample")


@dataclass(frozen=True, slots=True)
class RoIPooler:
    """`size` x `size` features of a box, from the level of a pyramid that suits its size.

    `operator`: `pool` (the maximum of each bin of whole cells), `align` (the mean of
    `sampling_ratio`² bilinear samples) or `sample` (the same numbers, with a gradient for the box).
    A box of `canonical_side` px (square root of its area) goes to the level of stride 16, one half
    as large to that of stride 8, and so on, as far as the `levels` finest levels reach.

    Paper: Girshick 2015, section 2.1 (pool); He et al. 2017, section 3 (align); Lin et al. 2017,
    equation 1 (levels). RoIAlign's positions are torchvision's with aligned=False.
    """

    operator: str = "align"
    size: int = 7
    sampling_ratio: int = 2
    canonical_side: float = 224.0
    levels: int = 4

    def __call__(
        self,
        features: Sequence[Float[Tensor, "b _ _ _"]],
        strides: Sequence[int],
        boxes: Float[Tensor, "r 4"],
        image: Int[Tensor, " r"],
    ) -> Float[Tensor, "r _ _ _"]:
        """`boxes` are xyxy in px, `image` their rows in the batch.

        In float32 or better, also under autocast. Every level takes part, if with no box.
        """
        levels = list(zip(features, strides, strict=True))[: self.levels]
        level = self._level(boxes.detach(), [stride for _, stride in levels])
        wide = torch.promote_types(features[0].dtype, torch.float32)
        shape = (len(boxes), features[0].shape[1], self.size, self.size)
        pooled = torch.zeros(shape, dtype=wide, device=boxes.device)
        for number, (map_, stride) in enumerate(levels):
            mine = (level == number).nonzero()[:, 0]
            part = self._pool(map_.to(wide), boxes[mine].to(wide), image[mine], 1 / stride)
            pooled.index_copy_(0, mine, part)  # in place: a copy per level costs a third more
        return pooled

    def _level(self, boxes: Float[Tensor, "r 4"], strides: Sequence[int]) -> Int[Tensor, " r"]:
        finest, coarsest = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
        mapper = LevelMapper(finest, coarsest, self.canonical_side, 4)  # pyright: ignore[reportArgumentType]
        return mapper([boxes])

    def _pool(self, features: Tensor, boxes: Tensor, image: Tensor, scale: float) -> Tensor:
        if self.operator == "sample":
            return sample_rois(features, boxes, image, self.size, scale, self.sampling_ratio)
        rois = torch.cat([image[:, None].to(boxes), boxes], dim=1)
        size = (self.size, self.size)
        if self.operator == "pool":
            return roi_pool(features, rois, size, scale)
        return roi_align(features, rois, size, scale, self.sampling_ratio)


class TwoFCHead(nn.Module):
    """Two fully connected layers with ReLU, then class logits and a box code per class.

    The configuration gives it as a partial; the family completes it with `in_features` and
    `num_classes`. `dropout` follows each ReLU. Logit 0 is the background, which has no box.
    `weights`: null, or as for the backbone `VGG16`; of the same file, its two hidden layers are
    taken, which fit with `hidden` 4096 on 7x7 features of its 512 channels.

    Paper: Girshick 2015, sections 2.2 and 4.1: the two new layers start at N(0, 0.01²) and
    N(0, 0.001²).
    """

    def __init__(
        self,
        *,
        in_features: int,
        num_classes: int,
        hidden: int = 1024,
        dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc6 = nn.Linear(in_features, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.class_logits = nn.Linear(hidden, num_classes + 1)
        self.box_codes = nn.Linear(hidden, 4 * num_classes)
        for layer, std in ((self.class_logits, 0.01), (self.box_codes, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        if weights is not None:
            layers = nn.ModuleDict({"0": self.fc6, "3": self.fc7})  # numbered as torchvision's
            classifier = vgg16_weights(weights, "classifier.", norm=False)
            own = {key.removeprefix("classifier."): tensor for key, tensor in classifier.items()}
            load_matching(layers, own, weights)

    def forward(
        self, pooled: Float[Tensor, "r _ _ _"]
    ) -> tuple[Float[Tensor, "r logits"], Float[Tensor, "r c 4"]]:
        """Logits (background first) and codes, in float32 or better, also under autocast."""
        hidden = self.dropout(F.relu(self.fc6(pooled.flatten(1))))
        hidden = self.dropout(F.relu(self.fc7(hidden)))
        logits, codes = self.class_logits(hidden), self.box_codes(hidden)
        wide = torch.promote_types(logits.dtype, torch.float32)
        return logits.to(wide), codes.to(wide).unflatten(1, (self.num_classes, 4))
