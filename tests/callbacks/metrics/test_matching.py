import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from callbacks.metrics.matching import match_boxes
from detectors.structures import Detections
from tests.callbacks.metrics.animals import random_animals
from tests.callbacks.toy import truth

LEFT, RIGHT = [0.0, 0.0, 100.0, 100.0], [60.0, 0.0, 160.0, 100.0]


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    frame = truth("a", torch.zeros(0, 4)).frame
    corners = torch.tensor(boxes).reshape(-1, 4)
    return Detections(corners, torch.tensor(scores), torch.tensor(labels).long(), frame)


def pairs(detections: Detections, objects: list[list[float]], min_iou: float = 0.5) -> list:
    target = truth("a", torch.tensor(objects).reshape(-1, 4))
    columns = match_boxes(detections, target, min_iou)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_the_best_score_chooses_first_and_an_object_is_given_once() -> None:
    both = found([[5.0, 0.0, 105.0, 100.0], LEFT], [0.9, 0.8], [0, 0])
    assert pairs(both, [LEFT]) == [(0, 0)]
    both.scores = both.scores.flip(dims=[0])
    assert pairs(both, [LEFT]) == [(0, 1)]


def test_a_detection_takes_the_object_it_overlaps_most_and_the_next_takes_what_is_left() -> None:
    wide = found([LEFT, [15.0, 0.0, 115.0, 100.0]], [0.9, 0.8], [0, 0])
    assert pairs(wide, [RIGHT, LEFT], min_iou=0.3) == [(0, 1), (1, 0)]


def test_the_smallest_overlap_is_included_and_below_it_nothing_matches() -> None:
    half = found([[0.0, 0.0, 50.0, 100.0]], [0.9], [0])
    assert pairs(half, [LEFT], min_iou=0.5) == [(0, 0)]
    assert pairs(half, [LEFT], min_iou=0.51) == []


def test_another_class_does_not_answer() -> None:
    assert pairs(found([LEFT], [0.9], [1]), [LEFT]) == []


def test_nothing_and_no_one_match() -> None:
    assert pairs(found([], [], []), [LEFT]) == []
    assert pairs(found([LEFT], [0.9], [0]), []) == []
    assert pairs(found([LEFT], [0.9], [0]), [[5.0, 5.0, 5.0, 5.0]]) == []


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_no_two_share_a_partner_and_no_free_pair_is_left_over(seed: int) -> None:
    (detections,), (target,) = random_animals(seed, count=1)
    objects, chosen = match_boxes(detections, target, 0.5)
    assert len(set(objects.tolist())) == len(set(chosen.tolist())) == len(objects)
    fits = box_iou(detections.boxes.double(), target.boxes.double()) >= 0.5
    fits &= detections.labels[:, None] == target.labels[None]
    assert bool(fits[chosen, objects].all())
    fits[chosen], fits[:, objects] = False, False
    assert not bool(fits.any())
