"""A small YOLOv7, and raw outputs without a network."""

from functools import partial

import torch

from detectors.backbones.elan import ELANBackbone
from detectors.families.yolov7 import YOLOv7
from detectors.families.yolov7_assign import OTA, AnchorRatio
from detectors.families.yolov7_loss import YOLOv7Loss
from detectors.families.yolov7_raw import YOLOv7Raw
from detectors.necks.elan_pafpn import ELANPAFPN
from detectors.ops.anchors import CentredAnchors
from detectors.ops.coders import CellCoder
from detectors.ops.suppression import Suppression

SIZES = [
    [[6, 8], [18, 10], [14, 20]],
    [[36, 28], [18, 38], [36, 74]],
    [[72, 55], [96, 122], [230, 200]],
]


def criterion(assigner: AnchorRatio | OTA | None = None, **options) -> YOLOv7Loss:
    """By anchor ratio, of a nominal batch of 1, unless said otherwise."""
    assigner = assigner or AnchorRatio()
    return YOLOv7Loss(assigner=assigner, coder=CellCoder(), **({"nominal_batch": 1} | options))


def small_yolov7(num_classes: int = 3, loss: YOLOv7Loss | None = None, **options) -> YOLOv7:
    """An eighth as wide; anchors half as large as the paper's."""
    return YOLOv7(
        backbone=ELANBackbone(width=0.125, **options),
        neck=partial(ELANPAFPN, channels=16),
        anchors=CentredAnchors(SIZES),
        criterion=loss or criterion(),
        suppression=Suppression(0.001, 0.5, 100),
        num_classes=num_classes,
    )


def raw_output(
    image_hw: tuple[int, int], images: int = 2, classes: int = 3, seed: int = 0
) -> YOLOv7Raw:
    """Random logits that ask for a gradient, on maps of strides 8, 16 and 32."""
    generator = torch.Generator().manual_seed(seed)
    net = small_yolov7(classes)
    levels = net._levels([(image_hw[0] // s, image_hw[1] // s) for s in (8, 16, 32)])
    anchors, strides = net._priors(levels, torch.device("cpu"))
    outputs = torch.randn(images, len(anchors), 5 + classes, generator=generator)
    codes, objectness, logits = (
        part.contiguous().requires_grad_() for part in outputs.split([4, 1, classes], dim=-1)
    )
    return YOLOv7Raw(codes, objectness[..., 0], logits, anchors, strides, levels, image_hw)
