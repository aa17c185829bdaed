from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.families import yolov7_assign
from detectors.families.yolov7_assign import OTA, AnchorRatio, Assignment
from detectors.families.yolov7_raw import Level, side_by_side
from detectors.ops.coders import CellCoder
from detectors.structures import Target
from experiments.plain_ota import near_priors, plain_ota
from tests.detectors.reference_yolov7 import positives
from tests.detectors.samples import random_target, target
from tests.detectors.small_yolov7 import raw_output

HW = (96, 160)


def triples(found: Assignment) -> list[tuple[int, int, int]]:
    """(image, prior, object) of the positive slots, each once."""
    image, level, slot = found.positive.nonzero().unbind(1)
    columns = image, found.prior[image, level, slot], found.gt[image, level, slot]
    return sorted(set(zip(*(c.tolist() for c in columns), strict=True)))


def by_anchor_ratio(levels: Sequence[Level], targets: list[Target]) -> list[tuple[int, int, int]]:
    found, start = [], 0
    for level in levels:
        for image, gt, row, column, anchor in positives(level, targets):
            cell = row * level.columns + column
            found.append((image, start + cell * len(level.sizes) + anchor, gt))
        start += len(level)
    return sorted(set(found))


def some_targets(seed: int, counts: Sequence[int], image_hw=HW, classes: int = 3) -> list[Target]:
    generator = torch.Generator().manual_seed(seed)
    return [random_target(generator, n, classes, image_hw) for n in counts]


def without_ignored(targets: list[Target]) -> list[Target]:
    return [t[~(t.crowd | t.difficult)] for t in targets]


@given(seed=st.integers(0, 10**6), counts=st.lists(st.integers(0, 6), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_anchor_ratio_finds_what_the_loops_of_the_reference_find(seed, counts):
    targets = without_ignored(some_targets(seed, counts))
    raw = raw_output(HW, images=len(counts))
    found = triples(AnchorRatio()(raw, side_by_side(targets)))
    assert found == by_anchor_ratio(raw.levels, targets)


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 10, 8],  # in the corner
        [150, 90, 160, 96],
        [152, 40, 168, 56],  # its centre on the right border
        [40, 24, 56, 40],  # its centre on the corner of cells of every level
        [60, 60, 60.5, 60.5],  # too small for every anchor
        [36, 44, 44, 52],  # its centre on the middle of a cell of stride 8
    ],
)
def test_objects_at_borders_and_corners_of_cells_are_assigned_as_in_the_reference(box):
    raw, targets = raw_output(HW, images=1), [target([box], image_hw=HW)]
    assert triples(AnchorRatio()(raw, side_by_side(targets))) == by_anchor_ratio(
        raw.levels, targets
    )


def test_x_belongs_to_columns_and_y_to_rows_on_input_that_is_not_square():
    raw = raw_output(HW, images=1)
    found = triples(AnchorRatio()(raw, side_by_side([target([[130, 20, 142, 36]], image_hw=HW)])))
    priors = torch.tensor([prior for _, prior, _ in found])
    centres = (raw.anchors[priors, :2] + raw.anchors[priors, 2:]) / 2
    assert len(found) > 0
    assert ((centres - torch.tensor([136.0, 28.0])).abs() <= 32).all()


