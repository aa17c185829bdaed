import math

import pytest
import torch

from detectors.errors import ConfigError
from detectors.families.yolov7_raw import YOLOv7Raw
from detectors.fusing import fuse
from detectors.ops.anchors import CentredAnchors
from experiments import api
from tests.detectors.samples import frame, target
from tests.detectors.small_yolov7 import SIZES, raw_output, small_yolov7

HW = (96, 160)


def images(count: int = 2, image_hw: tuple[int, int] = HW) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, *image_hw), generator=generator, dtype=torch.uint8)


def silent() -> YOLOv7Raw:
    raw = raw_output(HW, images=1)
    with torch.no_grad():
        raw.codes.zero_()
    return raw


def test_a_prior_says_its_box_as_the_reference_decodes_it():
    """xy = (2 s - 0.5 + grid) stride, wh = (2 s)² anchor: row 3, column 5, stride 16, anchor 1."""
    raw = raw_output(HW, images=1)
    level = raw.levels[1]
    prior = len(raw.levels[0]) + (3 * level.columns + 5) * 3 + 1
    s = raw.codes[0, prior].detach().sigmoid()
    centre = (2 * s[:2] - 0.5 + torch.tensor([5.0, 3.0])) * 16
    half = (2 * s[2:]) ** 2 * torch.tensor([18.0, 38.0]) / 2
    box = torch.cat([centre - half, centre + half])
    with torch.no_grad():
        raw.objectness = torch.full_like(raw.objectness, -20.0)
        raw.objectness[0, prior] = 5.0
        (found,) = small_yolov7().decode(raw, [frame(HW)])
    limit = torch.tensor([160.0, 96.0, 160.0, 96.0])
    torch.testing.assert_close(found.boxes[0], box.clamp(min=0).minimum(limit))


def test_a_score_is_objectness_times_class_and_with_one_class_objectness_alone():
    for classes in (1, 3):
        raw = raw_output(HW, images=1, classes=classes)
        (found,) = small_yolov7(classes).decode(raw, [frame(HW)])
        objectness = raw.objectness[0].sigmoid()
        scores = (
            objectness
            if classes == 1
            else (objectness[:, None] * raw.class_logits[0].sigmoid()).flatten()
        )
        assert found.scores[0] == scores.max()


def test_one_place_can_hold_two_classes():
    raw = silent()
    with torch.no_grad():
        raw.objectness = torch.full_like(raw.objectness, -20.0)
        raw.objectness[0, 100] = 20.0
        raw.class_logits[0, 100] = torch.tensor([20.0, 20.0, -20.0])
        (found,) = small_yolov7().decode(raw, [frame(HW)])
    assert sorted(found[found.scores > 0.5].labels.tolist()) == [0, 1]


def test_the_head_starts_from_few_objects_and_from_its_classes():
    net = small_yolov7(80)
    for layer, stride in zip(net.head.layers, (8, 16, 32), strict=True):
        bias = layer.bias.detach().view(3, 85)
        spread = 1 / math.sqrt(layer.in_channels)
        assert (bias[:, 4] - math.log(8 / (640 / stride) ** 2)).abs().max() <= spread
        assert (bias[:, 5:] + 4.8804).abs().max() <= spread + 1e-4


def test_objects_that_no_anchor_fits_are_not_representable():
    boxes = [[40, 40, 60, 60], [10, 10, 10.5, 10.5], [0, 30, 160, 32]]
    flags = [False, False, True]
    some = target(boxes, difficult=flags, image_hw=HW)
    assert small_yolov7().representable(some).tolist() == [True, False, True]


def test_sizes_that_are_no_multiple_of_32_are_refused():
    with pytest.raises(ConfigError, match="divisible by 32 and got 96x100"):
        small_yolov7()(images(1, (96, 100)))


def test_fused_it_finds_the_same_with_fewer_layers():
    net = api.build_detector("detector=yolov7_tinyobject", "scale=nano")
    with torch.no_grad():
        for _ in range(3):
            net.train()(images())  # statistics of its own
        whole, fused = net.eval(), fuse(net)
        first, second = whole(images()), fused(images())
    for name in ("codes", "objectness", "class_logits"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), atol=1e-4, rtol=0)
    norms = [m for m in fused.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms == []
    assert not any(m.training for m in fused.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in whole.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov7", "yolov7_tiny", "yolov7_tinyobject"])
def test_at_scale_paper_fusing_changes_outputs_by_less_than_a_ten_thousandth(name):
    net = api.build_detector(f"detector={name}", "scale=paper").eval()
    with torch.no_grad():
        first, second = net(images(1, (320, 320))), fuse(net)(images(1, (320, 320)))
    for field in ("codes", "objectness", "class_logits"):
        assert (getattr(first, field) - getattr(second, field)).abs().max() <= 1e-4


def test_maps_and_anchors_must_agree():
    with pytest.raises(ConfigError, match="sizes has 2 levels"):
        api.build_detector("detector=yolov7", "detector.net.anchors.sizes=[[[1,1]],[[2,2]]]")
    net = small_yolov7()
    net.anchors = CentredAnchors([[8], [16], [32]])
    with pytest.raises(ConfigError, match=r"give \[width, height\]"):
        net(images())


def test_anchors_are_the_configured_ones_on_their_levels():
    net = small_yolov7()
    raw = net(images(1))
    assert [level.sizes for level in raw.levels] == [
        [(float(w), float(h)) for w, h in level] for level in SIZES
    ]
    widths = raw.anchors[:, 2] - raw.anchors[:, 0]
    assert widths[: len(raw.levels[0])].unique().tolist() == [6.0, 14.0, 18.0]
