"""Box arithmetic against torchvision and closed forms."""

import torch
from torchvision.ops import complete_box_iou_loss

from detectors.ops.boxes import normalized_wasserstein, paired_ciou


def some_boxes(seed: int, count: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50
    size = 0.5 + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    return torch.cat([corner, corner + size], dim=1)


def test_the_complete_iou_and_its_gradient_are_torchvisions():
    first, second = some_boxes(0).requires_grad_(), some_boxes(1)
    ours = 1 - paired_ciou(first, second)
    theirs = complete_box_iou_loss(first, second)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    (one,) = torch.autograd.grad(ours.sum(), first)
    (other,) = torch.autograd.grad(theirs.sum(), first)
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_complete_iou_of_a_box_with_itself_is_one():
    boxes = some_boxes(2)
    torch.testing.assert_close(paired_ciou(boxes, boxes), torch.ones(len(boxes)).double())


def test_nwd_is_the_exponential_of_the_distance_of_two_gaussians():
    """W2² of diagonal Gaussians: |m1 - m2|² + |s1 - s2|², with s = (w, h) / 2."""
    first, second = some_boxes(3), some_boxes(4)
    mean = [(b[:, :2] + b[:, 2:]) / 2 for b in (first, second)]
    deviation = [(b[:, 2:] - b[:, :2]) / 2 for b in (first, second)]
    squared = (mean[0] - mean[1]).square().sum(1) + (deviation[0] - deviation[1]).square().sum(1)
    by_hand = torch.exp(-squared.sqrt() / 12.8)
    torch.testing.assert_close(normalized_wasserstein(first, second), by_hand, atol=1e-6, rtol=1e-6)


def test_nwd_of_identical_boxes_is_nearly_one_with_a_finite_gradient():
    boxes = some_boxes(5).requires_grad_()
    value = normalized_wasserstein(boxes, boxes.detach())
    torch.testing.assert_close(value, torch.full_like(value, 0.9999753), atol=1e-7, rtol=0)
    (gradient,) = torch.autograd.grad(value.sum(), boxes)
    assert gradient.isfinite().all()


def test_nwd_does_not_change_when_both_boxes_move():
    first, second = some_boxes(6), some_boxes(7)
    moved = [b + torch.tensor([30.0, -7.0, 30.0, -7.0]) for b in (first, second)]
    torch.testing.assert_close(
        normalized_wasserstein(first, second), normalized_wasserstein(*moved)
    )
