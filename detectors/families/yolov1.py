"""YOLOv1: one network looks once at the whole image and fills an S x S grid."""

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from detectors.backbones.backbone import Backbone
from detectors.checks import check_choice
from detectors.detector import Detector
from detectors.families.yolov1_loss import YOLOv1Loss, YOLOv1Raw, place_on_grid
from detectors.ops.grid import GridCoder
from detectors.ops.suppression import Suppression
from detectors.structures import Detections, Frame, Losses, Target

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class YOLOv1(Detector[YOLOv1Raw]):
    """You Only Look Once: Unified, Real-Time Object Detection (Redmon et al. 2016).

    `head` is a partial, completed with `in_channels`, `feature_hw` and `out_features`. `grid` is S,
    `boxes_per_cell` is B. `input_hw` is the one size the network takes, height and width in px.
    `mean` and `std` are per RGB channel, of pixels scaled to 0-1. The other arguments are those of
    `GridCoder` (`size_units`) and `YOLOv1Loss`.

    Differs: the defaults follow yolov1-optimization.txt (w, h in cells); darknet's later yolov1.cfg
    is another network (3 boxes, a locally connected layer), so its public weights do not fit and
    there is no key map.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: Callable[..., nn.Module],
        suppression: Suppression,
        num_classes: int,
        grid: int = 7,
        boxes_per_cell: int = 2,
        input_hw: Sequence[int] = (448, 448),
        size_units: str = "cell",
        confidence_target: str = "iou",
        no_object_scope: str = "all_non_responsible",
        reduction: str = "sum",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        check_choice("size_units", size_units, ("cell", "image"))
        height, width = input_hw
        self.num_classes = num_classes
        self.grid = grid
        self.boxes_per_cell = boxes_per_cell
        self.input_hw = (height, width)
        self.backbone = backbone
        self.head = head(
            in_channels=backbone.channels[-1],
            feature_hw=_last_map_hw(backbone, self.input_hw),
            out_features=grid**2 * sum(self._cell_split),
        )
        self.suppression = suppression
        self.coder = GridCoder(grid=grid, image_hw=self.input_hw, size_units=size_units)
        self.criterion = YOLOv1Loss(
            coder=self.coder,
            confidence_target=confidence_target,
            no_object_scope=no_object_scope,
            reduction=reduction,
        )
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> YOLOv1Raw:
        """The grid's linear outputs, in float32 or better also under autocast."""
        self.check_size(images)
        pixels = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        return self._split(self.head(self.backbone(pixels)))

    def loss(self, raw: YOLOv1Raw, targets: Sequence[Target]) -> Losses:
        """See `YOLOv1Loss`."""
        return self.criterion(raw, targets)

    def decode(self, raw: YOLOv1Raw, frames: Sequence[Frame]) -> list[Detections]:
        """Every box of every cell with every class, scored confidence x class probability.

        Duplicates are suppressed per class. Confidence and probabilities are linear outputs: both
        are clamped to 0-1 first, or two negative ones would make a positive score. Boxes without
        area in the image are dropped.
        """
        boxes = clip_boxes_to_image(self.coder.decode(raw.boxes), self.coder.image_hw)
        visible = (boxes[..., 2:] > boxes[..., :2]).all(-1)
        confidence = raw.confidence.clamp(0, 1) * visible
        scores = confidence[..., None] * raw.class_scores.clamp(0, 1)[..., None, :]
        per_image = zip(boxes.flatten(1, 3), scores.flatten(1, 3), frames, strict=True)
        return [self._best(*image) for image in per_image]

    def encode(self, targets: Sequence[Target]) -> YOLOv1Raw:
        """The inverse of `decode`: the raw output of the targets that hold a cell."""
        objects = place_on_grid(targets, self.coder)
        held = objects.held.nonzero()[:, 0]
        cell = objects.cell[held]
        cells = len(targets) * self.grid**2
        class_scores = objects.code.new_zeros(cells, self.num_classes)
        class_scores[cell, objects.label[held].long()] = 1
        confidence = objects.code.new_zeros(cells, self.boxes_per_cell)
        confidence[cell, 0] = 1
        boxes = objects.code.new_zeros(cells, self.boxes_per_cell, 4)
        boxes[cell, 0] = objects.code[held]
        grid = (len(targets), self.grid, self.grid)
        return YOLOv1Raw(*(x.unflatten(0, grid) for x in (class_scores, confidence, boxes)))

    def representable(self, target: Target) -> Bool[Tensor, " n"]:
        """One object per cell: the first. Those that are ignored anyway take no place."""
        objects = place_on_grid([target], self.coder)
        return objects.held | objects.ignored

    @property
    def _cell_split(self) -> tuple[int, int]:
        """Numbers per cell: C class scores, then B times (confidence, x, y, w, h)."""
        return self.num_classes, 5 * self.boxes_per_cell

    def _split(self, flat: Float[Tensor, "b out"]) -> YOLOv1Raw:
        """The only place that knows the order of the head's outputs (report, section 4.3)."""
        wide = flat.to(torch.promote_types(flat.dtype, torch.float32))
        cells = wide.unflatten(1, (self.grid, self.grid, -1))
        class_scores, predictors = cells.split(self._cell_split, dim=-1)
        predictors = predictors.unflatten(-1, (self.boxes_per_cell, 5))
        return YOLOv1Raw(class_scores, predictors[..., 0], predictors[..., 1:])

    def _best(
        self, boxes: Float[Tensor, "p 4"], scores: Float[Tensor, "p c"], frame: Frame
    ) -> Detections:
        labels = torch.arange(self.num_classes, device=scores.device).repeat(len(scores))
        boxes = boxes.repeat_interleave(self.num_classes, dim=0)
        flat = scores.flatten()
        kept = self.suppression(boxes, flat, labels)
        return Detections(boxes=boxes[kept], scores=flat[kept], labels=labels[kept], frame=frame)


def _last_map_hw(backbone: Backbone, input_hw: tuple[int, int]) -> tuple[int, int]:
    """Size of the last feature map, from a forward on the meta device: no memory, no arithmetic."""
    tensors = chain(backbone.named_parameters(), backbone.named_buffers())
    meta = {name: tensor.to("meta") for name, tensor in tensors}
    images = torch.empty(2, 3, *input_hw, device="meta")
    features = torch.func.functional_call(backbone, meta, (images,))
    height, width = features[-1].shape[-2:]
    return height, width
