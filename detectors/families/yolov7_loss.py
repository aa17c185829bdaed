"""YOLOv7's loss, with the Wasserstein distance of YOLOv7-TinyObject beside the IoU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from detectors.checks import check_choice
from detectors.families.yolov7_assign import OTA, AnchorRatio, Assignment
from detectors.families.yolov7_raw import Level, Objects, YOLOv7Raw, side_by_side
from detectors.ops.boxes import normalized_wasserstein, paired_ciou
from detectors.ops.coders import CellCoder
from detectors.structures import Losses, Target

Candidates = Callable[
    [list[Level], Objects], tuple[Int[Tensor, "b g l m"], Bool[Tensor, "b g l m"]]
]


@dataclass(slots=True)
class Chosen:
    """The chosen slots of every level; where none is `positive`, the numbers mean nothing."""

    assigned: Assignment
    positive: Bool[Tensor, "b l m"]
    ciou: Float[Tensor, "b l m"]
    nwd: Float[Tensor, "b l m"]


class YOLOv7Loss:
    """Terms `box`, `objectness`, `class` of a batch of `nominal_batch` images; gains stand outside.

    - `box`: iou_ratio (1 - CIoU) + (1 - iou_ratio) (1 - NWD), the mean over the positives of each
      level, summed over the levels.
    - `objectness`: binary cross-entropy of every prior against the CIoU of its box (without
      gradient, at least 0) or 0, the mean over each level, times its `level_weights`, summed. With
      `objectness_target=mixed` NWD takes its share of the CIoU by iou_ratio, as the public script
      of the paper has it. Priors near crowd and difficult objects take no part.
    - `class`: binary cross-entropy, the mean over positives and classes of each level, summed; 0
      with a single class.

    `nwd_units`: NWD compares boxes in cells of their level (`cell`, as the paper's code calls it)
    or in px (`pixel`, as `nwd_constant` was chosen in its paper). In cells, 12.8 means 102 to 410
    px: a weak pull.

    Terms are means over the images times `nominal_batch`: with YOLOv7's 64, its learning rates hold
    for any batch. (It multiplies by the batch, and sums gradients up to 64 images.) The positives
    are those of this device: ranks with few objects weigh each of theirs more.

    Paper: Wang et al. 2022, reference code (ComputeLoss, ComputeLossOTA); yolov7-tinyobject.txt,
    section III-B.
    Differs: a prior that answers for several objects aims at the best of its CIoUs, where the
    reference keeps the last; validation uses the same assignment as training.
    """

    def __init__(
        self,
        *,
        assigner: AnchorRatio | OTA,
        coder: CellCoder,
        level_weights: Sequence[float | int] = (4.0, 1.0, 0.4),
        iou_ratio: float = 1.0,
        nwd_constant: float = 12.8,
        nwd_units: str = "cell",
        objectness_target: str = "iou",
        nominal_batch: int = 64,
    ) -> None:
        check_choice("nwd_units", nwd_units, ("cell", "pixel"))
        check_choice("objectness_target", objectness_target, ("iou", "mixed"))
        self.assigner = assigner
        self.coder = coder
        self.level_weights = list(level_weights)
        self.iou_ratio = iou_ratio
        self.nwd_constant = nwd_constant
        self.nwd_units = nwd_units
        self.objectness_target = objectness_target
        self.nominal_batch = nominal_batch

    def __call__(self, raw: YOLOv7Raw, targets: Sequence[Target]) -> Losses:
        """Stats: `positives` per image, and the mean `iou` (complete IoU) of their boxes."""
        objects = side_by_side(targets)
        chosen = self._chosen(raw, objects)
        similar = self._mixed(chosen.ciou, chosen.nwd)
        terms = {
            "box": _mean_per_level(1 - similar, chosen.positive).sum(),
            "objectness": self._objectness(raw, chosen, self._ignored(raw, objects)),
            "class": self._class(raw, objects, chosen),
        }
        count = chosen.positive.sum()
        stats = {
            "positives": count / len(targets),
            "iou": (chosen.ciou.detach() * chosen.positive).sum() / count.clamp(min=1),
        }
        return Losses({name: term * self.nominal_batch for name, term in terms.items()}, stats)

    @property
    def candidates(self) -> Candidates:
        """The priors near every object, as `AnchorRatio.candidates` finds them."""
        near = self.assigner.candidates if isinstance(self.assigner, OTA) else self.assigner
        return near.candidates

    def _chosen(self, raw: YOLOv7Raw, objects: Objects) -> Chosen:
        assigned = self.assigner(raw, objects)
        anchors, strides = raw.anchors[assigned.prior], raw.strides[assigned.prior]
        said = self.coder.decode(_rows(raw.codes, assigned.prior), anchors, strides)
        goal = _rows(objects.boxes, assigned.gt).to(said)
        goal = torch.where(assigned.positive[..., None], goal, anchors)  # an area, so no NaN
        unit = strides[..., None] if self.nwd_units == "cell" else 1.0
        nwd = normalized_wasserstein(said / unit, goal / unit, self.nwd_constant)
        return Chosen(assigned, assigned.positive, paired_ciou(said, goal), nwd)

    def _mixed(self, ciou: Tensor, nwd: Tensor) -> Tensor:
        return self.iou_ratio * ciou + (1 - self.iou_ratio) * nwd

    def _objectness(
        self, raw: YOLOv7Raw, chosen: Chosen, ignored: Bool[Tensor, "b a"]
    ) -> Float[Tensor, ""]:
        found = chosen.ciou.detach().clamp(min=0)
        if self.objectness_target == "mixed":
            found = self._mixed(found, chosen.nwd.detach())
        rows = chosen.assigned.prior.flatten(1)
        value = (found * chosen.positive).flatten(1)
        goal = torch.zeros_like(raw.objectness).scatter_reduce(1, rows, value, "amax")
        learned = ~ignored | _marked(rows, chosen.positive.flatten(1), raw.objectness)
        loss = F.binary_cross_entropy_with_logits(raw.objectness, goal, reduction="none") * learned
        sizes = [len(level) for level in raw.levels]
        levels = zip(self.level_weights, loss.split(sizes, 1), learned.split(sizes, 1), strict=True)
        return torch.stack([w * x.sum() / n.sum().clamp(min=1) for w, x, n in levels]).sum()

    def _class(self, raw: YOLOv7Raw, objects: Objects, chosen: Chosen) -> Float[Tensor, ""]:
        classes = raw.class_logits.shape[2]
        if classes == 1:
            return raw.class_logits.sum() * 0  # the same parameters take part, whatever the data
        logits = _rows(raw.class_logits, chosen.assigned.prior)  # (b, l, m, c)
        label = _rows(objects.labels[..., None], chosen.assigned.gt)
        goal = (label == torch.arange(classes, device=label.device)).to(logits)
        loss = F.binary_cross_entropy_with_logits(logits, goal, reduction="none").mean(-1)
        return _mean_per_level(loss, chosen.positive).sum()

    def _ignored(self, raw: YOLOv7Raw, objects: Objects) -> Bool[Tensor, "b a"]:
        """The candidates of crowd and difficult objects."""
        prior, near = self.candidates(raw.levels, objects)
        near = near & objects.ignored[:, :, None, None]
        return _marked(prior.flatten(1), near.flatten(1), raw.objectness)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x (b, a, n), index (b, l, m) -> (b, l, m, n)."""
    flat = index.flatten(1)[..., None].expand(-1, -1, x.shape[2])
    return x.gather(1, flat).view(*index.shape, x.shape[2])


def _marked(rows: Tensor, flags: Tensor, like: Float[Tensor, "b a"]) -> Bool[Tensor, "b a"]:
    """Whether any of a prior's entries is flagged."""
    return torch.zeros_like(like).scatter_reduce(1, rows, flags.to(like), "amax") > 0


def _mean_per_level(
    values: Float[Tensor, "b l m"], counted: Bool[Tensor, "b l m"]
) -> Float[Tensor, " l"]:
    return (values * counted).sum((0, 2)) / counted.sum((0, 2)).clamp(min=1)
