"""YOLOv1's loss against a cell-by-cell reference, and its gradients against finite differences."""

import pytest
import torch
from torch import Tensor

from detectors.errors import ConfigError
from detectors.families.yolov1_loss import YOLOv1Loss, YOLOv1Raw, signed_root
from detectors.ops.grid import GridCoder
from tests.detectors.reference_yolov1_loss import reference_loss
from tests.detectors.samples import random_target, target

S, B, C = 4, 2, 3
HW = (96, 96)
UNITS = ("cell", "image")
CONFIDENCE = ("iou", "one")
SCOPES = ("all_non_responsible", "empty_cells")


def criterion(image_hw=HW, grid=S, **options) -> YOLOv1Loss:
    units = options.pop("size_units", "cell")
    return YOLOv1Loss(coder=GridCoder(grid=grid, image_hw=image_hw, size_units=units), **options)


def random_raw(seed: int, images: int = 1, grid: int = S, boxes: int = B) -> YOLOv1Raw:
    """Codes with positive sizes around the cell's own, in float64, that ask for a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return torch.rand(images, grid, grid, *shape, generator=generator, dtype=torch.float64)

    codes = torch.cat([numbers(boxes, 2), 0.3 + 1.5 * numbers(boxes, 2)], dim=-1)
    scores, confidence = numbers(C) * 2 - 0.5, numbers(boxes) * 2 - 0.5
    return YOLOv1Raw(*(x.requires_grad_() for x in (scores, confidence, codes)))


@pytest.mark.parametrize("image_hw", [(96, 96), (64, 160)])
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("confidence", CONFIDENCE)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_terms_are_those_of_the_cell_by_cell_reference(image_hw, units, confidence, scope):
    generator = torch.Generator().manual_seed(1)
    targets = [random_target(generator, n, C, image_hw) for n in (0, 1, 3, 9, 25)]
    raw = random_raw(2, images=5)
    options = {"size_units": units, "confidence_target": confidence}
    wanted = reference_loss(raw, targets, S, image_hw, scope=scope, **options)
    terms = criterion(image_hw, no_object_scope=scope, **options)(raw, targets).terms
    assert terms.keys() == wanted.keys()
    for name, term in terms.items():
        assert term.item() == pytest.approx(wanted[name], rel=1e-5), name


def test_the_worked_example_by_hand():
    """One object in cell (row 1, column 2); box 1 hits it exactly, box 0 is elsewhere."""
    one = target([[52.0, 30.0, 64.0, 42.0]], labels=[2])  # centre 58, 36; cells of 24 px
    code = [58 / 24 - 2, 36 / 24 - 1, 0.5, 0.5]
    scores, confidence, boxes = (torch.zeros(1, S, S, *shape) for shape in ((C,), (B,), (B, 4)))
    boxes[0, 1, 2, 0], boxes[0, 1, 2, 1] = torch.tensor([[0.1, 0.1, 0.3, 0.3], code])
    confidence[0, 1, 2] = torch.tensor([0.3, 0.6])
    confidence[0, 0, 0, 1] = 0.2
    scores[0, 1, 2] = torch.tensor([0.5, 0.0, 0.9])
    terms = criterion()(YOLOv1Raw(scores, confidence, boxes), [one]).terms
    assert terms["xy"].item() == pytest.approx(0, abs=1e-9)
    assert terms["wh"].item() == pytest.approx(0, abs=1e-9)
    assert terms["object"].item() == pytest.approx((0.6 - 1) ** 2, rel=1e-4)
    assert terms["no_object"].item() == pytest.approx(0.3**2 + 0.2**2, rel=1e-5)
    assert terms["class"].item() == pytest.approx(0.5**2 + 0.1**2, rel=1e-5)


@pytest.mark.parametrize("units", UNITS)
def test_gradients_agree_with_finite_differences(units):
    targets = [random_target(torch.Generator().manual_seed(5), 6, C, HW)]
    loss = criterion(size_units=units, confidence_target="one")
    raw = random_raw(7)

    def total(scores: Tensor, confidence: Tensor, boxes: Tensor) -> Tensor:
        losses = loss(YOLOv1Raw(scores, confidence, boxes), targets)
        return torch.stack([*losses.terms.values()]).sum()

    assert torch.autograd.gradcheck(total, (raw.class_scores, raw.confidence, raw.boxes))


def gradients(raw: YOLOv1Raw, targets, name: str, **options) -> tuple[Tensor, Tensor, Tensor]:
    fields = (raw.class_scores, raw.confidence, raw.boxes)
    term = criterion(**options)(raw, targets).terms[name]
    return torch.autograd.grad(term, fields, materialize_grads=True)


def test_only_the_cell_at_row_y_and_column_x_learns_the_box():
    wide = target([[70.0, 4.0, 90.0, 20.0]])  # centre 80, 12: row 0, column 3
    boxes = gradients(random_raw(1), [wide], "xy")[2]
    assert boxes[0].abs().sum((2, 3)).nonzero().tolist() == [[0, 3]]


def test_only_the_box_with_the_higher_iou_learns():
    raw = random_raw(1)
    with torch.no_grad():
        raw.boxes[0, 0, 3] = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.3, 0.5, 0.8, 0.7]]).double()
        raw.confidence[0, 0, 3] = torch.tensor([0.9, 0.1])  # responsibility is not by confidence
    wide = target([[70.0, 4.0, 90.0, 20.0]])
    for name in ("xy", "wh"):
        boxes = gradients(raw, [wide], name)[2]
        assert boxes[0, 0, 3, 0].abs().sum() == 0
        assert boxes[0, 0, 3, 1].abs().sum() > 0
    confidence = gradients(raw, [wide], "object")[1]
    assert confidence[0, 0, 3, 0] == 0
    assert confidence[0, 0, 3, 1] != 0


def test_where_no_box_overlaps_the_nearest_one_is_responsible():
    raw = random_raw(1)
    with torch.no_grad():
        raw.boxes[0, 0, 3] = torch.tensor([[0.1, 0.1, -3.0, 0.5], [0.4, 0.5, -0.1, 0.5]]).double()
    boxes = gradients(raw, [target([[70.0, 4.0, 90.0, 20.0]])], "xy")[2]
    assert boxes[0, 0, 3].abs().sum(1).nonzero().tolist() == [[1]]


def test_the_confidence_target_sends_no_gradient_to_the_boxes():
    confidence_gradient = gradients(random_raw(3), [target([[10.0, 10.0, 40.0, 40.0]])], "object")
    assert confidence_gradient[1].abs().sum() > 0
    assert confidence_gradient[2].abs().sum() == 0


def test_the_confidence_of_a_perfect_box_is_pulled_to_one_and_of_a_poor_one_to_its_iou():
    raw = random_raw(3)
    one = target([[10.0, 10.0, 34.0, 34.0]])
    with torch.no_grad():
        raw.boxes[0, 0, 0] = torch.tensor([[22 / 24, 22 / 24, 0.5, 1.0]] * 2).double()
        raw.confidence[0, 0, 0] = 0.5  # the box is half as wide as the object: IoU 0.5
    assert gradients(raw, [one], "object")[1].abs().max() < 1e-6
    towards_one = gradients(raw, [one], "object", confidence_target="one")[1]
    assert towards_one.abs().max() == pytest.approx(1)


def test_the_image_units_weigh_the_size_error_by_one_over_the_grid():
    """Facts, section 4.2: cell units multiply the wh term by S = 7: .1231 -> .8614."""
    one = [target([[100.0, 50.0, 300.0, 200.0]], image_hw=(448, 448))]
    cell = random_raw(4, grid=7)
    image = random_raw(4, grid=7)
    with torch.no_grad():
        image.boxes[..., 2:] /= 7
    terms = [
        criterion((448, 448), 7, size_units=units)(raw, one).terms
        for units, raw in (("cell", cell), ("image", image))
    ]
    assert terms[0]["wh"].item() == pytest.approx(7 * terms[1]["wh"].item(), rel=1e-5)
    for name in ("xy", "object", "no_object", "class"):
        assert terms[0][name].item() == pytest.approx(terms[1][name].item(), rel=1e-5)


def test_the_first_object_of_a_cell_wins_and_the_others_are_counted():
    first, second, other = [10, 10, 14, 16], [4, 4, 20, 20], [60, 60, 90, 90]
    alone = criterion()(random_raw(1), [target([first, other], [0, 1])])
    both = criterion()(random_raw(1), [target([first, second, other], [0, 2, 1])])
    for name, term in alone.terms.items():
        assert both.terms[name].item() == pytest.approx(term.item()), name
    assert alone.stats["objects_lost"] == 0
    assert both.stats["objects_lost"] == 1


def test_the_same_cell_of_two_images_holds_two_objects():
    box = target([[10.0, 10.0, 14.0, 16.0]])
    twice = criterion()(random_raw(1, images=2), [box, box])
    assert twice.stats["objects_lost"] == 0
    boxes = gradients(random_raw(1, images=2), [box, box], "xy")[2]
    assert boxes.abs().sum((3, 4)).nonzero().tolist() == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
@pytest.mark.parametrize("scope", SCOPES)
def test_a_crowd_or_difficult_object_is_neither_positive_nor_negative(flag, scope):
    ignored = target([[70.0, 4.0, 90.0, 20.0]], **{flag: [True]})
    for name in ("xy", "wh", "object", "class"):
        assert criterion(no_object_scope=scope)(random_raw(1), [ignored]).terms[name] == 0
    confidence = gradients(random_raw(1), [ignored], "no_object", no_object_scope=scope)[1]
    silent = (confidence[0].abs().sum(-1) == 0).nonzero().tolist()
    assert silent == [[0, 3]]


def test_an_ignored_object_does_not_take_the_cell_of_a_real_one():
    boxes = [[70.0, 4.0, 90.0, 20.0], [72.0, 6.0, 92.0, 22.0]]
    with_crowd = criterion()(random_raw(1), [target(boxes, crowd=[True, False])])
    alone = criterion()(random_raw(1), [target(boxes[1:])])
    for name, term in alone.terms.items():
        assert with_crowd.terms[name].item() == pytest.approx(term.item()), name
    assert with_crowd.stats["objects_lost"] == 0


@pytest.mark.parametrize(
    "targets",
    [
        [target(), target()],
        [target([[1.0, 1.0, 50.0, 50.0]], crowd=[True]), target()],
        [target([[40.0, 40.0, 40.5, 40.5]]), target()],
    ],
    ids=["no objects", "all crowd", "one tiny box"],
)
def test_every_gradient_is_there_and_finite_whatever_the_batch_holds(targets):
    raw = random_raw(1, images=2)
    losses = criterion()(raw, targets)
    torch.stack([*losses.terms.values()]).sum().backward()
    for field in (raw.class_scores, raw.confidence, raw.boxes):
        assert field.grad is not None
        assert field.grad.isfinite().all()
    assert all(value.isfinite() and not value.requires_grad for value in losses.stats.values())


@pytest.mark.parametrize("size", [0.0, -0.0, -1e-12, 1e-12, -0.7])
def test_predicted_sizes_that_are_not_positive_have_a_finite_loss_and_are_pushed_up(size):
    raw = random_raw(1)
    with torch.no_grad():
        raw.boxes[..., 2:] = size
    one = [target([[10.0, 10.0, 40.0, 40.0]])]
    assert criterion()(raw, one).terms["wh"].isfinite()
    boxes = gradients(raw, one, "wh")[2]
    assert boxes.isfinite().all()
    held = boxes[0, 1, 1].abs().sum(1).argmax()
    assert (boxes[0, 1, 1, held, 2:] < 0).all()  # a step down the gradient makes them larger


def test_the_signed_root_is_the_root_above_its_linear_part_odd_and_rising():
    x = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    root = signed_root(x)
    assert torch.allclose(root[x >= 1e-3], x[x >= 1e-3].sqrt())
    assert torch.allclose(root, -signed_root(-x))
    assert (root.diff() > 0).all()


def test_the_mean_is_the_sum_over_the_number_of_images():
    generator = torch.Generator().manual_seed(1)
    targets = [random_target(generator, n, C, HW) for n in (0, 1, 3, 9)]
    total = criterion()(random_raw(2, images=4), targets).terms
    mean = criterion(reduction="mean")(random_raw(2, images=4), targets).terms
    for name, term in total.items():
        assert mean[name].item() == pytest.approx(term.item() / 4)


def test_the_mean_iou_of_the_responsible_boxes_is_reported():
    raw = random_raw(3)
    one = target([[10.0, 10.0, 34.0, 34.0]])
    with torch.no_grad():
        raw.boxes[0, 0, 0] = torch.tensor([[22 / 24, 22 / 24, 0.5, 1.0]] * 2).double()
    assert criterion()(raw, [one]).stats["iou"].item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("key", "value", "near"),
    [
        ("confidence_target", "iuo", "iou"),
        ("no_object_scope", "empty_cell", "empty_cells"),
        ("reduction", "summ", "sum"),
    ],
)
def test_an_unknown_switch_is_refused_with_the_nearest_one(key, value, near):
    with pytest.raises(ConfigError, match=rf"^{key}={value} .*did you mean {near}\?$"):
        criterion(**{key: value})
