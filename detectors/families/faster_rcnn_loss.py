"""Faster R-CNN's raw output, and the losses of its two stages."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from detectors.checks import check_choice
from detectors.ops.balanced_sampler import BalancedSampler
from detectors.ops.coders import AnchorCoder
from detectors.ops.threshold_matcher import ThresholdMatcher
from detectors.structures import POSITIVE, Match, Target


@dataclass(slots=True)
class FasterRCNNRaw:
    """What the first stage says; the second needs boxes, so `loss` and `decode` run it.

    `objectness` are logits and `deltas` codes relative to the `anchors` (xyxy, px of the input),
    which stand level by level, `per_level` of each. `features` are those of the second stage, too.
    """

    features: list[Float[Tensor, "b _ _ _"]]
    anchors: Float[Tensor, "a 4"]
    objectness: Float[Tensor, "b a"]
    deltas: Float[Tensor, "b a 4"]
    per_level: list[int]
    image_hw: tuple[int, int]


@dataclass(slots=True)
class RoIs:
    """The boxes of a batch that train the second stage.

    `image`: row in the batch. `label`: 0 background, else 1 + class. `goal`: the object's box,
    meaningless for background.
    """

    boxes: Float[Tensor, "r 4"]
    image: Int[Tensor, " r"]
    label: Int[Tensor, " r"]
    goal: Float[Tensor, "r 4"]


class RPNLoss:
    """Terms `rpn_objectness` and `rpn_box` of the anchors that matcher and sampler choose.

    - `drop_cross_boundary`: anchors that overlap the border of the image are not trained (paper),
      or all are (torchvision, and Lin et al. 2017 for pyramids).
    - `beta`: px of the code where smooth L1 turns from square to line; 0: plain L1. py-faster-rcnn
      and torchvision: 1/9; Girshick 2015, equation 3: 1.
    - `box_normaliser`: the sum over positive anchors is divided by the number of `sampled` anchors
      (code), of `locations` (paper: about 2400, with weight 10) or of `anchors` (the notes) of the
      batch.

    The objectness is averaged over the sampled anchors. Every divisor is that of the local batch.

    Paper: Ren et al. 2015, section 3.1.2, equation 1.
    """

    def __init__(
        self,
        *,
        matcher: ThresholdMatcher,
        sampler: BalancedSampler,
        beta: float = 1 / 9,
        box_normaliser: str = "sampled",
        drop_cross_boundary: bool = True,
    ) -> None:
        check_choice("box_normaliser", box_normaliser, ("sampled", "locations", "anchors"))
        self.matcher = matcher
        self.sampler = sampler
        self.beta = beta
        self.box_normaliser = box_normaliser
        self.drop_cross_boundary = drop_cross_boundary
        self.coder = AnchorCoder(1.0, 1.0)

    def __call__(
        self, raw: FasterRCNNRaw, targets: Sequence[Target], per_cell: int
    ) -> dict[str, Float[Tensor, ""]]:
        """`per_cell`: anchors per location."""
        eligible = inside(raw.anchors, raw.image_hw) if self.drop_cross_boundary else None
        matches = [self.matcher(raw.anchors, target, eligible) for target in targets]
        sampled = torch.stack([self.sampler(match) for match in matches])  # (b, a)
        positive = sampled & torch.stack([match.role == POSITIVE for match in matches])
        image, anchor = sampled.nonzero().unbind(1)
        goal = positive[image, anchor].to(raw.objectness)
        objectness = F.binary_cross_entropy_with_logits(
            raw.objectness[image, anchor], goal, reduction="sum"
        )
        boxes = torch.stack([_owned(t, m) for t, m in zip(targets, matches, strict=True)])
        image, anchor = positive.nonzero().unbind(1)
        codes = self.coder.encode(boxes[image, anchor].to(raw.deltas), raw.anchors[anchor])
        box = _smooth_l1(raw.deltas[image, anchor], codes, self.beta)
        count = sampled.sum().clamp(min=1)
        return {
            "rpn_objectness": objectness / count,
            "rpn_box": box / self._divisor(count, raw.objectness.numel(), per_cell),
        }

    def _divisor(self, sampled: Tensor, anchors: int, per_cell: int) -> Tensor | float:
        if self.box_normaliser == "sampled":
            return sampled
        return anchors / (per_cell if self.box_normaliser == "locations" else 1)


class RoILoss:
    """Terms `class` and `box` of the proposals that matcher and sampler choose.

    - `beta`: as for `RPNLoss`; 1 in the paper's code, 1/9 in torchvision.
    - `detach_goals`: the code of a goal relative to its proposal is a constant. Otherwise, in the
      joint regime, the box loss reaches the proposals through it as well.

    The objects themselves are among the proposals. Both sums are divided by the number of sampled
    proposals; only positive ones have a box term, that of their class.

    Paper: Girshick 2015, section 2.3, equation 1 with lambda = 1.
    """

    def __init__(
        self,
        *,
        matcher: ThresholdMatcher,
        sampler: BalancedSampler,
        coder: AnchorCoder,
        beta: float = 1.0,
        detach_goals: bool = True,
    ) -> None:
        self.matcher = matcher
        self.sampler = sampler
        self.coder = coder
        self.beta = beta
        self.detach_goals = detach_goals

    def choose(self, proposals: Sequence[Float[Tensor, "_ 4"]], targets: Sequence[Target]) -> RoIs:
        """The proposals to train on; an image without objects has background only."""
        chosen = [self._of_image(*pair) for pair in zip(proposals, targets, strict=True)]
        boxes, label, goal = (torch.cat(parts) for parts in zip(*chosen, strict=True))
        image = torch.cat([torch.full_like(c[1], row) for row, c in enumerate(chosen)])
        return RoIs(boxes=boxes, image=image, label=label, goal=goal)

    def __call__(
        self, logits: Float[Tensor, "r logits"], codes: Float[Tensor, "r c 4"], rois: RoIs
    ) -> dict[str, Float[Tensor, ""]]:
        """Without any proposal both are 0, with a gradient of 0."""
        count = max(len(rois.label), 1)
        positive = rois.label.nonzero()[:, 0]
        boxes = rois.boxes.detach() if self.detach_goals else rois.boxes
        goal = self.coder.encode(rois.goal[positive], boxes[positive])
        said = codes[positive, rois.label[positive] - 1]
        return {
            "class": F.cross_entropy(logits, rois.label, reduction="sum") / count,
            "box": _smooth_l1(said, goal, self.beta) / count,
        }

    def _of_image(
        self, proposals: Float[Tensor, "_ 4"], target: Target
    ) -> tuple[Tensor, Tensor, Tensor]:
        boxes = torch.cat([proposals, target.boxes.to(proposals)])
        match = self.matcher(boxes.detach(), target)
        kept = self.sampler(match).nonzero()[:, 0]
        labels = F.pad(target.labels.long() + 1, (0, 1))[match.gt_index]
        label = labels.masked_fill(match.role != POSITIVE, 0)
        return boxes[kept], label[kept], _owned(target, match).to(proposals)[kept]


def inside(boxes: Float[Tensor, "a 4"], image_hw: tuple[int, int]) -> Bool[Tensor, " a"]:
    """Which boxes lie within the image, borders included."""
    height, width = image_hw
    x1, y1, x2, y2 = boxes.unbind(1)
    return (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)


def _owned(target: Target, match: Match) -> Float[Tensor, "a 4"]:
    """The box of the object each prior is matched with; of nobody's, zeros."""
    return F.pad(target.boxes, (0, 0, 0, 1))[match.gt_index]


def _smooth_l1(said: Tensor, goal: Tensor, beta: float) -> Float[Tensor, ""]:
    return F.smooth_l1_loss(said, goal, beta=beta, reduction="sum")
