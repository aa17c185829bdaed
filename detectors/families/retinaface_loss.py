"""RetinaFace's raw output and its multi-task loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from detectors.errors import ConfigError
from detectors.ops.boxes import paired_iou
from detectors.ops.coders import AnchorCoder
from detectors.ops.matchers import OverlapMatcher
from detectors.ops.samplers import HardNegatives
from detectors.structures import POSITIVE, Losses, Target


@dataclass(slots=True)
class RetinaFaceRaw:
    """What the network says of every anchor (xyxy, px of an image of `image_hw`).

    `class_logits`: background first. `box_codes`, `point_codes`: as `AnchorCoder` does.
    """

    class_logits: Float[Tensor, "b a c1"]
    box_codes: Float[Tensor, "b a 4"]
    point_codes: Float[Tensor, "b a k 2"]
    anchors: Float[Tensor, "a 4"]
    image_hw: tuple[int, int]


@dataclass(slots=True)
class Goals:
    """What every anchor should say; `boxes` of anchors that are not positive are the anchors.

    `role`: as in a `Match`. `classes`: 0 is background. `known`: points that are labelled.
    `lost`: objects without an anchor.
    """

    role: Int[Tensor, "b a"]
    classes: Int[Tensor, "b a"]
    boxes: Float[Tensor, "b a 4"]
    points: Float[Tensor, "b a k 2"]
    known: Bool[Tensor, "b a k"]
    lost: Int[Tensor, ""]


@torch.no_grad()
def set_goals(
    anchors: Float[Tensor, "a 4"],
    targets: Sequence[Target],
    num_points: int,
    matcher: OverlapMatcher,
) -> Goals:
    """Matches image by image, and looks the objects up for the whole batch at once."""
    matches = [matcher(anchors, target) for target in targets]
    role = torch.stack([match.role for match in matches])
    positive = role == POSITIVE
    nobody = sum(map(len, targets))  # one row more, so that there is always one to look up
    first = [sum(map(len, targets[:i])) for i in range(len(targets))]
    row = torch.stack([m.gt_index + offset for m, offset in zip(matches, first, strict=True)])
    row = torch.where(positive, row, nobody)
    labels = _with_empty_row([target.labels.long() for target in targets])
    boxes = _with_empty_row([target.boxes for target in targets])
    keypoints = _with_empty_row([_keypoints(target, num_points) for target in targets])
    ignored = _with_empty_row([target.crowd | target.difficult for target in targets])
    served = torch.zeros_like(ignored).index_fill(0, row.flatten(), True)
    return Goals(
        role=role,
        classes=torch.where(positive, labels[row] + 1, 0),
        boxes=torch.where(positive[..., None], boxes[row], anchors),
        points=keypoints[row][..., :2],
        known=keypoints[row][..., 2] > 0,
        lost=(~served & ~ignored)[:nobody].sum(),
    )


class RetinaFaceLoss:
    """Terms `class`, `box`, `points`, unweighted; the same ones whatever the number of points.

    - `class`: cross-entropy of the positives and the mined negatives, over the number of positives
      (as `HardNegatives.count`s them).
    - `box`: smooth L1 of the four codes of the positives, over their number.
    - `points`: smooth L1 of the codes of labelled points, over the number of positives with any.

    Smooth L1 turns from a parabola to a line at `beta`, in codes: at 1, the reference's, an error
    of a twentieth of an anchor's side has half the gradient that one of a tenth has.

    All numbers are those of the batch on this device: data-parallel ranks with different numbers of
    objects weigh each object a little differently.

    Paper: RetinaFace (Deng et al. 2019), equation 1 without the dense branch.
    Differs: the PyTorch reference's numbers; points are labelled one by one, not all or none.
    """

    def __init__(
        self,
        *,
        coder: AnchorCoder,
        matcher: OverlapMatcher,
        negatives: HardNegatives,
        beta: float = 1.0,
    ) -> None:
        self.coder = coder
        self.matcher = matcher
        self.negatives = negatives
        self.beta = beta

    def __call__(self, raw: RetinaFaceRaw, targets: Sequence[Target]) -> Losses:
        """Stats: `positives` per image, their mean `iou`, and `objects_lost` without an anchor."""
        goals = set_goals(raw.anchors, targets, raw.point_codes.shape[2], self.matcher)
        positive = goals.role == POSITIVE
        entropy = F.cross_entropy(
            raw.class_logits.flatten(0, 1), goals.classes.flatten(), reduction="none"
        ).view_as(positive)
        counted = positive | self.negatives(goals.role, entropy)
        box_error = F.smooth_l1_loss(
            raw.box_codes,
            self.coder.encode(goals.boxes, raw.anchors).to(raw.box_codes),
            reduction="none",
            beta=self.beta,
        ).sum(-1)
        point_error = F.smooth_l1_loss(
            raw.point_codes,
            self.coder.encode_points(goals.points, raw.anchors).to(raw.point_codes),
            reduction="none",
            beta=self.beta,
        ).sum(-1)
        terms = {
            "class": _mean(entropy * counted, self.negatives.count(goals.role)),
            "box": _mean(box_error * positive, positive),
            "points": _mean(point_error * goals.known, goals.known.any(-1)),
        }
        return Losses(terms=terms, stats=self._stats(raw, goals, positive))

    @torch.no_grad()
    def _stats(
        self, raw: RetinaFaceRaw, goals: Goals, positive: Bool[Tensor, "b a"]
    ) -> dict[str, Tensor]:
        iou = paired_iou(self.coder.decode(raw.box_codes, raw.anchors), goals.boxes)
        return {
            "positives": positive.sum() / len(positive),
            "iou": _mean(iou * positive, positive),
            "objects_lost": goals.lost.to(iou),
        }


def _mean(values: Float[Tensor, "*n"], count: Tensor) -> Float[Tensor, ""]:
    """Sum over the sum of `count`, at least 1."""
    return values.sum() / count.sum().clamp(min=1)


def _with_empty_row(parts: Sequence[Tensor]) -> Tensor:
    rows = torch.cat([*parts])
    return torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])])


def _keypoints(target: Target, num_points: int) -> Float[Tensor, "n k 3"]:
    """All unlabelled where the detector predicts none or the target has none."""
    if num_points == 0 or target.keypoints is None:
        return target.boxes.new_zeros(len(target), num_points, 3)
    if target.keypoints.shape[1] != num_points:
        raise ConfigError(
            f"objects have {target.keypoints.shape[1]} keypoints and the detector predicts "
            f"{num_points}: set detector.net.num_points to the dataset's number, or 0"
        )
    return target.keypoints
