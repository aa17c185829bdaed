"""Our RoI sampling: torchvision's numbers, and the gradient it lacks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import roi_align

from detectors.heads.roi import RoIPooler
from detectors.ops.roi_sampling import sample_rois


def features(seed: int = 0, batch: int = 2) -> torch.Tensor:
    return torch.randn(
        batch, 3, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def boxes(seed: int, count: int) -> torch.Tensor:
    """Of any size, mostly inside the 144 x 96 px (w x h) that the features stand for."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 2, 2, dtype=torch.float64, generator=generator)
    points = points * 1.2 * torch.tensor([144.0, 96.0]) - 16
    return torch.cat([points.amin(1), points.amax(1)], dim=1)


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 12),
    aligned=st.booleans(),
    ratio=st.integers(1, 3),
)
def test_values_and_feature_gradients_are_those_of_roi_align(seed, count, aligned, ratio):
    image = torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed))
    regions = boxes(seed, count)
    rois = torch.cat([image[:, None].double(), regions], dim=1)
    maps = [features(seed).requires_grad_() for _ in range(2)]
    own = sample_rois(maps[0], regions, image, 7, 1 / 16, ratio, aligned)
    wanted = roi_align(maps[1], rois, (7, 7), 1 / 16, ratio, aligned)
    assert torch.allclose(own, wanted, rtol=0, atol=1e-12)
    own.square().sum().backward()
    wanted.square().sum().backward()
    assert torch.allclose(maps[0].grad, maps[1].grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("aligned", [False, True])
def test_box_gradients_are_those_of_central_differences(aligned):
    regions = boxes(3, 6).clamp(min=4.0, max=90.0)
    regions[:, 2:] += 17.0  # never below one cell, where the size is held
    regions[:, 3].clamp_(max=95.0)
    image = torch.tensor([0, 1, 0, 1, 0, 1])

    def pooled(x: torch.Tensor) -> torch.Tensor:
        return sample_rois(features(), x, image, 3, 1 / 16, 2, aligned)

    assert torch.autograd.gradcheck(pooled, (regions.requires_grad_(),), eps=1e-6, atol=1e-6)


def test_torchvisions_operators_leave_boxes_without_a_gradient():
    for operator, has_gradient in (("align", False), ("pool", False), ("sample", True)):
        regions = boxes(3, 6).float().requires_grad_()
        maps = [features().float().requires_grad_()]
        image = torch.zeros(6, dtype=torch.long)
        RoIPooler(operator=operator)(maps, [16], regions, image).square().sum().backward()
        assert (regions.grad is not None and regions.grad.abs().sum() > 0) == has_gradient


def test_boxes_go_to_the_level_of_their_size_and_come_back_in_their_order():
    values = [torch.full((1, 1, 512 // s, 512 // s), float(s)) for s in (4, 8, 16, 32, 64)]
    sides = torch.tensor([224.0, 112.0, 56.0, 30.0, 448.0, 111.0])
    regions = torch.cat([torch.zeros(6, 2), sides[:, None].expand(6, 2)], dim=1)
    pooler = RoIPooler(size=1)
    found = pooler(values, [4, 8, 16, 32, 64], regions, torch.zeros(6, dtype=torch.long))
    assert found.flatten().tolist() == [16, 8, 4, 4, 32, 4]


@pytest.mark.parametrize("operator", ["align", "pool", "sample"])
def test_without_boxes_there_are_no_features_and_the_gradient_is_zero(operator):
    maps = [features().float().requires_grad_()]
    empty = RoIPooler(operator=operator)(
        maps, [16], torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    )
    assert empty.shape == (0, 3, 7, 7)
    empty.sum().backward()
    assert maps[0].grad is not None
    assert maps[0].grad.abs().sum() == 0
