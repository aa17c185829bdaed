"""What detectors/detector.py promises, asked of every conf/detector/*.yaml at scale=nano."""

import copy
import functools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.ops.boxes import paired_iou
from detectors.structures import Detections, Losses, Target
from experiments import api, build
from tests.detectors.samples import target

CONF = Path(__file__).parents[2] / "conf"
DETECTORS = sorted(path.stem for path in (CONF / "detector").glob("*.yaml"))
SCALES = ("nano", "paper")
SIZES = [(96, 96), (128, 192)]
CLASSES = "datamodule.info.class_names=[a,b,c]"
POINTS = "++datamodule.info.keypoint_names=[p,q]"

pytestmark = pytest.mark.parametrize("name", DETECTORS)


@functools.cache
def config(name: str, image_hw: tuple[int, int]) -> DictConfig:
    """Composed once; at most seven detections, and every score counts."""
    size = f"protocol.input_hw=[{image_hw[0]},{image_hw[1]}]"
    protocol = ("protocol.score_floor=0.0", "protocol.max_detections=7", size)
    return build.compose([f"detector={name}", "scale=nano", CLASSES, POINTS, *protocol])


def detector(name: str, image_hw: tuple[int, int] = (96, 96), seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return build.instantiate(config(name, image_hw).detector.net)


def images(count: int, image_hw: tuple[int, int] = (96, 96)) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, 3, *image_hw), generator=generator, dtype=torch.uint8)


def everywhere(image_hw: tuple[int, int]) -> Target:
    """Objects from a tenth of the image to nearly all of it, so that every level has some.

    Their points are the corners; the second one is not labelled everywhere.
    """
    height, width = image_hw
    boxes = [
        [x - s * width / 2, y - s * height / 2, x + s * width / 2, y + s * height / 2]
        for x, y, s in (
            *((0.2 * width, 0.2 * height, 0.1), (0.8 * width, 0.2 * height, 0.2)),
            *((0.2 * width, 0.8 * height, 0.3), (0.5 * width, 0.5 * height, 0.9)),
        )
    ]
    points = [[[*b[:2], 2], [*b[2:], v]] for b, v in zip(boxes, (0, 1, 2, 2), strict=True)]
    return target(boxes, labels=[0, 1, 2, 0], keypoints=points, image_hw=image_hw)


def nothing(image_hw: tuple[int, int] = (96, 96)) -> Target:
    return target(image_hw=image_hw)


def crowd(image_hw: tuple[int, int] = (96, 96)) -> Target:
    return target([[10, 10, 60, 60]], crowd=[True], image_hw=image_hw)


def tiny(image_hw: tuple[int, int] = (96, 96)) -> Target:
    return target([[40, 40, 40.6, 40.6]], image_hw=image_hw)


def total(losses: Losses) -> Tensor:
    return torch.stack([*losses.terms.values()]).sum()


def frames(targets: Sequence[Target]):
    return [t.frame for t in targets]


def same(first: Detections, second: Detections) -> bool:
    pairs = [(getattr(first, n), getattr(second, n)) for n in ("boxes", "scores", "labels")]
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("image_hw", SIZES, ids=str)
def test_it_takes_its_legal_sizes_square_or_not_alike_in_training_and_evaluation(name, image_hw):
    net = detector(name, image_hw)
    targets = [everywhere(image_hw), nothing(image_hw)]
    for mode in (True, False):
        net.train(mode)
        raw = net(images(2, image_hw))
        assert total(net.loss(raw, targets)).isfinite()
        assert len(net.decode(raw, frames(targets))) == 2


def test_it_refuses_an_illegal_size_in_one_line(name):
    net = detector(name)
    if net.input_hw is None and net.size_divisor == 1:
        pytest.skip(f"{name} takes every size")
    wrong = (96 + 1, 96 + 1) if net.input_hw is None else (128, 96)
    with pytest.raises(ConfigError) as error:
        net(images(1, wrong))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [nothing, tiny, crowd])
def test_its_loss_and_gradients_are_finite_whatever_the_batch_holds(name, kind):
    net = detector(name)
    losses = net.loss(net(images(2)), [kind(), kind()])
    assert total(losses).isfinite()
    total(losses).backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{key} has no gradient: DDP would hang"
            assert parameter.grad.isfinite().all(), key


def test_its_loss_terms_are_those_its_configuration_weighs(name):
    lit = build.instantiate(config(name, (96, 96)).detector)
    for targets in ([everywhere((96, 96)), nothing()], [nothing(), nothing()]):
        losses = lit.net.loss(lit.net(images(2)), targets)
        assert losses.terms.keys() == lit.loss_weights.keys()
        assert not any(value.requires_grad for value in losses.stats.values())


