"""Backbones: maps, channels, strides, groups, and the parameter counts of the papers."""

from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision.models import vgg16_bn

from detectors.backbones.darknet24 import Darknet24, group_count
from detectors.backbones.timm_pyramid import TimmPyramid
from detectors.backbones.vgg16 import VGG16
from detectors.errors import CheckpointError, ConfigError

VGG16BN = partial(VGG16, norm=True, last_pool=True)
SMALL_RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: Darknet24(width=0.125),
        lambda: Darknet24(width=0.125, norm="group", nominal_batch=8),
        lambda: VGG16BN(width=0.125),
        lambda: TimmPyramid(name="resnet152", model_args=SMALL_RESNET),
        lambda: TimmPyramid(name="test_resnet", out_indices=(2, 3, 4)),
        lambda: TimmPyramid(name="mobilenetv3_small_050"),
    ],
    ids=["darknet", "darknet group", "vgg", "resnet152", "pyramid", "mobilenet"],
)
def test_maps_have_the_channels_and_strides_the_backbone_says(backbone):
    net = backbone()
    features = net(torch.zeros(2, 3, 128, 192))
    assert [f.shape[1] for f in features] == list(net.channels)
    wanted = [(128 // s, 192 // s) for s in net.strides]
    assert [tuple(f.shape[2:]) for f in features] == wanted


def test_darknet24_has_24_convolutions_without_bias_and_the_papers_size():
    with torch.device("meta"):
        net = Darknet24()
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 24
    assert sum(c.weight.numel() for c in convolutions) == 60_142_784
    assert all(c.bias is None for c in convolutions)
    assert net(torch.empty(2, 3, 448, 448, device="meta"))[0].shape == (2, 1024, 7, 7)


@pytest.mark.parametrize(
    ("batch", "groups"),
    [
        (19, dict.fromkeys((64, 128, 192, 256, 512, 1024), 8)),
        (12, {64: 4, 128: 4, 192: 6, 256: 4, 512: 4, 1024: 4}),
        (16, dict.fromkeys((64, 128, 192, 256, 512, 1024), 8)),
        (64, dict.fromkeys((64, 128, 192, 256, 512, 1024), 32)),
        (1, dict.fromkeys((64, 192, 1024), 1)),
        (2, dict.fromkeys((64, 192, 1024), 1)),
    ],
)
def test_the_number_of_groups_is_the_largest_divisor_not_above_half_the_batch(batch, groups):
    assert {channels: group_count(channels, batch) for channels in groups} == groups


def test_every_norm_of_the_group_variant_is_set_by_its_channels():
    with torch.device("meta"):
        net = Darknet24(norm="group", nominal_batch=12)
    norms = [m for m in net.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 24
    assert {(n.num_channels, n.num_groups) for n in norms} == {
        *((64, 4), (192, 6), (128, 4), (256, 4), (512, 4), (1024, 4))
    }


def test_group_norm_takes_any_number_of_images_and_treats_each_alone():
    net = Darknet24(width=0.125, norm="group", nominal_batch=19).train()
    images = torch.rand(3, 3, 64, 64)
    together = net(images)[0]
    assert torch.allclose(net(images[1:2])[0], together[1:2], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "grup"}, "norm=grup .* did you mean group"),
        ({"norm": "group"}, "needs backbone.nominal_batch"),
    ],
)
def test_darknet_refuses_what_it_cannot_build(options, message):
    with pytest.raises(ConfigError, match=message):
        Darknet24(**options)


def test_imagenet_weights_of_darknet_do_not_exist():
    with pytest.raises(CheckpointError, match="no public ImageNet weights for Darknet24"):
        Darknet24(width=0.125, weights="imagenet")


def test_vgg_at_full_width_is_torchvisions():
    with torch.device("meta"):
        own, library = VGG16BN(), vgg16_bn(weights=None)
    shapes = {k: v.shape for k, v in own.state_dict().items()}
    assert shapes == {
        k: v.shape for k, v in library.state_dict().items() if k.startswith("features.")
    }


def test_resnet152_at_full_size_is_timms_without_its_classifier():
    with torch.device("meta"):
        own = TimmPyramid(name="resnet152.tv_in1k")
        library = timm.create_model("resnet152", num_classes=0)
    assert size(own) == size(library)
    assert (own.channels, own.strides) == ([2048], [32])


def test_an_unknown_timm_model_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"backbone.name=resnet18x .* did you mean resnet18\?"):
        TimmPyramid(name="resnet18x")


def test_an_argument_the_timm_model_does_not_know_is_refused():
    with pytest.raises(ConfigError, match=r"model_args .*channel_count"):
        TimmPyramid(name="resnet18", model_args={"channel_count": 3})
