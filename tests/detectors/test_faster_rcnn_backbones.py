"""The backbones of Faster R-CNN: maps, sizes, and the networks they make at both scales."""

import pytest
import torch
from torch import nn
from torchvision.models import vgg16
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from detectors.backbones.vgg16 import VGG16
from detectors.backbones.zf import ZF
from detectors.detector import Detector
from detectors.errors import CheckpointError
from experiments import api
from tests.detectors.samples import target

BACKBONES = ("zf", "vgg16", "resnet50_c4", "resnet50_fpn", "timm_fpn")


def build(backbone: str, *overrides: str) -> Detector:
    return api.build_detector("detector=faster_rcnn", f"backbone={backbone}", *overrides)


def on_meta(backbone: str, *overrides: str) -> Detector:
    with torch.device("meta"):
        return build(backbone, *overrides)


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_zf_makes_the_notes_map_of_51_by_39_from_800_by_600_px():
    net = ZF(width=0.05)
    (features,) = net(torch.zeros(1, 3, 600, 800))
    assert features.shape[2:] == (39, 51)


def test_vgg_pools_four_times_and_is_torchvisions_up_to_conv5_3():
    with torch.device("meta"):
        own, library = VGG16(), vgg16(weights=None)
    shapes = {k: v.shape for k, v in own.state_dict().items()}
    features = {k: v.shape for k, v in library.state_dict().items() if k.startswith("features.")}
    assert shapes == features
    (features,) = VGG16(width=0.05)(torch.zeros(1, 3, 64, 96))
    assert features.shape[2:] == (4, 6)


def test_imagenet_weights_of_zf_do_not_exist():
    with pytest.raises(CheckpointError, match="no public ImageNet weights for ZF"):
        ZF(width=0.05, weights="imagenet")


@pytest.mark.parametrize("norm", ["local_response", "batch"])
def test_a_file_of_its_own_weights_is_loaded(norm, tmp_path):
    trained = ZF(width=0.05, norm=norm)
    torch.save(trained.state_dict(), tmp_path / "zf.pth")
    loaded = ZF(width=0.05, norm=norm, weights=str(tmp_path / "zf.pth"))
    assert torch.equal(loaded.layers[0].weight, trained.layers[0].weight)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_at_scale_nano_it_has_at_most_five_million_parameters_and_a_finite_loss(backbone):
    net = build(backbone)
    assert size(net) <= 5_000_000
    raw = net(torch.zeros(1, 3, 96, 128, dtype=torch.uint8))
    losses = net.loss(raw, [target([[10, 20, 60, 70]], image_hw=(96, 128))])
    assert all(term.isfinite() for term in losses.terms.values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_at_scale_paper_it_has_the_anchors_of_the_paper_or_of_torchvision(backbone):
    net = on_meta(backbone, "scale=paper")
    assert net.strides == ([4, 8, 16, 32, 64] if backbone.endswith("fpn") else [16])
    anchors = torch.cat([net.anchors.of_cell(stride).to("cpu") for stride in net.strides])
    areas = (anchors[:, 2:] - anchors[:, :2]).prod(1).sqrt()
    assert areas.min() == pytest.approx(32 if backbone.endswith("fpn") else 128, rel=0.05)
    assert areas.max() == pytest.approx(512, rel=0.05)


def test_at_scale_paper_the_pyramid_has_torchvisions_parameters_but_the_backgrounds_box():
    net = on_meta("resnet50_fpn", "scale=paper", "datamodule.info.class_names=[a,b,c]")
    with torch.device("meta"):
        library = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    assert size(library) - size(net) == 4 * (1024 + 1)


def test_vgg_has_the_papers_wide_rpn_and_zf_its_narrow_one():
    widths = {b: on_meta(b, "scale=paper").rpn.conv.out_channels for b in ("vgg16", "zf")}
    assert widths == {"vgg16": 512, "zf": 256}
