"""Sizes of YOLOv1's members: the report's at scale=paper, at most five million at nano."""

import pytest
import torch

from detectors.detector import Detector
from experiments import api

REPORT = {
    "darknet24": 271_716_734,
    "darknet24_gn": 271_716_734,
    "vgg16_bn": 140_291_582,
    "resnet152": 61_155_838,
}
"""Parameters at 448 px, S=7, B=2, C=20."""

CLASSES = "datamodule.info.class_names=[" + ",".join(f"c{i}" for i in range(20)) + "]"


def build(*overrides: str) -> Detector:
    """On the meta device: the shapes without the memory."""
    with torch.device("meta"):
        return api.build_detector("detector=yolov1", *overrides)


def size(net: Detector) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("backbone", REPORT)
def test_at_scale_paper_it_has_the_reports_number_of_parameters(backbone):
    net = build("scale=paper", f"backbone={backbone}", CLASSES)
    assert (net.input_hw, net.grid, net.boxes_per_cell) == ((448, 448), 7, 2)
    assert size(net) == REPORT[backbone]


@pytest.mark.parametrize("backbone", [*REPORT, "timm"])
def test_at_scale_nano_it_has_at_most_five_million(backbone):
    net = build("scale=nano", f"backbone={backbone}", CLASSES)
    assert size(net) <= 5_000_000


def test_any_timm_model_is_chosen_by_its_name():
    net = build("backbone=timm", "backbone.name=mobilenetv3_small_050")
    assert net.backbone.channels == [288]
