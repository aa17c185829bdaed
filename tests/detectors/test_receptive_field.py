"""Receptive fields: the published numbers, by formula and by asking the gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs

from detectors.backbones.backbone import Backbone
from detectors.backbones.timm_pyramid import TimmPyramid
from detectors.backbones.vgg16 import VGG16
from detectors.backbones.zf import ZF
from detectors.heads.rpn import RPNHead
from detectors.ops.receptive_field import Field, Window, fields_of

VGG = [Window(2, 2) if layer == "M" else Window(3, 1, 1) for layer in cfgs["D"][:-1]]
ZF_LAYERS = [
    Window(7, 2, 3),
    Window(3, 2, 1),
    Window(5, 2, 2),
    Window(3, 2, 1),
    *[Window(3, 1, 1)] * 3,
]


def through(layers: list[Window]) -> Field:
    field = Field()
    for layer in layers:
        field = field.through(layer)
    return field


def traced(net: nn.Module, side: int = 64) -> dict[str, Field]:
    return fields_of(dict(net.named_modules()), net, torch.zeros(1, 3, side, side))


def numbers(field: Field) -> tuple[float, float, float]:
    return field.size, field.stride, field.offset


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [(VGG, (196, 16, 7.5)), (ZF_LAYERS, (139, 16, 0)), ([*VGG, Window(3, 1, 1)], (228, 16, 7.5))],
    ids=["vgg16 conv5_3", "zf conv5", "vgg16 and rpn"],
)
def test_sequences_have_the_published_fields(layers, wanted):
    assert numbers(through(layers)) == wanted
    size = 1
    for layer in reversed(layers):
        size = layer.receptive_field(size)
    assert size == wanted[0]


def test_the_notes_formula_gives_an_input_length_and_no_receptive_field():
    size = 1
    for layer in reversed(VGG):
        size = layer.input_extent(size)
    assert size == 16


@given(
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    cells=st.integers(1, 9),
)
def test_the_input_extent_is_the_inverse_of_the_length_of_the_output(
    kernel: int, stride: int, padding: int, cells: int
):
    length = Window(kernel, stride, padding).input_extent(cells)
    if length >= 1 and 2 * padding <= kernel:
        layer = nn.AvgPool2d((kernel, 1), (stride, 1), (padding, 0))
        assert layer(torch.zeros(1, 1, length, 1)).shape[2] == cells


def test_the_fields_of_our_backbones_are_read_off_their_graphs():
    vgg = traced(VGG16(width=0.02))
    zf = traced(ZF(width=0.02))
    assert numbers(list(vgg.values())[-1]) == (196, 16, 7.5)
    assert numbers(vgg["features.23"]) == (100, 16, 7.5)  # pool4
    assert numbers(list(zf.values())[-1]) == (139, 16, 0)
    with torch.device("meta"):
        net = TimmPyramid(name="resnet50", out_indices=(1, 2, 3, 4))
        images = torch.zeros(1, 3, 64, 64)
    fields = fields_of(dict(net.named_modules()), net, images)
    blocks = {"layer1.2": 35, "layer2.3": 91, "layer3.5": 267, "layer4.2": 427}
    assert {b: fields[f"net.{b}.conv3"].size for b in blocks} == blocks
    assert {fields[f"net.{b}.conv3"].offset for b in blocks} == {0}


def test_the_rpn_adds_one_cell_around():
    net, head = VGG16(width=0.02), RPNHead(in_channels=10, per_cell=9)
    modules = dict(nn.ModuleDict({"backbone": net, "rpn": head}).named_modules())
    fields = fields_of(modules, lambda x: head(net(x)), torch.zeros(1, 3, 64, 64))
    assert numbers(fields["rpn.conv"]) == (228, 16, 7.5)


def transparent(net: Backbone) -> Backbone:
    """Every input counts: means in place of maxima, no negative weights, no norms."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                options = {"padding": child.padding, "ceil_mode": child.ceil_mode}
                pool = nn.AvgPool2d(child.kernel_size, child.stride, **options)
                setattr(parent, name, pool)
            elif isinstance(child, nn.BatchNorm2d | nn.LocalResponseNorm):
                setattr(parent, name, nn.Identity())
    for parameter in net.parameters():
        parameter.data = torch.ones_like(parameter) / max(parameter[0].numel(), 1)
    return net.double()


class WithRPN(Backbone):
    """A backbone and the 3x3 convolution of an RPN upon it."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.conv = RPNHead(in_channels=backbone.channels[0], per_cell=1).conv

    def forward(self, images):
        return [self.conv(self.backbone(images)[0])]


def resnet50(index: int) -> TimmPyramid:
    """Narrow, and with the layers of the whole network."""
    return TimmPyramid(name="resnet50", out_indices=(index,), model_args={"channels": [2, 2, 2, 2]})


@pytest.mark.parametrize(
    ("make", "side", "cell", "low", "high"),
    [
        (lambda: VGG16(width=0.005), 480, 15, 150, 345),
        (lambda: WithRPN(VGG16(width=0.005)), 480, 15, 134, 361),
        (lambda: ZF(width=0.01), 480, 15, 171, 309),
        (lambda: WithRPN(ZF(width=0.01)), 480, 15, 155, 325),
        (lambda: resnet50(2), 256, 16, 83, 173),
        (lambda: resnet50(3), 480, 15, 107, 373),
        (lambda: resnet50(4), 736, 15, 267, 693),
    ],
    ids=["vgg16", "vgg16 and rpn", "zf", "zf and rpn", "C3", "C4", "C5"],
)
def test_a_cells_gradient_covers_exactly_the_pixels_that_the_formula_says(
    make, side, cell, low, high
):
    """196, 228, 139, 171, 91, 267 and 427 of them."""
    net = make()
    field = list(traced(net).values())
    images = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    transparent(net.eval())(images)[-1][0, :, cell, cell].sum().backward()
    assert images.grad is not None
    for axis in (0, 1):
        touched = images.grad[0].abs().sum(0).sum(axis).nonzero()[:, 0]
        assert (touched.min().item(), touched.max().item()) == (low, high)
    largest = max(field, key=lambda f: (f.stride, f.size))
    assert largest.low + cell * largest.stride == low
    assert largest.high + cell * largest.stride == high


def test_positions_are_mapped_from_layer_to_layer():
    conv4, conv5 = through(VGG[:10]), through(VGG)
    assert conv5.position(15) == 15 * 16 + 7.5
    assert conv5.cell(conv5.position(3)) == 3
    assert conv5.map_to(Field(), 0) == 7.5
    assert conv4.map_to(conv5, conv5.map_to(conv4, 7)) == 7
    one = Window(5, 2, 1)
    assert Field().through(one).position(4) == one.centre(4) == 9


def test_branches_see_what_either_sees():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.side = nn.Conv2d(3, 3, 5, padding=2), nn.Conv2d(3, 3, 1)
            self.after = nn.Conv2d(3, 3, 3, 2, 1)

        def forward(self, x):
            return self.after(F.relu(self.wide(x)) + self.side(x))

    assert numbers(traced(Residual(), 16)["after"]) == (7, 2, 0)
