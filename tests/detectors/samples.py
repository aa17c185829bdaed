"""Small targets, frames and networks for the tests of detectors."""

from collections.abc import Sequence

import torch
from torch import nn

from detectors.backbones.backbone import Backbone
from detectors.backbones.mobilenet025 import MobileNet025
from detectors.families.retinaface import RetinaFace
from detectors.families.yolov1 import YOLOv1
from detectors.necks.ssh import FPNWithSSH
from detectors.ops.anchors import CentredAnchors
from detectors.ops.coders import AnchorCoder
from detectors.ops.matchers import OverlapMatcher
from detectors.ops.samplers import HardNegatives
from detectors.ops.suppression import Suppression
from detectors.structures import Frame, Target


def frame(image_hw: tuple[int, int] = (96, 96)) -> Frame:
    return Frame("image", image_hw, torch.eye(2, 3))


def target(
    boxes: Sequence[Sequence[float]] = (),
    labels: Sequence[int] | None = None,
    crowd: Sequence[bool] | None = None,
    difficult: Sequence[bool] | None = None,
    image_hw: tuple[int, int] = (96, 96),
    keypoints: Sequence[Sequence[Sequence[float]]] | None = None,
) -> Target:
    """xyxy boxes in input px; labels 0, no flags, no keypoints unless given."""
    n = len(boxes)
    tensor = torch.tensor(boxes, dtype=torch.float).reshape(n, 4)
    return Target(
        boxes=tensor,
        labels=torch.tensor([0] * n if labels is None else labels, dtype=torch.long),
        crowd=torch.tensor([False] * n if crowd is None else crowd, dtype=torch.bool),
        difficult=torch.tensor([False] * n if difficult is None else difficult, dtype=torch.bool),
        area=(tensor[:, 2:] - tensor[:, :2]).prod(1),
        frame=frame(image_hw),
        keypoints=None if keypoints is None else torch.tensor(keypoints, dtype=torch.float),
    )


def random_target(
    generator: torch.Generator, count: int, num_classes: int, image_hw: tuple[int, int]
) -> Target:
    """Boxes of 2 px to the whole image, some of them crowd or difficult."""
    height, width = image_hw
    limit = torch.tensor([width, height])
    size = 2 + torch.rand(count, 2, generator=generator) * (limit - 2)
    corner = torch.rand(count, 2, generator=generator) * (limit - size)
    flags = torch.rand(2, count, generator=generator) < 0.15
    return target(
        boxes=torch.cat([corner, corner + size], 1).tolist(),
        labels=torch.randint(num_classes, (count,), generator=generator).tolist(),
        crowd=flags[0].tolist(),
        difficult=flags[1].tolist(),
        image_hw=image_hw,
    )


class OnePixel(Backbone):
    """A backbone of one convolution: enough to hold a YOLOv1 together."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [4], [16]
        self.layer = nn.Conv2d(3, 4, 16, 16)

    def forward(self, images):
        return [self.layer(images)]


class OneLayer(nn.Module):
    """A head of one linear layer."""

    def __init__(self, *, in_channels: int, feature_hw: tuple[int, int], out_features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels * feature_hw[0] * feature_hw[1], out_features)

    def forward(self, features):
        return self.layer(features[-1].flatten(1))


def small_yolov1(**options) -> YOLOv1:
    """S=4, B=2, C=3 on 96 x 96 px unless said otherwise."""
    defaults = {
        "backbone": OnePixel(),
        "head": OneLayer,
        "suppression": Suppression(0.001, 0.5, 100),
        "num_classes": 3,
        "grid": 4,
        "input_hw": (96, 96),
    }
    return YOLOv1(**(defaults | options))


def small_retinaface(**options) -> RetinaFace:
    """MobileNet-0.25 with C=3, K=3 and anchors of 8 to 256 px unless said otherwise."""
    defaults = {
        "backbone": MobileNet025(),
        "neck": FPNWithSSH,
        "anchors": CentredAnchors([[8, 16], [32, 64], [128, 256]]),
        "coder": AnchorCoder(),
        "matcher": OverlapMatcher(),
        "negatives": HardNegatives(),
        "suppression": Suppression(0.001, 0.5, 100),
        "num_classes": 3,
        "num_points": 3,
    }
    return RetinaFace(**(defaults | options))
