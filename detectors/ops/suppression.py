"""Non-maximum suppression: one object, shared by all families."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import batched_nms


@dataclass(frozen=True, slots=True)
class Suppression:
    """Keeps the best of each group of overlapping boxes.

    `score_floor`: boxes must score above it. `iou_threshold`: a box overlapping a better one by
    more than this share of their union is a duplicate. `max_detections` are kept per image. With
    `class_aware`, boxes of different classes never suppress each other.
    """

    score_floor: float
    iou_threshold: float
    max_detections: int
    class_aware: bool = True

    def __call__(
        self,
        boxes: Float[Tensor, "m 4"],
        scores: Float[Tensor, " m"],
        labels: Int[Tensor, " m"],
    ) -> Int[Tensor, " kept"]:
        """The rows to keep of one image, best first; equal scores keep the order of the input."""
        above = torch.nonzero(scores > self.score_floor)[:, 0]
        if len(above) == 0:
            return above
        kept = above[self._suppress(boxes[above], scores[above], labels[above])]
        kept = kept.sort().values  # batched_nms may order ties at will
        best_first = scores[kept].argsort(descending=True, stable=True)
        return kept[best_first][: self.max_detections]

    def _suppress(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """batched_nms tells classes apart by shifting boxes by label * (largest coordinate + 1).

        That needs coordinates >= 0 and, with many classes, more than float32's digits to keep the
        IoU.
        """
        shifted = boxes - boxes.amin()
        if boxes.device.type != "mps":  # which has no float64
            shifted, scores = shifted.double(), scores.double()
        groups = labels if self.class_aware else torch.zeros_like(labels)
        return batched_nms(shifted, scores, groups, self.iou_threshold)
