"""RetinaFace with any number of points: one stage, anchors on a feature pyramid."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import clip_boxes_to_image

from detectors.backbones.backbone import Backbone
from detectors.checks import check_choice
from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.families.retinaface_loss import RetinaFaceLoss, RetinaFaceRaw, set_goals
from detectors.families.retinaface_weights import check_convention, load_reference
from detectors.heads.dense import DenseHead
from detectors.necks.neck import Neck
from detectors.ops.anchors import CentredAnchors
from detectors.ops.coders import AnchorCoder
from detectors.ops.matchers import OverlapMatcher
from detectors.ops.samplers import HardNegatives
from detectors.ops.suppression import Suppression
from detectors.structures import POSITIVE, Detections, Frame, Losses, Target

VISIBLE = 2.0
"""COCO's visibility of every predicted point."""

PIXELS = {
    "imagenet": ("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "reference": ("bgr", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0)),
}
"""Order, mean and standard deviation of the channels (of 0-255) as the network takes them."""


class RetinaFace(Detector[RetinaFaceRaw]):
    """RetinaFace: Single-stage Dense Face Localisation in the Wild (Deng et al. 2019).

    Args:
        neck: a partial, completed with the backbone's `in_channels` and `strides`.
        num_points: K, points per object; 0: boxes only, and the loss term `points` is 0.
        beta: where the losses of boxes and points turn from a parabola to a line, in codes.
        pre_nms: best-scored (anchor, class) pairs per image that suppression looks at.
        pixels: `imagenet` (RGB, unit variance: what published backbones were trained with) or
            `reference` (BGR less its mean).
        weights: null, or the path of a whole detector of the PyTorch reference, such as
            mobilenet0.25_Final.pth (one class, 5 points); it needs the reference's pixels and
            anchors. Heads of another number of classes or points stay fresh; the log says so.

    Paper: sections 3.1-3.3; mouse-retinaface.txt section 3.1 has 3 points (head, body, tail).
    Differs: the PyTorch reference's three levels in place of P2-P6 with deformable context.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Callable[..., Neck],
        anchors: CentredAnchors,
        coder: AnchorCoder,
        matcher: OverlapMatcher,
        negatives: HardNegatives,
        suppression: Suppression,
        num_classes: int,
        num_points: int,
        beta: float = 1.0,
        pre_nms: int = 1000,
        pixels: str = "imagenet",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("pixels", pixels, PIXELS)
        self.num_classes = num_classes
        self.num_points = num_points
        self.pre_nms = pre_nms
        self.anchors = anchors
        self.coder = coder
        self.suppression = suppression
        self.criterion = RetinaFaceLoss(
            coder=coder, matcher=matcher, negatives=negatives, beta=beta
        )
        self.backbone = backbone
        self.neck = neck(in_channels=backbone.channels, strides=backbone.strides)
        _check_levels(backbone, self.neck, anchors)
        self.class_head = self._head(num_classes + 1)
        self.box_head = self._head(4)
        self.point_head = self._head(2 * num_points) if num_points else None
        self.channel_order, mean, std = PIXELS[pixels]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        if weights is not None:
            check_convention(pixels, anchors.sizes)
            load_reference(self, weights)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> RetinaFaceRaw:
        """Logits and codes of every anchor, in float32 or better also under autocast."""
        pixels = images.flip(1) if self.channel_order == "bgr" else images
        # in this layout a CPU trains MobileNet 1.4 times as fast; the convolutions pass it on
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        pixels = (pixels.to(self.mean.dtype) - self.mean) / self.std
        features = self.neck(self.backbone(pixels))
        box_codes = self.box_head(features)
        if self.point_head is None:
            point_codes = box_codes.new_zeros(*box_codes.shape[:2], 0)
        else:
            point_codes = self.point_head(features)
        height, width = images.shape[-2:]
        return RetinaFaceRaw(
            class_logits=self.class_head(features),
            box_codes=box_codes,
            point_codes=point_codes.unflatten(-1, (self.num_points, 2)),
            anchors=self._anchors([tuple(f.shape[-2:]) for f in features], images.device),
            image_hw=(height, width),
        )

    def loss(self, raw: RetinaFaceRaw, targets: Sequence[Target]) -> Losses:
        """See `RetinaFaceLoss`."""
        return self.criterion(raw, targets)

    def decode(self, raw: RetinaFaceRaw, frames: Sequence[Frame]) -> list[Detections]:
        """The best anchors of each class, duplicates suppressed, boxes clipped, points not.

        Boxes without area in the image are dropped.
        """
        scores = raw.class_logits.softmax(-1)[..., 1:].flatten(1)  # (b, a c)
        best, pair = scores.topk(min(self.pre_nms, scores.shape[1]), dim=1)
        per_image = zip(best, pair, raw.box_codes, raw.point_codes, frames, strict=True)
        return [self._detections(raw, *image) for image in per_image]

    def encode(self, targets: Sequence[Target]) -> RetinaFaceRaw:
        """The inverse of `decode`: the raw output, of an image just large enough, of the targets.

        It holds the objects that have an anchor.
        """
        image_hw, anchors = self._around(targets)
        goals = set_goals(anchors, targets, self.num_points, self.criterion.matcher)
        certain = 20.0
        logits = F.one_hot(goals.classes, self.num_classes + 1) * certain
        return RetinaFaceRaw(
            class_logits=logits,
            box_codes=self.coder.encode(goals.boxes, anchors),
            point_codes=self.coder.encode_points(goals.points, anchors),
            anchors=anchors,
            image_hw=image_hw,
        )

    def representable(self, target: Target) -> Bool[Tensor, " n"]:
        """Objects that have an anchor, and those that are ignored anyway."""
        match = self.criterion.matcher(self._around([target])[1], target)
        served = match.gt_index[match.role == POSITIVE]
        ignored = target.crowd | target.difficult
        return ignored.index_fill(0, served, True)

    def _head(self, outputs: int) -> DenseHead:
        per_cell = self.anchors.per_cell
        return DenseHead(in_channels=self.neck.channels, per_cell=per_cell, outputs=outputs)

    def _anchors(
        self, feature_hw: Sequence[tuple[int, int]], device: torch.device
    ) -> Float[Tensor, "a 4"]:
        return self.anchors(feature_hw, self.neck.strides, device)

    def _around(self, targets: Sequence[Target]) -> tuple[tuple[int, int], Tensor]:
        """The smallest image that shows all objects, height and width, and its anchors."""
        boxes = torch.cat([target.boxes for target in targets])
        corners = torch.cat([boxes[:, 2:], boxes.new_ones(1, 2)])
        width, height = (int(side) for side in corners.amax(0).ceil())
        feature_hw = [(math.ceil(height / s), math.ceil(width / s)) for s in self.neck.strides]
        return (height, width), self._anchors(feature_hw, boxes.device)

    def _detections(
        self,
        raw: RetinaFaceRaw,
        scores: Float[Tensor, " p"],
        pair: Int[Tensor, " p"],
        box_codes: Float[Tensor, "a 4"],
        point_codes: Float[Tensor, "a k 2"],
        frame: Frame,
    ) -> Detections:
        """Of one image; `pair` counts classes within anchors."""
        anchor, labels = pair // self.num_classes, pair % self.num_classes
        boxes = self.coder.decode(box_codes[anchor], raw.anchors[anchor])
        boxes = clip_boxes_to_image(boxes, raw.image_hw)
        visible = (boxes[:, 2:] > boxes[:, :2]).all(-1)
        kept = self.suppression(boxes, scores * visible, labels)
        anchor = anchor[kept]
        keypoints = None
        if self.num_points:
            points = self.coder.decode_points(point_codes[anchor], raw.anchors[anchor])
            keypoints = F.pad(points, (0, 1), value=VISIBLE)
        return Detections(
            boxes=boxes[kept],
            scores=scores[kept],
            labels=labels[kept],
            frame=frame,
            keypoints=keypoints,
        )


def _check_levels(backbone: Backbone, neck: Neck, anchors: CentredAnchors) -> None:
    if len(neck.strides) != len(anchors.sizes):
        raise ConfigError(
            f"{type(backbone).__name__} with {type(neck).__name__} gives maps at strides "
            f"{neck.strides} and detector.net.anchors.sizes has {len(anchors.sizes)} levels: "
            "choose a backbone and a neck with a map per level, such as backbone=mobilenet025 or "
            "resnet50 and neck=retinaface_fpn_ssh"
        )
