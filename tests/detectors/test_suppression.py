"""Suppression against torchvision, and against the greedy rule in plain Python."""

import pytest
import torch
from torchvision.ops import batched_nms

from detectors.ops.suppression import Suppression
from tests.detectors.reference_yolov1_loss import iou


def candidates(count: int, classes: int, seed: int, side: float = 100.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side
    size = 2 + torch.rand(count, 2, generator=generator) * side / 3
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return torch.cat([corner, corner + size], dim=1), scores, labels


def greedy(boxes, scores, labels, threshold, class_aware):
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        rivals = [j for j in kept if not class_aware or labels[i] == labels[j]]
        if all(iou(boxes[i], boxes[j]) <= threshold for j in rivals):
            kept.append(i)
    return kept


@pytest.mark.parametrize("class_aware", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_it_keeps_what_the_greedy_rule_keeps_in_the_same_order(seed, class_aware):
    boxes, scores, labels = candidates(60, 3, seed)
    found = Suppression(0.0, 0.4, 1000, class_aware)(boxes, scores, labels)
    rows = boxes.double().tolist(), scores.tolist(), labels.tolist()
    assert found.tolist() == greedy(*rows, 0.4, class_aware)


@pytest.mark.parametrize("count", [200, 1500])  # torchvision changes its method at 1000 boxes
def test_it_agrees_with_torchvision(count):
    boxes, scores, labels = candidates(count, 5, seed=1)
    found = Suppression(0.0, 0.5, count)(boxes, scores, labels)
    wanted = batched_nms(boxes.double(), scores.double(), labels, 0.5)
    assert found.tolist() == wanted.tolist()


def test_boxes_of_many_classes_keep_their_exact_overlap():
    """Shifted by label * width, float32 boxes of class 5000 lose the digits their IoU needs."""
    pair = torch.tensor([[1.0, 1.0, 2.0, 2.0], [1.001, 1.0, 2.001, 2.0]])  # IoU .998
    far = torch.tensor([[0.0, 0.0, 4000.0, 4000.0]])
    boxes, scores = torch.cat([pair, far]), torch.tensor([0.9, 0.8, 0.7])
    labels = torch.tensor([5000, 5000, 0])
    assert Suppression(0.0, 0.9975, 10)(boxes, scores, labels).tolist() == [0, 2]
    assert Suppression(0.0, 0.9985, 10)(boxes, scores, labels).tolist() == [0, 1, 2]


def test_negative_coordinates_do_not_mix_classes():
    boxes = torch.tensor([[-200.0, 0.0, -100.0, 100.0], [-99.0, 0.0, 1.0, 100.0]])
    shifted_onto_each_other = torch.tensor([1, 0])
    found = Suppression(0.0, 0.5, 10)(boxes, torch.tensor([0.9, 0.8]), shifted_onto_each_other)
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize("count", [5, 1500])
def test_equal_scores_keep_the_order_of_the_input(count):
    apart = torch.arange(count, dtype=torch.float)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
    found = Suppression(0.0, 0.5, count)(apart, torch.full((count,), 0.5), torch.arange(count) % 3)
    assert found.tolist() == list(range(count))


def test_only_scores_above_the_floor_and_at_most_so_many_are_kept():
    boxes = torch.arange(4, dtype=torch.float)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
    scores, labels = torch.tensor([0.1, 0.5, 0.3, 0.9]), torch.zeros(4, dtype=torch.long)
    assert Suppression(0.1, 0.5, 10)(boxes, scores, labels).tolist() == [3, 1, 2]
    assert Suppression(0.1, 0.5, 2)(boxes, scores, labels).tolist() == [3, 1]


def test_no_boxes_give_no_rows():
    none = Suppression(0.0, 0.5, 10)(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
    assert none.tolist() == []
    assert none.dtype == torch.long


def test_a_score_that_is_not_a_number_is_never_kept():
    boxes = torch.tensor([[0.0, 0, 5, 5], [10.0, 0, 15, 5]])
    found = Suppression(0.0, 0.5, 10)(boxes, torch.tensor([torch.nan, 0.5]), torch.tensor([0, 0]))
    assert found.tolist() == [1]
