"""Faster R-CNN: a network proposes regions, a second stage on the same features names them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from detectors.backbones.backbone import Backbone
from detectors.checks import check_choice
from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.families.faster_rcnn_loss import FasterRCNNRaw, RoILoss, RPNLoss
from detectors.families.faster_rcnn_weights import load_torchvision
from detectors.freezing import freeze, hold
from detectors.heads.roi import OPERATORS, RoIPooler
from detectors.necks.neck import Neck
from detectors.ops.boxes import map_boxes
from detectors.ops.cell_anchors import CONVENTIONS, CellAnchors
from detectors.ops.proposals import ProposalFilter, decode_limited
from detectors.ops.suppression import Suppression
from detectors.structures import Detections, Frame, Losses, Target

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
REGIMES = ("approximate_joint", "joint")
SMALLEST_SIDE = 1e-2
"""px; detections that are thinner inside the image are dropped, as torchvision does."""


class FasterRCNN(Detector[FasterRCNNRaw]):
    """Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks (2015).

    Args:
        neck: null, or a partial, completed with the backbone's `in_channels` and `strides`.
        rpn: a partial, completed with `in_channels` and `per_cell`.
        head: a partial, completed with `in_features` and `num_classes`.
        train_proposals, test_proposals: the filters of `loss` and of `decode`.
        regime: where the second stage's loss goes. `approximate_joint`: proposals are constants of
            it; `joint`: it also moves the boxes of the proposals, through their coordinates, which
            needs `pooler.operator=sample`. The third, alternating, is several fits in a row.
        mean, std: per RGB channel, of pixels scaled to 0-1.
        frozen: names of modules that do not learn, such as `backbone`, or `backbone.net.layer1`;
            their batch norms keep their statistics.
        frozen_norms: no batch norm learns or updates its statistics.
        weights: null, `coco`, or the path of a file with torchvision's keys of
            fasterrcnn_resnet50_fpn; another number of classes leaves the last layers fresh.

    It is a `Proposer`.

    Paper: Ren et al. 2015. Layers that torchvision's model shares give its very numbers.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        anchors: CellAnchors,
        rpn: Callable[..., nn.Module],
        rpn_loss: RPNLoss,
        train_proposals: ProposalFilter,
        test_proposals: ProposalFilter,
        pooler: RoIPooler,
        head: Callable[..., nn.Module],
        roi_loss: RoILoss,
        suppression: Suppression,
        num_classes: int,
        neck: Callable[..., Neck] | None = None,
        regime: str = "approximate_joint",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        frozen: Sequence[str] = (),
        frozen_norms: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("anchors.convention", anchors.convention, CONVENTIONS)
        _check_regime(regime, pooler)
        self.num_classes, self.regime = num_classes, regime
        self.anchors, self.pooler, self.suppression = anchors, pooler, suppression
        self.train_proposals, self.test_proposals = train_proposals, test_proposals
        self.rpn_loss, self.roi_loss = rpn_loss, roi_loss
        self.given: Mapping[str, Tensor] | None = None
        self.backbone = backbone
        self.neck = neck and neck(in_channels=backbone.channels, strides=backbone.strides)
        pyramid = backbone if self.neck is None else self.neck
        channels = _one_depth(pyramid)
        self.strides = list(pyramid.strides)
        self.rpn = rpn(in_channels=channels, per_cell=anchors.per_cell)
        self.head = head(in_features=channels * pooler.size**2, num_classes=num_classes)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        if weights is not None:
            load_torchvision(self, weights)
        self._frozen = freeze(self, frozen, norms=frozen_norms)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> FasterRCNNRaw:
        """Features, and what the first stage says of every anchor."""
        hold(self._frozen)
        pixels = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        features = self.backbone(pixels)
        if self.neck is not None:
            features = self.neck(features)
        objectness, deltas, per_level = self.rpn(features)
        feature_hw = [(f.shape[-2], f.shape[-1]) for f in features]
        anchors = self.anchors(feature_hw, self.strides, images.device).to(deltas.dtype)
        height, width = images.shape[-2:]
        return FasterRCNNRaw(features, anchors, objectness, deltas, per_level, (height, width))

    def loss(self, raw: FasterRCNNRaw, targets: Sequence[Target]) -> Losses:
        """Stats: mean number of `proposals` per image, and share of `foreground` in the second."""
        terms = self.rpn_loss(raw, targets, self.anchors.per_cell)
        if self.given is not None and self.training:
            proposals = [self._given(target.frame, raw) for target in targets]
        else:
            proposals = self.propose(raw, self.train_proposals)
        rois = self.roi_loss.choose(proposals, targets)
        logits, codes = self._second_stage(raw, rois.boxes, rois.image)
        foreground = (rois.label > 0).sum() / max(len(rois.label), 1)
        count = sum(map(len, proposals)) / max(len(proposals), 1)
        return Losses(
            terms=terms | self.roi_loss(logits, codes, rois),
            stats={"proposals": raw.deltas.new_tensor(count), "foreground": foreground},
        )

    def decode(self, raw: FasterRCNNRaw, frames: Sequence[Frame]) -> list[Detections]:
        """Every proposal with every class, scored by its probability, suppressed per class.

        Boxes are clipped to the image; those without area in it are dropped.
        """
        proposals = self.propose(raw, self.test_proposals)
        counts = [len(boxes) for boxes in proposals]
        boxes = torch.cat(proposals)
        rows = torch.arange(len(counts), device=boxes.device)
        image = torch.cat([row.expand(count) for row, count in zip(rows, counts, strict=True)])
        logits, codes = self._second_stage(raw, boxes, image)
        boxes = decode_limited(self.roi_loss.coder, codes, boxes[:, None].expand_as(codes))
        boxes = clip_boxes_to_image(boxes, raw.image_hw)
        scores = logits.softmax(-1)[:, 1:]
        per_image = zip(boxes.split(counts), scores.split(counts), frames, strict=True)
        return [self._detections(*one) for one in per_image]

    def propose(self, raw: FasterRCNNRaw, choice: ProposalFilter) -> list[Float[Tensor, "_ 4"]]:
        """The proposals of each image, best first, xyxy in px of the input.

        They carry a gradient in the joint regime only.
        """
        deltas = raw.deltas if self.regime == "joint" else raw.deltas.detach()
        return choice(raw.objectness, deltas, raw.anchors, raw.per_level, raw.image_hw)

    def proposals_to_keep(self, raw: FasterRCNNRaw) -> list[Float[Tensor, "_ 4"]]:
        """As many as train the second stage, chosen among all anchors (py-faster-rcnn: 2000)."""
        every = replace(self.train_proposals, pre_nms=raw.objectness.shape[1])
        return self.propose(raw, every)

    def _given(self, frame: Frame, raw: FasterRCNNRaw) -> Float[Tensor, "_ 4"]:
        """The proposals that were made earlier, seen through the augmentation of this image."""
        assert self.given is not None
        boxes = map_boxes(self.given[frame.image_id].to(raw.deltas), frame.affine.to(raw.deltas))
        boxes = clip_boxes_to_image(boxes, raw.image_hw)
        return boxes[(boxes[:, 2:] - boxes[:, :2] >= self.train_proposals.min_side).all(1)]

    def _second_stage(
        self, raw: FasterRCNNRaw, boxes: Float[Tensor, "r 4"], image: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "r logits"], Float[Tensor, "r c 4"]]:
        return self.head(self.pooler(raw.features, self.strides, boxes, image))

    def _detections(
        self, boxes: Float[Tensor, "p c 4"], scores: Float[Tensor, "p c"], frame: Frame
    ) -> Detections:
        labels = torch.arange(self.num_classes, device=scores.device).repeat(len(scores))
        boxes, flat = boxes.flatten(0, 1), scores.flatten()
        visible = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(-1)
        kept = self.suppression(boxes, flat.masked_fill(~visible, -1.0), labels)
        return Detections(boxes=boxes[kept], scores=flat[kept], labels=labels[kept], frame=frame)


def _one_depth(pyramid: Backbone | Neck) -> int:
    """The channels of every level: one head serves them all."""
    channels = pyramid.channels
    if len(set(channels)) > 1:
        raise ConfigError(
            f"{type(pyramid).__name__} gives maps of {channels} channels and the RPN takes one "
            "depth: add neck=fpn, or choose backbone=resnet50_fpn or timm_fpn"
        )
    return channels[0]


def _check_regime(regime: str, pooler: RoIPooler) -> None:
    check_choice("regime", regime, REGIMES)
    check_choice("pooler.operator", pooler.operator, OPERATORS)
    if regime == "joint" and pooler.operator != "sample":
        raise ConfigError(
            f"regime=joint moves the proposals' boxes, for which pooler.operator={pooler.operator} "
            "has no gradient: set detector.net.pooler.operator=sample"
        )
