"""Faster R-CNN's losses by hand, its limits, and what stays frozen."""

import math

import pytest
import torch

from detectors.errors import ConfigError
from detectors.families.faster_rcnn_loss import FasterRCNNRaw
from detectors.heads.roi import OPERATORS
from detectors.ops.balanced_sampler import BalancedSampler
from detectors.ops.coders import AnchorCoder
from detectors.ops.proposals import ProposalFilter
from detectors.ops.suppression import Suppression
from detectors.structures import Losses, Target
from tests.detectors.samples import frame, random_target, target
from tests.detectors.small_faster_rcnn import Small, roi_loss, rpn_loss, small_faster_rcnn

IMAGES = torch.randint(
    256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
ANCHORS = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60], [0, 40, 20, 60], [80, 80, 104, 96]])


def raw(objectness: list[float], deltas: torch.Tensor | None = None) -> FasterRCNNRaw:
    """Of one image of 96 px with four anchors, two per location."""
    deltas = torch.zeros(1, 4, 4) if deltas is None else deltas
    return FasterRCNNRaw(
        [torch.zeros(1, 1, 6, 6)], ANCHORS, torch.tensor([objectness]), deltas, [4], (96, 96)
    )


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_the_rpns_terms_are_those_of_a_hand_worked_image():
    said = raw([2.0, -1.0, 0.5, 0.0], torch.full((1, 4, 4), 0.3))
    truth = [target([[2.0, 0.0, 22.0, 20.0]])]  # IoU .82 with the first; code (.1, 0, 0, 0)
    terms = rpn_loss(beta=1.0, drop_cross_boundary=True)(said, truth, per_cell=2)
    wanted = (softplus(-2.0) + softplus(-1.0) + softplus(0.5)) / 3  # the last crosses the border
    assert terms["rpn_objectness"].item() == pytest.approx(wanted, rel=1e-5)
    assert terms["rpn_box"].item() == pytest.approx(0.5 * (0.2**2 + 3 * 0.3**2) / 3, rel=1e-5)
    everywhere = rpn_loss(beta=1.0)(said, truth, per_cell=2)
    assert everywhere["rpn_objectness"].item() == pytest.approx(
        (wanted * 3 + softplus(0.0)) / 4, rel=1e-5
    )


@pytest.mark.parametrize(
    ("normaliser", "divisor"), [("sampled", 4), ("locations", 2), ("anchors", 4)]
)
@pytest.mark.parametrize(("beta", "one"), [(0.0, 0.3), (0.1, 0.25), (1.0, 0.045)])
def test_the_box_term_has_its_two_knobs(normaliser, divisor, beta, one):
    said = raw([0.0] * 4, torch.full((1, 4, 4), 0.3))
    criterion = rpn_loss(beta=beta, box_normaliser=normaliser)
    terms = criterion(said, [target([[0.0, 0.0, 20.0, 20.0]])], per_cell=2)
    assert terms["rpn_box"].item() == pytest.approx(4 * one / divisor, rel=1e-5)


def test_the_second_stages_terms_are_those_of_a_hand_worked_image():
    proposals = [torch.tensor([[0.0, 0, 20, 20], [50, 50, 90, 90]])]
    criterion = roi_loss(sampler=BalancedSampler(8, 0.5), beta=1.0)
    rois = criterion.choose(proposals, [target([[2.0, 0.0, 22.0, 20.0]], labels=[1])])
    assert rois.label.tolist() == [2, 0, 2]  # the object itself stands last
    logits = torch.zeros(3, 4)
    codes = torch.zeros(3, 3, 4)
    codes[0, 1, 0] = 0.4  # the proposal's own is (2 / 20) / .1 = 1
    terms = criterion(logits, codes, rois)
    assert terms["class"].item() == pytest.approx(math.log(4), rel=1e-5)
    assert terms["box"].item() == pytest.approx(0.5 * 0.6**2 / 3, rel=1e-5)


def test_objects_that_are_ignored_are_no_proposals_and_train_nothing():
    truth = target([[2.0, 0.0, 22.0, 20.0], [50, 50, 90, 90]], crowd=[True, False])
    rois = roi_loss().choose([torch.tensor([[2.0, 0.0, 22.0, 20.0]])], [truth])
    assert rois.boxes.tolist() == [[50, 50, 90, 90]]


def total(losses: Losses) -> torch.Tensor:
    return torch.stack([*losses.terms.values()]).sum()


