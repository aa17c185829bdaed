"""RetinaFace's loss against an anchor-by-anchor reference, and its gradients."""

import math

import pytest
import torch
from torch import Tensor

from detectors.errors import ConfigError
from detectors.families.retinaface_loss import RetinaFaceLoss, RetinaFaceRaw
from detectors.ops.anchors import CentredAnchors
from detectors.ops.coders import AnchorCoder
from detectors.ops.matchers import OverlapMatcher
from detectors.ops.samplers import HardNegatives
from detectors.structures import NEGATIVE, POSITIVE, Target
from tests.detectors.samples import random_target, target

HW = (64, 96)
C, K = 3, 2
ANCHORS = CentredAnchors([[16, 32], [64]])([(4, 6), (2, 3)], [16, 32])


def criterion(beta: float = 1.0, **options) -> RetinaFaceLoss:
    negatives = HardNegatives(ratio=2, **options)
    return RetinaFaceLoss(
        coder=AnchorCoder(), matcher=OverlapMatcher(), negatives=negatives, beta=beta
    )


def random_raw(seed: int, images: int = 1, points: int = K) -> RetinaFaceRaw:
    """In float64, asking for a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        size = (images, len(ANCHORS), *shape)
        return torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_()

    return RetinaFaceRaw(numbers(C + 1), numbers(4), numbers(points, 2), ANCHORS, HW)


def with_points(one: Target, seed: int, points: int = K) -> Target:
    """Points anywhere near the objects, a third of them not labelled."""
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(len(one), points, 2, generator=generator) * 80
    v = torch.randint(3, (len(one), points, 1), generator=generator)
    one.keypoints = torch.cat([xy * (v > 0), v], dim=-1)
    return one


def random_targets(points: int = K) -> list[Target]:
    generator = torch.Generator().manual_seed(1)
    made = [random_target(generator, n, C, HW) for n in (0, 1, 3, 9, 300)]
    return [with_points(one, i, points) if points and i != 2 else one for i, one in enumerate(made)]


def reference_terms(
    raw: RetinaFaceRaw, targets: list[Target], empty: int, beta: float
) -> dict[str, float]:
    """Anchor by anchor, as the docstring says; the matcher has tests of its own."""

    def smooth_l1(error: float) -> float:
        return 0.5 * error**2 / beta if abs(error) < beta else abs(error) - 0.5 * beta

    sums = {"class": 0.0, "box": 0.0, "points": 0.0}
    counts = {"class": 0, "box": 0, "points": 0}
    for image, one in enumerate(targets):
        match = OverlapMatcher()(ANCHORS, one)
        background, positives = [], 0
        for a, role in enumerate(match.role.tolist()):
            logits = raw.class_logits[image, a].tolist()
            total = math.log(sum(map(math.exp, logits)))
            if role == NEGATIVE:
                background.append(total - logits[0])
            if role != POSITIVE:
                continue
            positives += 1
            n = int(match.gt_index[a])
            sums["class"] += total - logits[int(one.labels[n]) + 1]
            x1, y1, x2, y2 = ANCHORS[a].tolist()
            side, (x, y) = x2 - x1, ((x1 + x2) / 2, (y1 + y2) / 2)
            bx1, by1, bx2, by2 = one.boxes[n].tolist()
            goal = [
                ((bx1 + bx2) / 2 - x) / (0.1 * side),
                ((by1 + by2) / 2 - y) / (0.1 * side),
                math.log((bx2 - bx1) / side) / 0.2,
                math.log((by2 - by1) / side) / 0.2,
            ]
            said = raw.box_codes[image, a].tolist()
            sums["box"] += sum(smooth_l1(s - g) for s, g in zip(said, goal, strict=True))
            points = [] if one.keypoints is None else one.keypoints[n].tolist()
            counts["points"] += any(v > 0 for *_, v in points)
            for k, (px, py, v) in enumerate(points):
                if v > 0:
                    sx, sy = raw.point_codes[image, a, k].tolist()
                    sums["points"] += smooth_l1(sx - (px - x) / (0.1 * side))
                    sums["points"] += smooth_l1(sy - (py - y) / (0.1 * side))
        counted = positives or empty
        sums["class"] += sum(sorted(background, reverse=True)[: 2 * counted])
        counts["class"] += counted
        counts["box"] += positives
    return {name: sums[name] / max(counts[name], 1) for name in sums}


@pytest.mark.parametrize("beta", [1.0, 0.1])
@pytest.mark.parametrize("empty", [0, 1])
@pytest.mark.parametrize("points", [0, K, 5])
def test_the_terms_are_those_of_the_anchor_by_anchor_reference(points, empty, beta):
    targets = random_targets(points)
    raw = random_raw(2, images=len(targets), points=points)
    wanted = reference_terms(raw, targets, empty, beta)
    terms = criterion(beta, empty_counts_as=empty)(raw, targets).terms
    assert terms.keys() == wanted.keys()
    for name, term in terms.items():
        assert term.item() == pytest.approx(wanted[name], rel=1e-5), name
    assert wanted["box"] > 0
    assert (wanted["points"] > 0) == (points > 0)


def test_gradients_agree_with_finite_differences():
    targets = random_targets()[:4]
    raw = random_raw(7, images=4)

    def total(logits: Tensor, boxes: Tensor, points: Tensor) -> Tensor:
        terms = criterion()(RetinaFaceRaw(logits, boxes, points, ANCHORS, HW), targets).terms
        return torch.stack([*terms.values()]).sum()

    fields = (raw.class_logits, raw.box_codes, raw.point_codes)
    assert torch.autograd.gradcheck(total, fields, fast_mode=True)


def gradients(raw: RetinaFaceRaw, targets: list[Target], name: str, **options):
    fields = (raw.class_logits, raw.box_codes, raw.point_codes)
    term = criterion(**options)(raw, targets).terms[name]
    return torch.autograd.grad(term, fields, materialize_grads=True)


def test_objects_without_points_train_boxes_only():
    bare = target([[10.0, 10, 40, 40]], image_hw=HW)
    unlabelled = target([[10.0, 10, 40, 40]], image_hw=HW, keypoints=[[[0.0, 0, 0]] * K])
    for one in (bare, unlabelled):
        assert criterion()(random_raw(1), [one]).terms["points"] == 0
        assert gradients(random_raw(1), [one], "points")[2].abs().sum() == 0
        assert gradients(random_raw(1), [one], "box")[1].abs().sum() > 0


def test_of_two_points_only_the_labelled_one_learns():
    one = target([[10.0, 10, 40, 40]], image_hw=HW, keypoints=[[[20.0, 30, 1], [0.0, 0, 0]]])
    learned = gradients(random_raw(1), [one], "points")[2]
    assert learned[0, :, 0].abs().sum() > 0
    assert learned[0, :, 1].abs().sum() == 0


def test_a_far_object_without_points_does_not_change_the_mean_of_the_points():
    near = target([[0.0, 0, 32, 32]], image_hw=HW, keypoints=[[[20.0, 30, 2], [8.0, 9, 2]]])
    boxes = [[0.0, 0, 32, 32], [64.0, 32, 96, 64]]
    points = [near.keypoints[0].tolist(), [[0.0, 0, 0]] * K]
    both = target(boxes, image_hw=HW, keypoints=points)
    values = [criterion()(random_raw(1), [one]).terms for one in (near, both)]
    assert values[0]["points"] == values[1]["points"]
    assert values[0]["box"] != values[1]["box"]


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
def test_an_ignored_object_is_neither_positive_nor_negative(flag):
    one = target([[0.0, 0, 32, 32]], image_hw=HW, **{flag: [True]})
    raw = random_raw(3)
    for name, field in (("box", 1), ("points", 2)):
        assert gradients(raw, [one], name)[field].abs().sum() == 0
    silent = OverlapMatcher()(ANCHORS, one).role != NEGATIVE
    with torch.no_grad():
        raw.class_logits[0, silent, 0] = -50.0  # the hardest negatives, were they any
    learned = gradients(raw, [one], "class")[0]
    assert learned[0, silent].abs().sum() == 0
    assert learned.abs().sum() > 0


def test_an_image_without_objects_teaches_background_unless_told_not_to():
    raw = random_raw(1)
    learned = gradients(raw, [target(image_hw=HW)], "class")[0]
    assert (learned[..., 0].abs().sum(1) > 0).all()
    assert ((learned[..., 0] < 0).sum(1) == 2).all()  # towards more background, at two anchors
    assert gradients(raw, [target(image_hw=HW)], "class", empty_counts_as=0)[0].abs().sum() == 0


def test_the_negatives_of_an_image_come_from_that_image():
    raw = random_raw(1, images=2)
    with torch.no_grad():
        raw.class_logits[1, :, 0] = -50.0  # the second image has all of the hardest
    targets = [target([[0.0, 0, 32, 32]], image_hw=HW), target(image_hw=HW)]
    learned = gradients(raw, targets, "class")[0].abs().sum(-1) > 0
    positives = (OverlapMatcher()(ANCHORS, targets[0]).role == POSITIVE).sum()
    assert learned.sum(1).tolist() == [3 * positives, 2]


@pytest.mark.parametrize(
    "one",
    [
        target(image_hw=HW),
        target([[1.0, 1, 50, 50]], crowd=[True], image_hw=HW),
        target([[40.0, 40, 41, 41]], image_hw=HW),
        target([[40.0, 40, 40, 40]], image_hw=HW),
        target([[0.0, 0, 96, 64]], image_hw=HW),
    ],
    ids=["nothing", "crowd", "one pixel", "no area", "everything"],
)
def test_every_gradient_is_there_and_finite_whatever_the_batch_holds(one):
    raw = random_raw(1, images=2)
    losses = criterion()(raw, [one, target(image_hw=HW)])
    torch.stack([*losses.terms.values()]).sum().backward()
    for field in (raw.class_logits, raw.box_codes, raw.point_codes):
        assert field.grad is not None
        assert field.grad.isfinite().all()
    assert all(value.isfinite() and not value.requires_grad for value in losses.stats.values())


def test_it_reports_positives_their_iou_and_the_objects_without_an_anchor():
    boxes = [[0.0, 0, 32, 32], [50.0, 50, 51, 51], [70.0, 40, 71, 41]]
    one = target(boxes, crowd=[False, False, True], image_hw=HW)
    match = OverlapMatcher()(ANCHORS, one)
    raw = random_raw(1, images=2)
    with torch.no_grad():
        goal = one.boxes[:1].expand(len(ANCHORS), 4).double()
        raw.box_codes[0] = AnchorCoder().encode(goal, ANCHORS)
    stats = criterion()(raw, [one, target(image_hw=HW)]).stats
    assert stats["positives"] == (match.role == POSITIVE).sum() / 2
    assert stats["iou"].item() == pytest.approx(1, abs=1e-5)
    assert stats["objects_lost"] == 1


def test_points_of_another_number_are_refused_unless_none_are_predicted():
    one = with_points(target([[0.0, 0, 32, 32]], image_hw=HW), seed=0, points=5)
    with pytest.raises(ConfigError, match=r"have 5 keypoints .* predicts 2: set detector\.net"):
        criterion()(random_raw(1), [one])
    assert criterion()(random_raw(1, points=0), [one]).terms["points"] == 0
