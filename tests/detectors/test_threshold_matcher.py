"""Labels of anchors: torchvision's where it has an opinion, and the rules it lacks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from detectors.ops.threshold_matcher import ThresholdMatcher
from detectors.structures import IGNORE, NEGATIVE, POSITIVE
from tests.detectors.samples import random_target, target

RPN = ThresholdMatcher(0.7, 0.3, best_is_positive=True)
GRID = torch.tensor(
    [[x, y, x + 20.0, y + 20.0] for y in range(0, 80, 10) for x in range(0, 80, 10)]
)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 12), best=st.booleans())
def test_roles_and_owners_are_torchvisions(seed: int, count: int, best: bool):
    truth = random_target(torch.Generator().manual_seed(seed), count, 3, (96, 96))
    truth = truth[~(truth.crowd | truth.difficult)]
    iou = box_iou(truth.boxes, GRID)
    if len(truth) == 0 or (iou.amax(1) == 0).any():
        return
    wanted = Matcher(0.5, 0.3, allow_low_quality_matches=best)(iou)
    match = ThresholdMatcher(0.5, 0.3, best)(GRID, truth)
    assert torch.equal(match.role == POSITIVE, wanted >= 0)
    assert torch.equal(match.role == NEGATIVE, wanted == Matcher.BELOW_LOW_THRESHOLD)
    assert torch.equal(match.gt_index[wanted >= 0], wanted[wanted >= 0])


def test_all_anchors_that_fit_an_object_equally_best_are_positive():
    match = RPN(GRID, target([[5.0, 0.0, 25.0, 20.0]]))  # halfway between the first two
    assert match.role[:2].tolist() == [POSITIVE, POSITIVE]
    assert (match.role == POSITIVE).sum() == 2


def test_an_object_that_no_anchor_touches_takes_none():
    match = RPN(GRID[:4], target([[80.0, 80.0, 90.0, 90.0]]))
    assert (match.role == NEGATIVE).all()


def test_without_objects_all_are_negative_and_without_anchors_there_is_nothing():
    assert (RPN(GRID, target()).role == NEGATIVE).all()
    assert len(RPN(GRID[:0], target([[1, 1, 9, 9]])).role) == 0
    assert len(RPN(GRID[:0], target()).role) == 0


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
def test_crowd_and_difficult_objects_are_neither_positive_nor_negative(flag):
    match = RPN(GRID, target([[0.0, 0.0, 20.0, 20.0]], **{flag: [True]}))
    assert match.role[0] == IGNORE
    assert not (match.role == POSITIVE).any()
    assert match.role[-1] == NEGATIVE


def test_an_anchor_inside_a_crowd_is_ignored_and_one_inside_a_difficult_object_is_not():
    large = [[0.0, 0.0, 90.0, 90.0]]
    assert (RPN(GRID, target(large, crowd=[True])).role == IGNORE).all()
    assert (RPN(GRID, target(large, difficult=[True])).role == NEGATIVE).all()


def test_anchors_that_may_not_learn_are_ignored_and_the_best_of_the_others_is_positive():
    eligible = torch.ones(len(GRID), dtype=torch.bool)
    eligible[0] = False
    match = RPN(GRID, target([[0.0, 0.0, 20.0, 20.0]]), eligible)
    assert match.role[0] == IGNORE
    assert match.role.eq(POSITIVE).nonzero()[:, 0].tolist() == [1, 8]  # right of it, and below


def test_one_of_each_rule_worked_by_hand():
    priors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [40, 0, 50, 10], [70, 0, 80, 10]])
    truth = target([[0, 0, 10, 8], [40, 8, 50, 18], [70, 0, 80, 4]], difficult=[False, False, True])
    match = RPN(priors, truth)
    assert match.role.tolist() == [POSITIVE, POSITIVE, POSITIVE, IGNORE]
    assert match.gt_index[:3].tolist() == [0, 0, 1]
