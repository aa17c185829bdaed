"""A fixed number of priors, with at most a share of positives among them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from detectors.structures import NEGATIVE, POSITIVE, Match


@dataclass(frozen=True, slots=True)
class BalancedSampler:
    """`size` priors of an image at random, without replacement; at most `positive_share` positive.

    Where positives are missing, negatives take their place; never the other way round.

    Paper: Ren et al. 2015, section 3.1.3 (256, one half); Fast R-CNN (Girshick 2015), section 2.3
    (one quarter).
    Differs: torchvision's sampler waits for the device four times per image; this one never does.
    """

    size: int
    positive_share: float

    def __call__(self, match: Match) -> Bool[Tensor, " a"]:
        """The chosen priors; the draw is that of torch's generator of their device."""
        order = torch.rand(match.role.shape, device=match.role.device)
        most = int(self.size * self.positive_share)
        positives = _first(order, match.role == POSITIVE, most, most)
        left = self.size - positives.sum()
        return positives | _first(order, match.role == NEGATIVE, self.size, left)


def _first(
    order: Tensor, candidate: Bool[Tensor, " a"], most: int, count: int | Int[Tensor, ""]
) -> Bool[Tensor, " a"]:
    """The `count` (<= `most`) candidates that stand first in `order` (0-1)."""
    never = 2.0
    value, index = order.masked_fill(~candidate, never).topk(min(most, len(order)), largest=False)
    wanted = (value < never) & (torch.arange(len(value), device=value.device) < count)
    return torch.zeros_like(candidate).scatter(0, index, wanted)
