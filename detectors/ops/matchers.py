"""Which ground truth each anchor answers for."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from detectors.ops.boxes import share_inside
from detectors.structures import IGNORE, NEGATIVE, POSITIVE, Match, Target


@dataclass(frozen=True, slots=True)
class OverlapMatcher:
    """Anchors by their overlap with the objects; an object without any gets the best of the rest.

    1. An anchor is positive for the object it overlaps most, if their IoU is >= `positive_iou`.
    2. An object that has no anchor by rule 1 is given the one it overlaps most among those that
       are positive for nobody, if that IoU is >= `forced_iou`; else the object is not trained. Two
       that want the same anchor: the higher IoU wins.
    3. Crowd and difficult objects take no anchor. Those that are positive for nobody and overlap
       one by an IoU >= `forced_iou` (of a crowd: with that share of themselves) are ignored.
    4. All others are negative.

    Example with .35 and .2; columns are anchors, objects A and B real, D difficult:

        IoU    A: .60 .40 .10 .00 .00     roles  + + + i -
               B: .50 .10 .30 .00 .00     object A A B
               D: .00 .00 .00 .25 .10

    B overlaps anchor 0 well, but A does better; B is given anchor 2.

    Paper: SSD (Liu et al. 2016), section 2.2; thresholds of RetinaFace's PyTorch reference.
    Differs: there, every object takes its best anchor, also from an object that fits it better, and
    an object below `forced_iou` takes it too, as positive for the larger one it overlaps.
    """

    positive_iou: float = 0.35
    forced_iou: float = 0.2

    def __call__(self, anchors: Float[Tensor, "a 4"], target: Target) -> Match:
        """`anchors` are xyxy in px, as are the target's boxes. Without objects all are negative."""
        ignored = (target.crowd | target.difficult)[:, None]
        iou = box_iou(target.boxes, anchors)  # (n, a)
        owner = assign(iou.masked_fill(ignored, -1), self.positive_iou, self.forced_iou)
        share = torch.where(target.crowd[:, None], share_inside(iou, target.boxes, anchors), iou)
        near_ignored = (ignored & (share >= self.forced_iou)).any(dim=0)
        role = torch.where(near_ignored, IGNORE, NEGATIVE)
        return Match(gt_index=owner, role=torch.where(owner < len(target), POSITIVE, role))


def assign(overlap: Float[Tensor, "n a"], positive: float, forced: float) -> Int[Tensor, " a"]:
    """The object each anchor belongs to by rules 1 and 2 of `OverlapMatcher`; n: to none."""
    nobody = len(overlap)
    overlap = F.pad(overlap, (0, 0, 0, 1), value=-1.0)  # there is always one to compare with
    best, owner = overlap.max(dim=0)
    owner = torch.where(best >= positive, owner, nobody)
    served = torch.zeros_like(overlap[:, :1]).index_fill(0, owner, 1.0) > 0  # (n + 1, 1)
    left = overlap.masked_fill(served | (owner < nobody), -1.0)
    value, wanted = left.max(dim=1, keepdim=True)
    claim, claimant = torch.full_like(left, -1.0).scatter(1, wanted, value).max(dim=0)
    return torch.where(claim >= forced, claimant, owner)