@given(seed=st.integers(0, 10**6), counts=st.lists(st.integers(0, 7), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_ota_for_the_batch_is_ota_image_by_image_and_object_by_object(seed, counts):
    targets, raw = some_targets(seed, counts), raw_output(HW, images=len(counts), seed=seed)
    assert triples(OTA(AnchorRatio())(raw, side_by_side(targets))) == plain_ota(raw, targets)


@pytest.mark.parametrize("classes", [1, 5])
def test_ota_agrees_with_its_oracle_for_any_number_of_classes(classes):
    targets = some_targets(1, (5, 0, 9), classes=classes)
    raw = raw_output(HW, images=3, classes=classes)
    assert triples(OTA(AnchorRatio())(raw, side_by_side(targets))) == plain_ota(raw, targets)


def test_ota_shares_out_image_by_image_where_the_batch_is_too_large(monkeypatch):
    targets, raw = some_targets(3, (6, 0, 2), image_hw=HW), raw_output(HW, images=3)
    at_once = triples(OTA(AnchorRatio())(raw, side_by_side(targets)))
    monkeypatch.setattr(yolov7_assign, "LARGEST", 1)
    assert triples(OTA(AnchorRatio())(raw, side_by_side(targets))) == at_once
    assert at_once


def test_ota_gives_a_prior_to_one_object_at_most_and_every_object_with_candidates_has_one():
    boxes = [[40, 40, 56, 60], [42, 41, 57, 60], [41, 39, 55, 61]]
    raw, objects = raw_output(HW, images=1), [target(boxes, image_hw=HW)]
    found = triples(OTA(AnchorRatio())(raw, side_by_side(objects)))
    owners = [prior for _, prior, _ in found]
    assert len(owners) == len(set(owners))
    assert found


def test_ota_takes_as_many_priors_as_the_sum_of_the_highest_ious_says():
    """Every candidate predicts the object: ten IoUs of 1 make ten; none near it: one."""
    raw = raw_output(HW, images=1)
    box = torch.tensor([[40.0, 40.0, 60.0, 60.0]])
    near = torch.tensor(sorted(near_priors(raw.levels, box[0].tolist())))
    goal = box.expand(len(near), 4)
    with torch.no_grad():
        raw.codes[0, near] = CellCoder().encode(goal, raw.anchors[near], raw.strides[near])
        exact = CellCoder().decode(raw.codes[0, near], raw.anchors[near], raw.strides[near])
        assert ((exact - goal).abs().amax(1) < 0.1).sum() >= 10
    found = triples(OTA(AnchorRatio())(raw, side_by_side([target(box.tolist(), image_hw=HW)])))
    assert 9 <= len(found) <= 10
    with torch.no_grad():
        raw.codes[0, :, 2:] = -20.0  # boxes of no size
    assert len(triples(OTA(AnchorRatio())(raw, side_by_side([target(box.tolist())])))) == 1


def test_crowd_and_difficult_objects_have_no_prior():
    boxes = [[10, 10, 30, 30], [50, 50, 70, 70], [90, 20, 110, 40]]
    some = target(boxes, crowd=[True, False, False], difficult=[False, True, False], image_hw=HW)
    raw = raw_output(HW, images=1)
    for assigner in (AnchorRatio(), OTA(AnchorRatio())):
        assert {gt for _, _, gt in triples(assigner(raw, side_by_side([some])))} == {2}


@pytest.mark.parametrize("assigner", [AnchorRatio(), OTA(AnchorRatio())], ids=["ratio", "ota"])
def test_batches_without_objects_and_without_candidates_have_no_positives(assigner):
    raw = raw_output(HW, images=2)
    nobody = target(image_hw=HW)
    unfit = target([[3, 3, 3.5, 3.5], [0, 0, 160, 1.0]], image_hw=HW)
    for targets in ([nobody, nobody], [nobody, unfit]):
        assert not assigner(raw, side_by_side(targets)).positive.any()


@pytest.mark.slow
@pytest.mark.parametrize("assigner", [AnchorRatio(), OTA(AnchorRatio())], ids=["ratio", "ota"])
def test_500_objects_are_assigned_beside_an_image_with_one(assigner):
    targets = without_ignored(some_targets(0, (500, 1), image_hw=(320, 320)))
    raw = raw_output((320, 320), images=2)
    found = triples(assigner(raw, side_by_side(targets)))
    if isinstance(assigner, OTA):
        assert found == plain_ota(raw, targets)
    else:
        assert found == by_anchor_ratio(raw.levels, targets)


def test_padding_is_never_an_object():
    objects = side_by_side([target([[1, 1, 9, 9]] * 3), target(), target([[1, 1, 9, 9]])])
    assert objects.boxes.shape == (3, 4, 4)
    assert objects.trained.sum(1).tolist() == [3, 0, 1]
    assert objects.counts == [3, 0, 1]
    assert not objects.ignored.any()
    assert objects.images(slice(2, 3)).boxes.shape == (1, 2, 4)
