"""Positive, negative or neither, by two thresholds of the overlap."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from detectors.ops.boxes import share_inside
from detectors.structures import IGNORE, NEGATIVE, POSITIVE, Match, Target


@dataclass(frozen=True, slots=True)
class ThresholdMatcher:
    """A prior answers for the object it overlaps most.

    1. It is positive if that IoU is >= `positive_iou`.
    2. With `best_is_positive`, also if no other prior overlaps one of the objects more, however
       little it is; of several that do so equally, all.
    3. It is negative if the IoU is < `negative_iou`, and ignored in between.
    4. Crowd and difficult objects take no prior. A negative one that overlaps them by >=
       `negative_iou` (of a crowd: with that share of itself) is ignored.

    Example with .7 and .3; columns are priors, A and B objects, D difficult:

        IoU    A: .80 .60 .10 .00 .00     roles  + i + - i
               B: .00 .00 .20 .10 .00     object A . B . .
               D: .00 .00 .00 .20 .40

    Paper: Ren et al. 2015, section 3.1.2.
    Differs: torchvision's Matcher raises without objects, knows nothing of ignored ones, and lets
    an object that no prior overlaps take all of those that overlap nothing.
    """

    positive_iou: float
    negative_iou: float
    best_is_positive: bool = False

    def __call__(
        self,
        priors: Float[Tensor, "a 4"],
        target: Target,
        eligible: Bool[Tensor, " a"] | None = None,
    ) -> Match:
        """`priors` are xyxy in px, as are the target's boxes; those not `eligible` are ignored."""
        ignored = (target.crowd | target.difficult)[:, None]
        overlap = box_iou(target.boxes, priors).nan_to_num()  # (n, a); two empty boxes: 0
        if eligible is not None:
            overlap = overlap.masked_fill(~eligible, 0.0)
        iou = F.pad(overlap.masked_fill(ignored, 0.0), (0, 0, 0, 1))  # always one to compare with
        best, owner = iou.max(dim=0)
        positive = best >= self.positive_iou
        if self.best_is_positive:
            most = iou.amax(dim=1, keepdim=True) if len(priors) else iou.new_ones(len(iou), 1)
            positive = positive | ((iou == most) & (most > 0)).any(dim=0)
        role = torch.where(best < self.negative_iou, NEGATIVE, IGNORE)
        role = role.masked_fill(self._near_ignored(overlap, priors, target), IGNORE)
        role = role.masked_fill(positive, POSITIVE)
        if eligible is not None:
            role = role.masked_fill(~eligible, IGNORE)
        return Match(gt_index=owner, role=role)

    def _near_ignored(
        self, overlap: Float[Tensor, "n a"], priors: Float[Tensor, "a 4"], target: Target
    ) -> Bool[Tensor, " a"]:
        inside = share_inside(overlap, target.boxes, priors)
        share = torch.where(target.crowd[:, None], inside, overlap)
        return ((share >= self.negative_iou) & (target.crowd | target.difficult)[:, None]).any(0)
