import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from detectors.errors import ConfigError
from detectors.families.yolov7_assign import OTA, AnchorRatio
from detectors.families.yolov7_raw import YOLOv7Raw, side_by_side
from detectors.ops.coders import CellCoder
from detectors.structures import Target
from tests.detectors.reference_yolov7 import loss_by_hand
from tests.detectors.samples import random_target, target
from tests.detectors.small_yolov7 import criterion, raw_output

HW = (96, 160)
BOTH = pytest.mark.parametrize(
    "assigner", [AnchorRatio(), OTA(AnchorRatio())], ids=["ratio", "ota"]
)


def far_apart(classes: int = 3) -> list[Target]:
    """Objects that share no prior, one image without any."""
    first = [[10, 12, 27, 33], [70, 50, 91, 75], [120, 10, 150, 28]]
    labels = [0, 1 % classes, 2 % classes]
    second = [[60, 20, 120, 80]]
    return [target(first, labels, image_hw=HW), target(image_hw=HW), target(second, image_hw=HW)]


def gradients(raw: YOLOv7Raw, value: torch.Tensor) -> list[torch.Tensor]:
    leaves = [raw.codes, raw.class_logits]
    return list(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("classes", [1, 3])
def test_its_terms_and_gradients_are_those_of_the_loops_of_the_reference(classes):
    raw, targets = raw_output(HW, images=3, classes=classes), far_apart(classes)
    ours, theirs = criterion()(raw, targets).terms, loss_by_hand(raw, targets)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-5)
    pairs = zip(gradients(raw, ours["box"]), gradients(raw, theirs["box"]), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_terms_stand_for_the_nominal_batch_whatever_the_batch():
    raw, targets = raw_output(HW, images=3), far_apart()
    one, of_64 = (criterion(nominal_batch=n)(raw, targets).terms for n in (1, 64))
    assert all(torch.allclose(of_64[k], 64 * one[k]) for k in one)


def aims(targets: list[Target]) -> torch.Tensor:
    """What the objectness of every prior is compared with: s - its gradient, the mean undone."""
    raw = raw_output(HW, images=1)
    term = criterion(level_weights=(1.0, 1.0, 1.0))(raw, targets).terms["objectness"]
    (gradient,) = torch.autograd.grad(term, raw.objectness)
    count = torch.cat([torch.full((len(level),), len(level)) for level in raw.levels])
    return (raw.objectness.sigmoid() - gradient * count)[0].detach()


def test_a_prior_of_two_objects_aims_at_the_better_of_its_ious():
    boxes = [[40, 40, 60, 64], [41, 39, 62, 63]]
    first, second = (aims([target([box], image_hw=HW)]) for box in boxes)
    both = aims([target(boxes, image_hw=HW)])
    torch.testing.assert_close(both, torch.maximum(first, second), atol=1e-3, rtol=0)
    assert ((first > 0.01) & (second > 0.01)).any()


def test_objectness_aims_at_the_iou_without_a_gradient_into_the_box():
    raw = raw_output(HW, images=3)
    terms = criterion()(raw, far_apart()).terms
    (codes,) = torch.autograd.grad(
        terms["objectness"], raw.codes, materialize_grads=True, allow_unused=True
    )
    assert not codes.any()


def test_priors_near_crowd_and_difficult_objects_take_no_part_in_the_objectness():
    """The loss does not change with what the network says there; elsewhere it does."""
    boxes = [[40, 40, 60, 60], [100, 20, 130, 50]]
    some = target(boxes, crowd=[True, False], difficult=[False, True], image_hw=HW)
    raw = raw_output(HW, images=1)
    (gradient,) = torch.autograd.grad(
        criterion()(raw, [some]).terms["objectness"], raw.objectness, retain_graph=True
    )
    (usual,) = torch.autograd.grad(
        criterion()(raw, [target(image_hw=HW)]).terms["objectness"], raw.objectness
    )
    assert (usual != 0).all()
    silent = (gradient == 0)[0]
    assert 0 < silent.sum() < len(silent) / 4
    near = raw.anchors[silent]
    centres = (near[:, :2] + near[:, 2:]) / 2
    distance = torch.cdist(centres, torch.tensor([[50.0, 50.0], [115.0, 35.0]])).amin(1)
    assert (distance <= 1.5 * math.sqrt(2) * raw.strides[silent]).all()


def test_with_one_class_the_class_term_is_zero_and_finite():
    raw = raw_output(HW, images=3, classes=1)
    term = criterion()(raw, far_apart(1)).terms["class"]
    assert term == 0
    assert term.requires_grad


def test_iou_ratio_is_the_share_of_the_iou():
    raw, targets = raw_output(HW, images=3), far_apart()
    iou, half, nwd = (criterion(iou_ratio=r)(raw, targets).terms["box"] for r in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (iou + nwd) / 2)
    assert iou != nwd


def test_in_cells_the_wasserstein_distance_pulls_less_than_in_pixels():
    raw, targets = raw_output(HW, images=3), far_apart()
    cell, pixel = (
        criterion(iou_ratio=0.0, nwd_units=u)(raw, targets).terms["box"] for u in ("cell", "pixel")
    )
    assert 0 < cell < pixel


def test_nwd_in_cells_is_that_of_the_papers_code_by_hand():
    """One object, one level that fits it: (x, y, w, h) in cells of stride 8, C = 12.8."""
    raw, objects = raw_output(HW, images=1), target([[50, 44, 54, 49]], image_hw=HW)
    found = AnchorRatio().candidates(raw.levels, side_by_side([objects]))
    rows = found[0][found[1] & True]
    rows = rows[found[0][found[1]].argsort()]
    said = _cxcywh(_decoded(raw, rows)) / 8
    goal = _cxcywh(objects.boxes) / 8
    assert (raw.strides[rows] == 8).all()
    centre = ((said[:, :2] - goal[:, :2]) ** 2).sum(1) + 1e-7
    size = ((said[:, 2:] - goal[:, 2:]) ** 2).sum(1) / 4
    by_hand = 1 - torch.exp(-torch.sqrt(centre + size) / 12.8)
    term = criterion(iou_ratio=0.0)(raw, [objects]).terms["box"]
    torch.testing.assert_close(term, by_hand.mean())


def test_nwd_can_take_its_share_of_what_objectness_aims_at():
    raw, targets = raw_output(HW, images=3), far_apart()
    options = {"iou_ratio": 0.5, "nwd_units": "pixel"}
    iou, mixed = (
        criterion(objectness_target=goal, **options)(raw, targets).terms["objectness"]
        for goal in ("iou", "mixed")
    )
    assert iou != mixed


@BOTH
def test_identical_boxes_have_a_finite_gradient(assigner):
    """The network says the very object: the root in NWD is at its smallest."""
    raw, objects = raw_output(HW, images=1), target([[40, 40, 60, 60]], image_hw=HW)
    with torch.no_grad():
        goal = objects.boxes.expand(len(raw.anchors), 4)
        raw.codes[0] = CellCoder().encode(goal, raw.anchors, raw.strides)
    terms = criterion(assigner, iou_ratio=0.0, nwd_units="pixel")(raw, [objects]).terms
    (gradient,) = torch.autograd.grad(terms["box"], raw.codes)
    assert gradient.isfinite().all()
    assert terms["box"] < 0.5


@BOTH
@pytest.mark.parametrize(
    "boxes",
    [
        [[]],
        [[], [[10, 10, 30, 30]]],
        [[[0, 0, 12, 10], [148, 86, 160, 96]]],
        [[[40, 40, 40.6, 40.6]], []],
        [[[5, 5, 60, 60]] * 4],
    ],
    ids=["empty batch", "an image without objects", "at the border", "one tiny", "identical boxes"],
)
def test_all_terms_and_gradients_are_finite(assigner, boxes):
    raw = raw_output(HW, images=len(boxes))
    targets = [target(some, image_hw=HW) for some in boxes]
    terms = criterion(assigner, iou_ratio=0.5)(raw, targets).terms
    value = torch.stack([*terms.values()]).sum()
    assert value.isfinite()
    leaves = [raw.codes, raw.objectness, raw.class_logits]
    for gradient in torch.autograd.grad(value, leaves, materialize_grads=True, allow_unused=True):
        assert gradient.isfinite().all()


@BOTH
def test_many_objects_are_learned_at_once(assigner):
    generator = torch.Generator().manual_seed(0)
    targets = [random_target(generator, 60, 3, HW), target(image_hw=HW)]
    losses = criterion(assigner)(raw_output(HW), targets)
    assert all(term.isfinite() for term in losses.terms.values())
    assert losses.stats["positives"] > 10


@BOTH
def test_the_gradient_of_nwd_is_that_of_finite_differences(assigner):
    """The complete IoU has a test of its own: a factor of it is a constant by definition."""
    raw = raw_output(HW, images=1)
    for name in ("codes", "objectness", "class_logits", "anchors", "strides"):
        setattr(raw, name, getattr(raw, name).detach().double())
    raw.codes.requires_grad_()
    loss, objects = criterion(assigner, iou_ratio=0.0), target([[40, 40, 61, 59]], image_hw=HW)
    (gradient,) = torch.autograd.grad(loss(raw, [objects]).terms["box"], raw.codes)
    row = int(gradient.abs().amax(2).argmax())
    for column in range(4):
        values = []
        for place in (-1e-6, 1e-6):
            moved = raw.codes.detach().clone()
            moved[0, row, column] += place
            values.append(loss(replace(raw, codes=moved), [objects]).terms["box"].item())
        slope = (values[1] - values[0]) / 2e-6
        assert gradient[0, row, column].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_levels_weigh_as_they_are_told():
    raw, targets = raw_output(HW, images=3), far_apart()
    weights = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    parts = [criterion(level_weights=w)(raw, targets).terms["objectness"] for w in weights]
    together = criterion(level_weights=(4.0, 1.0, 0.4))(raw, targets).terms["objectness"]
    torch.testing.assert_close(together, 4 * parts[0] + parts[1] + 0.4 * parts[2])


def test_an_image_without_objects_teaches_that_nothing_is_there():
    raw = raw_output(HW, images=1)
    term = criterion(level_weights=(1.0, 1.0, 1.0))(raw, [target(image_hw=HW)]).terms["objectness"]
    sizes = [len(level) for level in raw.levels]
    by_level = [F.softplus(part).mean() for part in raw.objectness.split(sizes, 1)]
    torch.testing.assert_close(term, torch.stack(by_level).sum())


@pytest.mark.parametrize(
    ("option", "near"),
    [({"nwd_units": "pixels"}, "pixel"), ({"objectness_target": "mix"}, "mixed")],
)
def test_misspelt_options_are_refused_with_the_nearest(option, near):
    with pytest.raises(ConfigError, match=f"did you mean {near}"):
        criterion(**option)


def _decoded(raw, rows):
    return CellCoder().decode(raw.codes[0, rows], raw.anchors[rows], raw.strides[rows])


def _cxcywh(boxes):
    low, high = boxes[:, :2], boxes[:, 2:]
    return torch.cat([(low + high) / 2, high - low], dim=1)
