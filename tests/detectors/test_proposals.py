"""Proposals: the choice, its order, and where gradients go."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from detectors.ops.coders import AnchorCoder
from detectors.ops.proposals import LARGEST_GROWTH, ProposalFilter, decode_limited

ANCHORS = torch.tensor([[0.0, 0, 20, 20], [2, 0, 22, 20], [50, 50, 80, 80], [0, 0, 60, 60]])
SCORES = torch.tensor([[0.1, 0.9, 0.5, 0.4], [3.0, 2.0, -5.0, 9.0]])


def choose(codes: torch.Tensor | None = None, **options):
    settings = {"pre_nms": 10, "nms_iou": 0.7, "post_nms": 10, "min_side": 1e-3} | options
    codes = torch.zeros(2, 4, 4) if codes is None else codes
    return ProposalFilter(**settings)(SCORES, codes, ANCHORS, [3, 1], (100, 100))


def test_of_two_that_overlap_the_better_stays_and_the_best_stand_first():
    first, second = choose()
    assert torch.equal(first, ANCHORS[[1, 2, 3]])
    assert torch.equal(second, ANCHORS[[3, 0, 2]])


def test_suppression_does_not_cross_levels_nor_images():
    both = torch.tensor([[0.0, 0, 20, 20]] * 2)
    scores, codes = torch.zeros(2, 2), torch.zeros(2, 2, 4)
    choice = ProposalFilter(pre_nms=5, nms_iou=0.5, post_nms=5, min_side=0.0)
    assert [len(b) for b in choice(scores, codes, both, [1, 1], (50, 50))] == [2, 2]
    assert [len(b) for b in choice(scores, codes, both, [2], (50, 50))] == [1, 1]


def test_the_limit_before_suppression_is_per_level_and_the_one_after_per_image():
    assert [len(boxes) for boxes in choose(pre_nms=1)] == [2, 2]
    assert [len(boxes) for boxes in choose(post_nms=1)] == [1, 1]


def test_boxes_are_clipped_and_thin_ones_dropped():
    codes = torch.zeros(2, 4, 4)
    codes[:, 2, 0] = 1.6  # the third's centre: 65 + 48 px; 2 px of it stay inside
    assert choose(codes)[0][1].tolist() == [98, 50, 100, 80]
    assert len(choose(codes, min_side=3.0)[0]) == 2


def test_at_random_no_two_overlap_more_than_allowed():
    generator = torch.Generator().manual_seed(0)
    anchors = torch.rand(300, 4, generator=generator) * 50
    anchors[:, 2:] += anchors[:, :2] + 5
    scores = torch.randn(1, 300, generator=generator)
    choice = ProposalFilter(pre_nms=200, nms_iou=0.6, post_nms=300, min_side=0.0)
    (boxes,) = choice(scores, torch.zeros(1, 300, 4), anchors, [300], (200, 200))
    iou = box_iou(boxes, boxes).fill_diagonal_(0)
    assert iou.max() <= 0.6
    assert 0 < len(boxes) < 200


def test_the_gradient_of_a_box_reaches_its_code_except_on_a_clipped_side():
    codes = torch.zeros(2, 4, 4)
    codes[0, 2, 0] = 1.6
    codes.requires_grad_()
    choose(codes)[0][1, 2].backward()  # the right side, on the border
    assert codes.grad.abs().sum() == 0
    choose(codes)[0][1, 0].backward()  # the left side: centre - width / 2
    assert codes.grad[0, 2].tolist() == [30.0, 0.0, -15.0, 0.0]


def test_growth_is_limited_to_that_of_the_papers_successors():
    anchors = torch.tensor([[0.0, 0, 16, 16]])
    for coder in (AnchorCoder(1.0, 1.0), AnchorCoder(0.1, 0.2)):
        boxes = decode_limited(coder, torch.tensor([[0.0, 0, 99, 1e9]]), anchors)
        assert torch.allclose(boxes[:, 2:] - boxes[:, :2], torch.tensor([[1000.0, 1000.0]]))
    assert math.exp(LARGEST_GROWTH) == pytest.approx(62.5)