def test_every_trainable_parameter_learns_from_objects_of_all_sizes(name):
    net = detector(name)
    total(net.loss(net(images(2)), [everywhere((96, 96))] * 2)).backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.abs().sum() > 0, f"{key} does not learn"


@pytest.mark.parametrize("image_hw", SIZES, ids=str)
def test_its_detections_are_sorted_inside_the_image_and_no_more_than_allowed(name, image_hw):
    net = detector(name, image_hw).eval()
    with torch.no_grad():
        found = net.decode(net(images(4, image_hw)), frames([nothing(image_hw)] * 4))
    assert sum(len(f) for f in found) > 0
    for one in found:
        assert len(one) <= 7
        assert (one.scores.diff() <= 0).all()
        assert ((one.scores >= 0) & (one.scores <= 1)).all()
        assert ((one.labels >= 0) & (one.labels < net.num_classes)).all()
        limit = torch.tensor([image_hw[1], image_hw[0]] * 2)
        assert ((one.boxes >= 0) & (one.boxes <= limit)).all()
        assert (one.boxes[:, 2:] >= one.boxes[:, :2]).all()


@pytest.mark.parametrize("image_hw", SIZES, ids=str)
def test_a_perfect_output_decodes_to_its_targets(name, image_hw):
    net = detector(name, image_hw)
    if not hasattr(net, "encode"):
        pytest.skip(f"{name} is not one-stage: its coders have this test")
    truth = everywhere(image_hw)
    found = net.decode(net.encode([truth]), [truth.frame])[0]
    for box, label in zip(truth.boxes, truth.labels, strict=True):
        match = found[found.labels == label].boxes
        assert paired_iou(match, box.expand_as(match)).max() > 0.99


@pytest.mark.slow
def test_it_learns_one_image_by_heart(name):
    scene = images(1) // 8
    truth = target([[10, 14, 44, 40], [52, 50, 90, 92]], labels=[1, 2])
    for (x1, y1, x2, y2), channel in zip(truth.boxes.int().tolist(), (0, 2), strict=True):
        scene[0, channel, y1:y2, x1:x2] = 230
    torch.manual_seed(0)
    lit = build.instantiate(config(name, (96, 96)).detector)
    batch, targets = scene.repeat(4, 1, 1, 1), [truth] * 4
    optimizer = torch.optim.Adam(lit.net.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        lit.total(lit.net.loss(lit.net(batch), targets)).backward()
        optimizer.step()
    with torch.no_grad():
        found = lit.net.decode(lit.net(batch), frames(targets))[0][torch.arange(2)]
    assert sorted(found.labels.tolist()) == [1, 2]
    order = found.labels.argsort()
    assert (paired_iou(found.boxes[order], truth.boxes) > 0.7).all()
    assert (found.scores > 0.5).all()


def test_its_weights_survive_a_round_trip_through_a_checkpoint(name, tmp_path):
    first, second = detector(name, seed=0), detector(name, seed=1)
    first.loss(first(images(2)), [nothing()] * 2)  # moves the batch norm's statistics
    torch.save(first.state_dict(), tmp_path / "weights.ckpt")
    second.load_state_dict(torch.load(tmp_path / "weights.ckpt", weights_only=True))
    with torch.no_grad():
        raws = [net.eval()(images(2)) for net in (first, second)]
        found = [
            net.decode(raw, frames([nothing()] * 2))
            for net, raw in zip((first, second), raws, strict=True)
        ]
    assert all(same(a, b) for a, b in zip(*found, strict=True))


def test_the_same_seed_gives_the_same_loss(name):
    values = []
    for _ in range(2):
        net = detector(name, seed=3)
        values.append(total(net.loss(net(images(2)), [everywhere((96, 96)), nothing()])))
    assert torch.equal(*values)


def test_a_copy_gives_the_same_detections(name):
    net = detector(name).eval()
    with torch.no_grad():
        found = [n.decode(n(images(1)), frames([nothing()]))[0] for n in (net, copy.deepcopy(net))]
    assert same(*found)


def test_it_stays_finite_under_bfloat16(name):
    net = detector(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = net.loss(net(images(2)), [everywhere((96, 96)), nothing()])
    assert all(term.isfinite() for term in losses.terms.values())
    total(losses).backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


def test_at_scale_paper_it_can_be_built(name):
    with torch.device("meta"):
        nano, paper = (api.build_detector(f"detector={name}", f"scale={s}") for s in SCALES)
    sizes = [sum(p.numel() for p in net.parameters()) for net in (nano, paper)]
    assert sizes[0] <= sizes[1]
