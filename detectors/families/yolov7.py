"""YOLOv7, YOLOv7-tiny and YOLOv7-TinyObject: anchors in the cells of three maps."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from detectors.backbones.backbone import Backbone
from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.families.yolov7_loss import YOLOv7Loss
from detectors.families.yolov7_raw import Level, YOLOv7Raw, side_by_side
from detectors.families.yolov7_weights import load_reference
from detectors.heads.dense import ImplicitDenseHead
from detectors.necks.neck import Neck
from detectors.ops.anchors import CentredAnchors
from detectors.ops.suppression import Suppression
from detectors.structures import Detections, Frame, Losses, Target


class YOLOv7(Detector[YOLOv7Raw]):
    """YOLOv7: Trainable bag-of-freebies sets new state-of-the-art for real-time object detectors.

    Args:
        neck: a partial, completed with the backbone's `in_channels` and `strides`.
        anchors: as many (w, h) on each level, px of the input.
        criterion: the loss; its coder is that of `decode`.
        pre_nms: best-scored (prior, class) pairs per image that suppression looks at.
        implicit: learned offsets and factors around the head's convolutions.
        weights: null, or the path of a state dict of the reference's yolov7.pt or yolov7-tiny.pt
            (their model pickled whole has to be saved as `model.state_dict()` first). Another
            number of classes leaves the head fresh; the log says so.

    Paper: Wang et al. 2022; yolov7-tinyobject.txt adds squeeze-and-excitation (the backbone's and
    the neck's `attention_points`) and NWD (`criterion.iou_ratio`).
    Differs: a score is objectness x class probability, and with one class objectness alone, as in
    the reference, whose class output is not trained then.
    """

    size_divisor = 32

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Callable[..., Neck],
        anchors: CentredAnchors,
        criterion: YOLOv7Loss,
        suppression: Suppression,
        num_classes: int,
        pre_nms: int = 1000,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.pre_nms = pre_nms
        self.anchors = anchors
        self.criterion = criterion
        self.suppression = suppression
        self.backbone = backbone
        self.neck = neck(in_channels=backbone.channels, strides=backbone.strides)
        _check_levels(self.neck, anchors)
        self.head = ImplicitDenseHead(
            in_channels=self.neck.channels, per_cell=anchors.per_cell, outputs=5 + num_classes
        )
        self._set_biases()
        if weights is not None:
            load_reference(self, weights)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> YOLOv7Raw:
        """Logits of every prior, in float32 or better also under autocast."""
        self.check_size(images)
        pixels = images.to(next(self.parameters()).dtype).contiguous(
            memory_format=torch.channels_last
        )
        features = self.neck(self.backbone(pixels / 255))
        height, width = images.shape[-2:]
        codes, objectness, class_logits = self.head(features).split([4, 1, self.num_classes], -1)
        levels = self._levels([(f.shape[-2], f.shape[-1]) for f in features])
        anchors, strides = self._priors(levels, images.device)
        outputs = codes, objectness[..., 0], class_logits
        return YOLOv7Raw(*outputs, anchors, strides, levels, (height, width))

    def loss(self, raw: YOLOv7Raw, targets: Sequence[Target]) -> Losses:
        """See `YOLOv7Loss`."""
        return self.criterion(raw, targets)

    def decode(self, raw: YOLOv7Raw, frames: Sequence[Frame]) -> list[Detections]:
        """The best priors of each class, duplicates suppressed, boxes clipped to the image.

        Boxes without area in the image are dropped.
        """
        scores = raw.objectness.sigmoid()[..., None]
        if self.num_classes > 1:
            scores = scores * raw.class_logits.sigmoid()
        flat = scores.flatten(1)
        best, pair = flat.topk(min(self.pre_nms, flat.shape[1]), dim=1)
        per_image = zip(best, pair, raw.codes, frames, strict=True)
        return [self._detections(raw, *image) for image in per_image]

    def encode(self, targets: Sequence[Target]) -> YOLOv7Raw:
        """The inverse of `decode`: the raw output, of an image just large enough, of the targets.

        Each object is said by its first candidate; one without any is missing.
        """
        objects = side_by_side(targets)
        raw = self._silent(targets)
        prior, near = self.criterion.candidates(raw.levels, objects)
        prior, near = prior.flatten(2), near.flatten(2)
        image, gt = (near.any(2) & objects.trained).nonzero().unbind(1)
        row = prior[image, gt, near.int().argmax(2)[image, gt]]
        boxes = objects.boxes[image, gt]
        raw.codes[image, row] = self.criterion.coder.encode(
            boxes, raw.anchors[row], raw.strides[row]
        )
        raw.objectness[image, row] *= -1
        raw.class_logits[image, row, objects.labels[image, gt]] *= -1
        return raw

    def representable(self, target: Target) -> Bool[Tensor, " n"]:
        """Objects with an anchor of about their shape, and those that are ignored anyway."""
        levels = self._silent([target]).levels
        _, near = self.criterion.candidates(levels, side_by_side([target]))
        return near[0, : len(target)].flatten(1).any(1) | target.crowd | target.difficult

    def _levels(self, feature_hw: Sequence[tuple[int, int]]) -> list[Level]:
        sizes = [[_pair(size) for size in level] for level in self.anchors.sizes]
        maps = zip(feature_hw, self.neck.strides, sizes, strict=True)
        return [Level(rows, columns, stride, size) for (rows, columns), stride, size in maps]

    def _priors(
        self, levels: Sequence[Level], device: torch.device
    ) -> tuple[Float[Tensor, "a 4"], Float[Tensor, " a"]]:
        feature_hw = [(level.rows, level.columns) for level in levels]
        anchors = self.anchors(feature_hw, [level.stride for level in levels], device)
        strides = [
            torch.full((len(level),), float(level.stride), device=device) for level in levels
        ]
        return anchors, torch.cat(strides)

    def _silent(self, targets: Sequence[Target]) -> YOLOv7Raw:
        """Of the smallest image that shows all objects: nothing is there."""
        boxes = torch.cat([target.boxes for target in targets])
        corner = torch.cat([boxes[:, 2:], boxes.new_ones(1, 2)]).amax(0).tolist()
        width, height = (math.ceil(side / self.size_divisor) * self.size_divisor for side in corner)
        levels = self._levels([(height // s, width // s) for s in self.neck.strides])
        anchors, strides = self._priors(levels, boxes.device)
        images, priors = len(targets), len(anchors)
        never = boxes.new_full((images, priors, 1 + self.num_classes), -20.0)
        codes = boxes.new_zeros(images, priors, 4)
        outputs = codes, never[..., 0], never[..., 1:]
        return YOLOv7Raw(*outputs, anchors, strides, levels, (height, width))

    def _detections(
        self,
        raw: YOLOv7Raw,
        scores: Float[Tensor, " p"],
        pair: Int[Tensor, " p"],
        codes: Float[Tensor, "a 4"],
        frame: Frame,
    ) -> Detections:
        """Of one image; `pair` counts classes within priors."""
        prior, labels = pair // self.num_classes, pair % self.num_classes
        boxes = self.criterion.coder.decode(codes[prior], raw.anchors[prior], raw.strides[prior])
        boxes = clip_boxes_to_image(boxes, raw.image_hw)
        visible = (boxes[:, 2:] > boxes[:, :2]).all(-1)
        kept = self.suppression(boxes, scores * visible, labels)
        return Detections(boxes=boxes[kept], scores=scores[kept], labels=labels[kept], frame=frame)

    @torch.no_grad()
    def _set_biases(self) -> None:
        """Starts from 8 objects in an image of 640 px, and from 0.6 of the classes.

        Paper: focal loss (Lin et al. 2017), section 4.1; the numbers are YOLOv5's.
        """
        for layer, stride in zip(self.head.layers, self.neck.strides, strict=True):
            bias = layer.bias.view(-1, 5 + self.num_classes)  # pyright: ignore
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (self.num_classes - 0.99))


def _pair(size: object) -> tuple[float, float]:
    if isinstance(size, Sequence):
        width, height = size
        return float(width), float(height)
    raise ConfigError(f"detector.net.anchors.sizes holds {size}: give [width, height], px")


def _check_levels(neck: Neck, anchors: CentredAnchors) -> None:
    if len(neck.strides) != len(anchors.sizes):
        raise ConfigError(
            f"the neck {type(neck).__name__} gives maps at strides {neck.strides} and "
            f"detector.net.anchors.sizes has {len(anchors.sizes)} levels: give one per map"
        )
