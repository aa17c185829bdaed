"""The backbones of Faster R-CNN: maps, sizes, and the networks they make at both scales."""

import pytest
import torch
from torch import nn
from torchvision.models import vgg16
from torchvision.models.detection import (
    FasterRCNN,
    FasterRCNN_ResNet50_FPN_Weights,
    fasterrcnn_resnet50_fpn,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from detectors.backbones.vgg16 import VGG16
from detectors.backbones.zf import ZF
from detectors.detector import Detector
from detectors.errors import CheckpointError
from detectors.heads.roi import TwoFCHead
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
def test_at_scale_nano_it_is_small_and_a_training_step_moves_every_part(backbone):
    torch.manual_seed(0)
    net = build(backbone)
    assert size(net) <= 5_000_000
    images = torch.randint(256, (2, 3, 96, 128), dtype=torch.uint8)
    boxes = [[4, 4, 20, 20], [10, 20, 60, 70], [0, 0, 128, 96]]
    losses = net.loss(net(images), [target(boxes, image_hw=(96, 128))] * 2)
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.stack([*losses.terms.values()]).sum().backward()
    optimizer.step()
    after = dict(net.named_parameters())
    assert all(parameter.isfinite().all() for parameter in after.values())
    moved = {name.rsplit(".", 1)[0] for name in after if not torch.equal(after[name], before[name])}
    parts = {"rpn.conv", "rpn.objectness", "rpn.deltas", "head.fc6", "head.fc7"}
    assert moved >= parts | {"head.class_logits", "head.box_codes"}
    assert len([name for name in moved if name.startswith("backbone.")]) >= 5


@pytest.mark.parametrize(
    ("backbone", "cells"),
    [
        ("zf", [39 * 51]),
        ("vgg16", [37 * 50]),
        ("resnet50_c4", [38 * 50]),
        ("resnet50_fpn", [150 * 200, 75 * 100, 38 * 50, 19 * 25, 10 * 13]),
        ("timm_fpn", [150 * 200, 75 * 100, 38 * 50, 19 * 25, 10 * 13]),
    ],
)
def test_at_scale_paper_an_image_of_800_by_600_px_has_so_many_cells(backbone, cells):
    net = on_meta(backbone, "scale=paper")
    raw = net(torch.zeros(1, 3, 600, 800, dtype=torch.uint8, device="meta"))
    per_cell = 3 if backbone.endswith("fpn") else 9
    assert raw.per_level == [count * per_cell for count in cells]
    assert raw.anchors.shape == (sum(raw.per_level), 4)


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


def test_with_cocos_90_classes_it_has_the_41_755_286_parameters_that_torchvision_publishes():
    """Torchvision's frozen norms have no parameters, and its background has a box."""
    published = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["num_params"]
    classes = ",".join(f"c{i}" for i in range(90))
    net = on_meta("resnet50_fpn", "scale=paper", f"datamodule.info.class_names=[{classes}]")
    norms = sum(size(m) for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert size(net) - norms + 4 * (1024 + 1) == published == 41_755_286


def test_the_papers_network_has_the_parameters_of_one_built_of_torchvisions_parts():
    net = on_meta("vgg16", "experiment=faster_rcnn_voc", "scale=paper", "protocol.pretraining=null")
    with torch.device("meta"):
        features = vgg16(weights=None).features[:-1]
        features.out_channels = 512
        library = FasterRCNN(
            features,
            rpn_anchor_generator=AnchorGenerator(((128, 256, 512),), ((0.5, 1.0, 2.0),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
            box_head=TwoMLPHead(512 * 7 * 7, 4096),
            box_predictor=FastRCNNPredictor(4096, 21),
        )
    assert size(library) - size(net) == 4 * (4096 + 1)  # the background's box


def test_the_second_stage_takes_the_hidden_layers_of_vgg16(tmp_path):
    with torch.device("meta"):
        library = vgg16(weights=None)
    state = {k: torch.zeros(v.shape) for k, v in library.state_dict().items() if "6." not in k}
    state["classifier.0.bias"] += 1
    state["classifier.3.bias"] += 2
    torch.save(state, tmp_path / "vgg16.pth")
    head = TwoFCHead(
        in_features=512 * 7 * 7, num_classes=2, hidden=4096, weights=str(tmp_path / "vgg16.pth")
    )
    assert [head.fc6.bias.unique().item(), head.fc7.bias.unique().item()] == [1, 2]
    assert head.fc6.weight.abs().sum() == 0
    assert head.class_logits.weight.abs().sum() > 0


def test_new_layers_start_as_in_the_paper():
    """N(0, 0.01²), and N(0, 0.001²) where boxes are coded."""
    torch.manual_seed(0)
    net = build("zf")
    layers = (net.rpn.conv, net.rpn.objectness, net.rpn.deltas, net.head.class_logits)
    for layer, std in (*((layer, 0.01) for layer in layers), (net.head.box_codes, 0.001)):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.1)
        assert layer.weight.mean().abs() < std / 5
        assert layer.bias.abs().sum() == 0


def test_vgg_has_the_papers_wide_rpn_and_zf_its_narrow_one():
    widths = {b: on_meta(b, "scale=paper").rpn.conv.out_channels for b in ("vgg16", "zf")}
    assert widths == {"vgg16": 512, "zf": 256}
