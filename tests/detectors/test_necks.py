"""Feature pyramids and context modules: sizes, sharing, and what reaches which map."""

import pytest
import torch

from detectors.errors import ConfigError
from detectors.necks.fpn import FPN
from detectors.necks.retinaface_fpn import RetinaFaceFPN
from detectors.necks.ssh import SSH, FPNWithSSH

CHANNELS, STRIDES = [64, 128, 256], [8, 16, 32]


def features(sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, c, *hw, generator=generator, requires_grad=True)
        for c, hw in zip(CHANNELS, sizes, strict=True)
    ]


@pytest.mark.parametrize("make", [RetinaFaceFPN, FPNWithSSH])
@pytest.mark.parametrize("sizes", [[(32, 40), (16, 20), (8, 10)], [(42, 32), (21, 16), (11, 8)]])
def test_maps_keep_their_sizes_also_where_a_coarse_one_is_not_half_of_the_finer(make, sizes):
    neck = make(in_channels=CHANNELS, strides=STRIDES)
    maps = neck(features(sizes))
    assert [tuple(m.shape) for m in maps] == [(2, 64, *hw) for hw in sizes]
    assert neck.channels == [64] * 3
    assert neck.strides == STRIDES


def test_the_papers_pyramid_has_one_level_more_that_is_every_second_cell_of_the_one_before():
    neck = FPN(in_channels=CHANNELS, strides=STRIDES, channels=32)
    maps = neck(features([(42, 32), (21, 16), (11, 8)]))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (32, 42, 32),
        (32, 21, 16),
        (32, 11, 8),
        (32, 6, 4),
    ]
    assert torch.equal(maps[3], maps[2][:, :, ::2, ::2])
    assert (neck.channels, neck.strides) == ([32] * 4, [8, 16, 32, 64])


@pytest.mark.parametrize(
    ("first", "wanted", "width"), [(64, None, 64), (512, None, 256), (512, 32, 32)]
)
def test_the_width_is_that_of_the_finest_map_and_at_most_256_unless_given(first, wanted, width):
    with torch.device("meta"):
        neck = RetinaFaceFPN(in_channels=[first, 1024, 2048], strides=STRIDES, channels=wanted)
    assert neck.channels == [width] * 3


@pytest.mark.parametrize("make", [FPN, RetinaFaceFPN])
def test_coarse_maps_reach_finer_ones_and_never_the_other_way(make):
    neck = make(in_channels=CHANNELS, strides=STRIDES).eval()
    inputs = features([(8, 8), (4, 4), (2, 2)])
    reached = []
    for one in neck(inputs)[:3]:
        seen = torch.autograd.grad(one.sum(), inputs, retain_graph=True, materialize_grads=True)
        reached.append([bool(gradient.abs().sum() > 0) for gradient in seen])
    assert reached == [[True, True, True], [False, True, True], [False, False, True]]


def test_context_has_fields_of_3_5_and_7_px():
    torch.manual_seed(0)
    context = SSH(32).eval()
    x = torch.randn(1, 32, 15, 15, requires_grad=True)
    centre = context(x)[0, :, 7, 7]
    widths = []
    for channels in (slice(0, 16), slice(16, 24), slice(24, 32)):
        (seen,) = torch.autograd.grad(centre[channels].sum(), x, retain_graph=True)
        widths.append(int((seen.abs().sum((0, 1, 2)) > 0).sum()))
    assert widths == [3, 5, 7]


def test_the_5_px_and_the_7_px_field_share_their_first_convolution():
    """Unshared, a second 3x3 of C to C/4 channels with its norm would come on top."""
    c = 64
    norms = 2 * (c // 2 + 4 * (c // 4))
    assert sum(p.numel() for p in SSH(c).parameters()) == (
        9 * (c * c // 2 + c * c // 4 + 3 * (c // 4) ** 2) + norms
    )


def test_the_last_step_is_a_relu():
    out = SSH(16)(torch.randn(2, 16, 9, 9))
    assert out.min() == 0
    assert (out > 0).any()


def test_channels_that_four_does_not_divide_are_refused():
    with pytest.raises(ConfigError, match=r"neck.channels=30: .* give a multiple"):
        FPNWithSSH(in_channels=CHANNELS, strides=STRIDES, channels=30)
