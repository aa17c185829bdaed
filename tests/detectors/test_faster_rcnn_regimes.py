"""Where the losses of the two stages go, in the approximate and in the exact joint regime."""

import pytest
import torch
from torch import Tensor

from detectors.errors import ConfigError
from detectors.families.faster_rcnn import FasterRCNN
from detectors.structures import Losses
from tests.detectors.samples import target
from tests.detectors.small_faster_rcnn import roi_loss, small_faster_rcnn

RPN, DETECTION = ("rpn_objectness", "rpn_box"), ("class", "box")
IMAGES = torch.randint(
    256, (2, 3, 64, 80), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
TRUTH = [
    target([[4, 6, 30, 40], [40, 20, 70, 60]], labels=[0, 2], image_hw=(64, 80)),
    target([[10, 10, 50, 50]], labels=[1], image_hw=(64, 80)),
]


def net(regime: str, operator: str = "sample", **options) -> FasterRCNN:
    return small_faster_rcnn(regime=regime, operator=operator, **options).double()


def losses(model: FasterRCNN) -> Losses:
    """The same draw of anchors and proposals each time."""
    torch.manual_seed(7)
    return model.loss(model(IMAGES), TRUTH)


def gradients(model: FasterRCNN, *terms: str) -> dict[str, Tensor]:
    model.zero_grad()
    found = losses(model).terms
    torch.stack([found[name] for name in terms]).sum().backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def moved(grads: dict[str, Tensor], part: str) -> bool:
    return any(grad.abs().sum() > 0 for name, grad in grads.items() if name.startswith(part))


def test_the_second_stages_loss_reaches_the_rpns_boxes_in_the_joint_regime_only():
    approximate = gradients(net("approximate_joint"), *DETECTION)
    joint = gradients(net("joint"), *DETECTION)
    for part in ("rpn.deltas", "rpn.conv"):
        assert not moved(approximate, part)
        assert moved(joint, part)
    for grads in (approximate, joint):
        assert not moved(grads, "rpn.objectness")  # it only ranks
        assert moved(grads, "backbone")
        assert moved(grads, "head")


def test_both_regimes_have_the_same_losses_and_other_gradients_of_the_backbone():
    models = [net("approximate_joint"), net("joint")]
    first, second = (losses(model).terms for model in models)
    assert all(torch.equal(first[name], second[name]) for name in (*RPN, *DETECTION))
    grads = [gradients(model, *RPN, *DETECTION) for model in models]
    key = "backbone.net.0.weight"
    assert not torch.allclose(grads[0][key], grads[1][key], rtol=1e-3)


def test_the_first_stages_loss_has_the_same_gradients_in_both_regimes():
    first, second = (gradients(net(r), *RPN) for r in ("approximate_joint", "joint"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert moved(first, "rpn.deltas")
    assert moved(first, "backbone")
    assert not moved(first, "head")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_joint_gradient_is_that_of_central_differences_and_the_approximate_one_is_not(seed):
    options = {"seed": seed, "roi_loss": roi_loss(detach_goals=False)}
    joint, approximate = (net(r, **options) for r in ("joint", "approximate_joint"))
    analytic = gradients(joint, *DETECTION)["rpn.deltas.bias"]
    assert gradients(approximate, *DETECTION)["rpn.deltas.bias"].abs().sum() == 0

    def detection_loss() -> float:
        with torch.no_grad():
            found = losses(joint).terms
            return sum(found[name].item() for name in DETECTION)

    step, bias = 1e-6, joint.rpn.deltas.bias
    numeric = torch.zeros_like(analytic)
    for index in range(len(bias)):
        ends = []
        for sign in (1, -1):
            bias.data[index] += sign * step
            ends.append(detection_loss())
            bias.data[index] -= sign * step
        numeric[index] = (ends[0] - ends[1]) / (2 * step)
    assert numeric.abs().max() > 1e-3
    assert torch.allclose(analytic, numeric, rtol=1e-4, atol=1e-7)


def test_with_constant_goals_the_box_term_moves_proposals_through_their_features_alone():
    """The two gradients differ by the one of the goals' codes, which the default leaves out."""
    held, flowing = (
        gradients(net("joint", roi_loss=roi_loss(detach_goals=d)), "box") for d in (True, False)
    )
    assert not torch.allclose(held["rpn.deltas.bias"], flowing["rpn.deltas.bias"])
    assert all(torch.equal(held[n], flowing[n]) for n in held if n.startswith("head"))


@pytest.mark.parametrize("operator", ["align", "pool"])
def test_the_joint_regime_refuses_an_operator_without_a_gradient_for_boxes(operator):
    with pytest.raises(ConfigError, match=r"pooler.operator=sample") as error:
        net("joint", operator=operator)
    assert "\n" not in str(error.value)


def test_align_and_sample_are_the_same_network():
    first, second = (losses(net("approximate_joint", operator=o)) for o in ("align", "sample"))
    assert all(torch.allclose(first.terms[n], second.terms[n], rtol=1e-9) for n in first.terms)
