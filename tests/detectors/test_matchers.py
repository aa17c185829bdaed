"""The overlap matcher against its rules in plain Python, and by hand."""

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torchvision.ops import box_iou

from detectors.ops.anchors import CentredAnchors
from detectors.ops.matchers import OverlapMatcher, assign
from detectors.structures import IGNORE, NEGATIVE, POSITIVE, Target
from tests.detectors.samples import random_target, target

ANCHORS = CentredAnchors([[16, 32], [64, 128]])([(12, 16), (6, 8)], [8, 16])  # of 96 x 128 px


def overlap(boxes: list[list[float]]) -> list[list[float]]:
    return box_iou(torch.tensor(boxes).reshape(-1, 4), ANCHORS).tolist()


def assigned(rows: dict[int, list[float]], positive: float, forced: float) -> dict[int, int]:
    """anchor -> object, rule by rule; `rows` are the overlaps of each object."""
    owner: dict[int, int] = {}
    for anchor in range(len(ANCHORS)):
        best = max(rows, key=lambda n: (rows[n][anchor], -n), default=None)
        if best is not None and rows[best][anchor] >= positive:
            owner[anchor] = best
    claims: dict[int, int] = {}
    free = [anchor for anchor in range(len(ANCHORS)) if anchor not in owner]
    for n in [n for n in rows if n not in owner.values()]:
        anchor = max(free, key=lambda a: (rows[n][a], -a))
        rival = claims.get(anchor)
        better = rival is None or rows[n][anchor] > rows[rival][anchor]
        if rows[n][anchor] >= forced and better:
            claims[anchor] = n
    return owner | claims


def share_inside(box: list[float]) -> list[float]:
    shares = []
    for x1, y1, x2, y2 in ANCHORS.tolist():
        width = max(0.0, min(x2, box[2]) - max(x1, box[0]))
        height = max(0.0, min(y2, box[3]) - max(y1, box[1]))
        shares.append(width * height / ((x2 - x1) * (y2 - y1)))
    return shares


def check_against_the_rules(one: Target, positive: float, forced: float) -> None:
    iou = overlap(one.boxes.tolist())
    crowd, ignored = one.crowd.tolist(), (one.crowd | one.difficult).tolist()
    real = {n: row for n, row in enumerate(iou) if not ignored[n]}
    others = [
        share_inside(one.boxes[n].tolist()) if crowd[n] else row
        for n, row in enumerate(iou)
        if ignored[n]
    ]
    owner = assigned(real, positive, forced)
    match = OverlapMatcher(positive, forced)(ANCHORS, one)
    for anchor, role in enumerate(match.role.tolist()):
        if anchor in owner:
            assert (role, match.gt_index[anchor].item()) == (POSITIVE, owner[anchor])
        else:
            near = any(row[anchor] >= forced for row in others)
            assert role == (IGNORE if near else NEGATIVE)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(0, 10_000), st.integers(0, 12))
def test_it_does_what_its_rules_say(seed, count):
    generator = torch.Generator().manual_seed(seed)
    check_against_the_rules(random_target(generator, count, 3, (96, 128)), 0.35, 0.2)


def test_it_does_what_its_rules_say_of_three_hundred_objects():
    generator = torch.Generator().manual_seed(0)
    check_against_the_rules(random_target(generator, 300, 3, (96, 128)), 0.35, 0.2)


def owners(*rows: list[float]) -> list[int | None]:
    """The object of each anchor, from a table of overlaps (objects x anchors)."""
    found = assign(torch.tensor(rows), positive=0.35, forced=0.2).tolist()
    return [None if n == len(rows) else n for n in found]


def test_the_example_of_its_docstring():
    assert owners([0.6, 0.4, 0.1, 0.0, 0.0], [0.5, 0.1, 0.3, 0.0, 0.0]) == [0, 0, 1, None, None]


def test_a_tiny_object_does_not_take_the_anchor_of_a_large_one():
    """The reference's quirk: anchor 0 would regress to the tiny object, whose best it is."""
    assert owners([0.6, 0.3, 0.0], [0.1, 0.05, 0.0]) == [0, None, None]


def test_a_forced_object_does_not_take_the_anchor_of_a_better_fitting_one():
    assert owners([0.6, 0.1, 0.0], [0.3, 0.25, 0.0]) == [0, 1, None]


def test_two_objects_in_the_same_place_both_get_an_anchor():
    assert owners([0.6, 0.4, 0.3], [0.6, 0.4, 0.3]) == [0, 0, 1]


def test_of_two_objects_that_want_the_same_anchor_the_better_one_gets_it():
    assert owners([0.25, 0.1, 0.0], [0.3, 0.1, 0.0]) == [1, None, None]


def test_a_forced_object_gets_one_anchor_also_where_several_fit_alike():
    assert owners([0.3, 0.3, 0.3]) == [0, None, None]


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
def test_an_ignored_object_does_not_take_the_anchor_of_a_real_one(flag):
    real, other = [20.0, 20.0, 52.0, 52.0], [18.0, 18.0, 50.0, 50.0]
    alone = OverlapMatcher()(ANCHORS, target([real]))
    both = OverlapMatcher()(ANCHORS, target([other, real], **{flag: [True, False]}))
    positive = alone.role == POSITIVE
    assert torch.equal(both.role == POSITIVE, positive)
    assert (both.gt_index[positive] == 1).all()
    assert (both.role == IGNORE).any()


def test_small_anchors_inside_a_large_crowd_are_ignored_and_those_outside_are_not():
    match = OverlapMatcher()(ANCHORS, target([[0.0, 0.0, 64.0, 96.0]], crowd=[True]))
    centre = (ANCHORS[:, 0] + ANCHORS[:, 2]) / 2
    small = ANCHORS[:, 2] - ANCHORS[:, 0] == 16
    assert (match.role[small & (centre < 60)] == IGNORE).all()
    assert (match.role[small & (centre > 70)] == NEGATIVE).all()


def test_without_objects_every_anchor_is_negative():
    assert (OverlapMatcher()(ANCHORS, target()).role == NEGATIVE).all()


def test_an_object_of_one_pixel_gets_no_anchor_of_sixteen():
    assert (OverlapMatcher()(ANCHORS, target([[40.0, 40, 41, 41]])).role == NEGATIVE).all()
