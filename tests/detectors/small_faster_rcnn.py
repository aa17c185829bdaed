"""A Faster R-CNN of a few hundred weights, on one map of stride 8."""

from functools import partial

import torch
from torch import Tensor, nn

from detectors.backbones.backbone import Backbone
from detectors.families.faster_rcnn import FasterRCNN
from detectors.families.faster_rcnn_loss import RoILoss, RPNLoss
from detectors.heads.roi import RoIPooler, TwoFCHead
from detectors.heads.rpn import RPNHead
from detectors.ops.balanced_sampler import BalancedSampler
from detectors.ops.cell_anchors import CellAnchors
from detectors.ops.coders import AnchorCoder
from detectors.ops.proposals import ProposalFilter
from detectors.ops.suppression import Suppression
from detectors.ops.threshold_matcher import ThresholdMatcher


class Small(Backbone):
    """Two convolutions with a batch norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [6], [8]
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 5, 4, 2), nn.BatchNorm2d(6), nn.Tanh(), nn.Conv2d(6, 6, 3, 2, 1)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.net(images)]


def small_faster_rcnn(seed: int = 0, operator: str = "sample", **options) -> FasterRCNN:
    """Anchors of 16 and 32 px, 3 classes; weights large enough to tell anchors apart."""
    torch.manual_seed(seed)
    proposals = ProposalFilter(pre_nms=60, nms_iou=0.7, post_nms=24, min_side=1.0)
    settings = {
        "backbone": Small(),
        "anchors": CellAnchors([2, 4]),
        "rpn": RPNHead,
        "rpn_loss": rpn_loss(),
        "train_proposals": proposals,
        "test_proposals": proposals,
        "pooler": RoIPooler(operator=operator, size=3, levels=1),
        "head": partial(TwoFCHead, hidden=8),
        "roi_loss": roi_loss(),
        "suppression": Suppression(0.0, 0.5, 100),
        "num_classes": 3,
    }
    net = FasterRCNN(**(settings | options))
    for layer in (net.rpn.objectness, net.rpn.deltas, net.head.class_logits, net.head.box_codes):
        nn.init.normal_(layer.weight, std=0.2)
    return net


def rpn_loss(**options) -> RPNLoss:
    settings = {
        "matcher": ThresholdMatcher(0.7, 0.3, best_is_positive=True),
        "sampler": BalancedSampler(32, 0.5),
        "drop_cross_boundary": False,
    }
    return RPNLoss(**(settings | options))


def roi_loss(**options) -> RoILoss:
    settings = {
        "matcher": ThresholdMatcher(0.3, 0.3),
        "sampler": BalancedSampler(16, 0.5),
        "coder": AnchorCoder(0.1, 0.2),
    }
    return RoILoss(**(settings | options))