def many(count: int) -> Target:
    return random_target(torch.Generator().manual_seed(0), count, 3, (96, 96))


@pytest.mark.parametrize(
    ("regime", "operator"),
    [*(("approximate_joint", operator) for operator in OPERATORS), ("joint", "sample")],
)
@pytest.mark.parametrize(
    "truth",
    [target(), target([[40, 40, 41, 41]]), target([[10, 10, 60, 60]], crowd=[True]), many(300)],
    ids=["none", "one pixel", "crowd", "300 objects"],
)
@pytest.mark.parametrize("some_proposals", [True, False])
def test_whatever_the_batch_holds_all_gradients_are_there_and_finite(
    regime, operator, truth, some_proposals
):
    min_side = 1.0 if some_proposals else 1000.0
    choice = ProposalFilter(pre_nms=60, nms_iou=0.7, post_nms=24, min_side=min_side)
    options = {"regime": regime, "train_proposals": choice, "test_proposals": choice}
    net = small_faster_rcnn(operator=operator, **options)
    out = net(IMAGES)
    losses = net.loss(out, [truth, target()])
    assert (losses.stats["proposals"] > 0) == some_proposals
    total(losses).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient: DDP would hang"
        assert parameter.grad.isfinite().all(), name
    found = net.decode(out, [frame(), frame()])
    assert (sum(map(len, found)) > 0) == some_proposals


def test_a_class_regresses_its_own_boxes():
    net = small_faster_rcnn(suppression=Suppression(0.0, 1.0, 1000))
    with torch.no_grad():
        net.head.box_codes.weight.zero_()
        net.head.box_codes.bias.copy_(torch.tensor([0.0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]))
        out = net(IMAGES[:1])
        (proposal, *_) = net.propose(out, net.test_proposals)[0]
        found = net.decode(out, [frame()])[0]
    width = proposal[2] - proposal[0]
    for label in range(3):
        wanted = proposal + width * torch.tensor([0.1, 0, 0.1, 0]) * label
        wanted = wanted.clamp(0, 96)
        boxes = found.boxes[found.labels == label]
        assert (boxes - wanted).abs().amax(1).min() < 1e-3


def test_training_and_inference_take_their_own_number_of_proposals():
    options = {"pre_nms": 60, "nms_iou": 0.9, "min_side": 0.0}
    few, more = (ProposalFilter(post_nms=n, **options) for n in (3, 9))
    net = small_faster_rcnn(train_proposals=few, test_proposals=more)
    out = net(IMAGES)
    assert net.loss(out, [target(), target()]).stats["proposals"] == 3
    assert [len(boxes) for boxes in net.propose(out, net.test_proposals)] == [9, 9]


@pytest.mark.parametrize("switched", [False, True])  # to evaluation and back in between
def test_what_is_frozen_keeps_its_weights_and_its_norms_statistics(switched):
    net = small_faster_rcnn(frozen=["backbone", "rpn.conv"])
    if switched:
        net.eval().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    learning = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        total(net.loss(net(IMAGES), [many(5), target()])).backward()
        optimizer.step()
    for key, value in net.state_dict().items():
        held = key.startswith(("backbone.", "rpn.conv."))
        assert torch.equal(before[key], value) == held, key


def test_norms_alone_can_be_frozen():
    net = small_faster_rcnn(frozen_norms=True)
    before = net.backbone.net[1].running_mean.clone()
    net(IMAGES)
    assert torch.equal(net.backbone.net[1].running_mean, before)
    assert not net.backbone.net[1].weight.requires_grad
    assert net.backbone.net[0].weight.requires_grad


def test_a_part_that_does_not_exist_cannot_be_frozen():
    with pytest.raises(ConfigError, match=r"no part 'backbone.nett': did you mean 'backbone.net'"):
        small_faster_rcnn(frozen=["backbone.nett"])


def test_maps_of_several_depths_need_a_neck():
    two = Small()
    two.channels, two.strides = [6, 12], [8, 16]
    with pytest.raises(ConfigError, match=r"neck=fpn") as error:
        small_faster_rcnn(backbone=two)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("variances", [(1.0, 1.0), (0.1, 0.2)])
def test_the_codes_of_both_stages_are_inverted_by_their_coder(variances):
    truth, anchors = many(40).boxes, many(41).boxes[1:]
    coder = AnchorCoder(*variances)
    assert (coder.decode(coder.encode(truth, anchors), anchors) - truth).abs().max() < 1e-3
