"""The three heads of YOLOv1, as the report describes them."""

import torch
from torch import nn

from detectors.heads.whole_image import FullyConnected, PooledLinear, VGGClassifier

OPTIONS = {"in_channels": 6, "feature_hw": (3, 2), "out_features": 10}
FEATURES = [torch.rand(4, 3, 9, 9), torch.rand(4, 6, 3, 2)]


def kinds(module: nn.Module) -> list[str]:
    return [type(m).__name__ for m in module.modules() if not list(m.children())]


def test_the_fully_connected_head_has_the_layers_of_the_report_in_their_order():
    head = FullyConnected(**OPTIONS, hidden=5)
    assert kinds(head) == ["Flatten", "Linear", "Dropout", "LeakyReLU", "Linear"]
    assert head(FEATURES).shape == (4, 10)
    assert [m.negative_slope for m in head.modules() if isinstance(m, nn.LeakyReLU)] == [0.1]
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.5]


def test_the_pooled_head_is_one_linear_layer_on_the_mean_of_the_last_map():
    head = PooledLinear(**OPTIONS)
    linear = head.layers[-1]
    assert sum(p.numel() for p in head.parameters()) == 6 * 10 + 10
    assert torch.allclose(head(FEATURES), linear(FEATURES[-1].mean((2, 3))), atol=1e-6)


def test_the_vgg_head_keeps_two_hidden_layers_and_adds_a_linear_one():
    head = VGGClassifier(**OPTIONS, hidden=5)
    hidden = ["Linear", "ReLU", "Dropout"] * 2
    assert kinds(head) == ["AdaptiveAvgPool2d", *hidden, "Linear"]
    assert head.classifier[0].in_features == 6 * 7 * 7
    assert head(FEATURES).shape == (4, 10)


def test_dropout_acts_in_training_only():
    head = FullyConnected(**OPTIONS, hidden=50).eval()
    assert torch.equal(head(FEATURES), head(FEATURES))
    head.train()
    assert not torch.equal(head(FEATURES), head(FEATURES))
