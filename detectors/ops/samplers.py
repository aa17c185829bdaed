"""Which anchors take part in the classification loss."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detectors.structures import NEGATIVE, POSITIVE


@dataclass(frozen=True, slots=True)
class HardNegatives:
    """Of the negatives of each image, the `ratio` x positives with the highest loss.

    An image without positives counts as one with `empty_counts_as`: 1, or 0 as in RetinaFace's
    PyTorch reference, which then never learns what an empty scene looks like.

    Paper: SSD (Liu et al. 2016), section 2.2, there with ratio 3; 7 is the reference's.
    """

    ratio: int = 7
    empty_counts_as: int = 1

    def __call__(self, role: Int[Tensor, "b a"], loss: Float[Tensor, "b a"]) -> Bool[Tensor, "b a"]:
        """The chosen negatives, of equal losses the first; `loss` is that of the classification."""
        candidate = role == NEGATIVE
        hardness = loss.detach().masked_fill(~candidate, -torch.inf)
        order = hardness.argsort(dim=1, descending=True, stable=True)
        ranks = torch.arange(role.shape[1], device=role.device).expand_as(order)
        rank = torch.empty_like(order).scatter_(1, order, ranks)
        return candidate & (rank < self.ratio * self.count(role)[:, None])

    def count(self, role: Int[Tensor, "b a"]) -> Int[Tensor, " b"]:
        """Positives per image, as they count here and in the mean of the loss."""
        positives = (role == POSITIVE).sum(dim=1)
        return torch.where(positives > 0, positives, self.empty_counts_as)
