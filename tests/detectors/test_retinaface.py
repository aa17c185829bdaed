"""RetinaFace as a whole: sizes, pixels, what it says of which part of the image, and decoding."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import normalize

from detectors.backbones.backbone import Backbone
from detectors.backbones.mobilenet025 import MobileNet025
from detectors.backbones.timm_pyramid import TimmPyramid
from detectors.errors import ConfigError
from detectors.families.retinaface import RetinaFace
from detectors.families.retinaface_loss import RetinaFaceRaw
from detectors.necks.fpn import FPN
from detectors.ops.suppression import Suppression
from experiments import api
from tests.detectors.samples import OnePixel, frame, random_target, small_retinaface, target

SIZES = {
    ("mobilenet025", 3): 425_048,
    ("mobilenet025", 5): 426_608,
    ("resnet50", 3): 27_287_432,
    ("resnet50", 5): 27_293_600,
}
PARTS = {
    "mobilenet025": (213_072, 103_040, 104_256),
    "resnet50": (23_508_032, 2_099_712, 1_661_184),
}
"""Parameters of backbone, pyramid and context modules."""


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


BACKBONES = {
    "mobilenet025": MobileNet025,
    "resnet50": lambda: TimmPyramid(name="resnet50", out_indices=(2, 3, 4)),
}


@pytest.mark.parametrize(("backbone", "points"), SIZES)
def test_it_has_the_parameters_of_the_reference(backbone, points):
    with torch.device("meta"):
        net = small_retinaface(backbone=BACKBONES[backbone](), num_classes=1, num_points=points)
    assert size(net) == SIZES[backbone, points]
    assert (size(net.backbone), size(net.neck.fpn), size(net.neck.ssh)) == PARTS[backbone]


@pytest.mark.parametrize(("scale", "least", "most"), [("nano", 0, 5e6), ("paper", 27_287_432, 3e7)])
def test_resnet50_is_the_reports_at_scale_paper_and_small_at_nano(scale, least, most):
    points = "++datamodule.info.keypoint_names=[head,body,tail]"
    with torch.device("meta"):
        choice = (f"scale={scale}", "backbone=resnet50", points)
        net = api.build_detector("detector=retinaface_3pt", *choice)
    assert net.num_points == 3
    assert least <= size(net) <= most


def test_without_names_of_points_in_the_dataset_it_predicts_boxes_only():
    with torch.device("meta"):
        net = api.build_detector("detector=retinaface_3pt", "datamodule=synthetic_easy")
    assert net.num_points == 0


@pytest.mark.parametrize("image_hw", [(97, 61), (64, 160), (333, 251)])
def test_any_size_is_legal(image_hw):
    net = small_retinaface().eval()
    with torch.no_grad():
        raw = net(torch.zeros(1, 3, *image_hw, dtype=torch.uint8))
    count = sum(2 * math.ceil(image_hw[0] / s) * math.ceil(image_hw[1] / s) for s in (8, 16, 32))
    assert raw.class_logits.shape == (1, count, 4)
    assert raw.box_codes.shape == (1, count, 4)
    assert raw.point_codes.shape == (1, count, 3, 2)
    assert len(raw.anchors) == count
    assert raw.image_hw == image_hw


class Recorder(Backbone):
    """Passes three empty maps on and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [4, 4, 4], [8, 16, 32]

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen = images
        height, width = images.shape[-2:]
        return [images.new_zeros(len(images), 4, height // s, width // s) for s in self.strides]


def test_pixels_are_normalised_as_torchvisions_weights_or_as_the_references_expect():
    image = torch.randint(256, (1, 3, 32, 64), dtype=torch.uint8)
    library, reference = Recorder(), Recorder()
    small_retinaface(backbone=library)(image)
    small_retinaface(backbone=reference, pixels="reference")(image)
    wanted = normalize(image / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.testing.assert_close(library.seen, wanted, atol=1e-5, rtol=1e-5)
    red, green, blue = image[0].float()
    bgr = torch.stack([blue - 104, green - 117, red - 123])
    assert torch.equal(reference.seen[0], bgr)


def test_unknown_pixels_are_refused_with_the_nearest_ones():
    with pytest.raises(ConfigError, match=r"pixels=refrence .* did you mean reference\?"):
        small_retinaface(pixels="refrence")


def test_a_backbone_with_too_few_maps_is_refused():
    with pytest.raises(ConfigError, match=r"OnePixel with FPNWithSSH gives .* \[16\] .* 3 levels"):
        small_retinaface(backbone=OnePixel())


def test_a_neck_with_a_level_too_many_is_refused():
    with pytest.raises(ConfigError, match=r"MobileNet025 with FPN gives .*32, 64\] .* 3 levels"):
        small_retinaface(neck=FPN)


@pytest.mark.parametrize(("level", "stride"), [(0, 8), (1, 16), (2, 32)])
def test_an_anchors_outputs_look_at_its_own_place_in_the_image(level, stride):
    """The gradient of an output, as a weight on the pixels, is centred on the anchor."""
    torch.manual_seed(0)
    net = small_retinaface().eval()
    height, width = 256, 512
    images = torch.randn(1, 3, height, width, requires_grad=True)
    cells = [(height // s) * (width // s) for s in (8, 16, 32)]
    row, column = height // stride // 2, width // stride // 4
    anchor = 2 * (sum(cells[:level]) + row * (width // stride) + column)
    net.class_head(net.neck(net.backbone(images)))[0, anchor].sum().backward()
    weight = images.grad.square().sum((0, 1))
    weight = weight / weight.sum()
    y = (weight.sum(1) * (torch.arange(height) + 0.5)).sum()
    x = (weight.sum(0) * (torch.arange(width) + 0.5)).sum()
    found = net.anchors([(height // s, width // s) for s in (8, 16, 32)], [8, 16, 32])[anchor]
    wanted = (found[:2] + found[2:]) / 2
    assert wanted.tolist() == [(column + 0.5) * stride, (row + 0.5) * stride]
    assert abs(x - wanted[0]) < stride
    assert abs(y - wanted[1]) < stride


def plain_raw(net: RetinaFace, image_hw=(96, 128)) -> RetinaFaceRaw:
    """Background everywhere; boxes are the anchors, points their centres."""
    raw = net.encode([target([[0, 0, image_hw[1], image_hw[0]]])])
    raw.class_logits[:] = 0
    raw.class_logits[..., 0] = 20
    raw.box_codes[:] = 0
    raw.point_codes[:] = 0
    return raw


def test_a_perfect_output_decodes_to_boxes_labels_and_points():
    net = small_retinaface()
    boxes = [[5.0, 10, 25, 28], [40.0, 12, 90, 60], [60.0, 50, 126, 94]]
    points = [[[b[0], b[1], 2], [b[2], b[3], 1], [60.0, 40.0, 2]] for b in boxes]
    truth = target(boxes, labels=[2, 0, 1], keypoints=points, image_hw=(96, 128))
    found = net.decode(net.encode([truth]), [truth.frame])[0]
    assert sorted(found.labels.tolist()) == [0, 1, 2]
    for i, label in enumerate(truth.labels):
        row = int((found.labels == label).nonzero()[0])
        torch.testing.assert_close(found.boxes[row], truth.boxes[i], atol=1e-3, rtol=0)
        xy = truth.keypoints[i, :, :2]
        torch.testing.assert_close(found.keypoints[row, :, :2], xy, atol=1e-3, rtol=0)
        assert (found.keypoints[row, :, 2] == 2).all()


def test_scores_are_softmax_probabilities_of_each_class_without_background():
    net = small_retinaface(suppression=Suppression(0.01, 0.5, 10))
    raw = plain_raw(net)
    raw.class_logits[0, 7] = torch.tensor([1.0, 2.0, 3.0, -9.0])
    found = net.decode(raw, [frame((96, 128))])[0]
    wanted = torch.tensor([1.0, 2.0, 3.0, -9.0]).softmax(0)
    assert found.labels.tolist() == [1, 0]
    torch.testing.assert_close(found.scores, wanted[[2, 1]])
    assert torch.equal(found.boxes[0], raw.anchors[7].clamp(min=0))


def test_boxes_are_clipped_and_those_outside_the_image_dropped_but_points_may_lie_outside():
    net = small_retinaface()
    raw = plain_raw(net)
    height, width = raw.image_hw
    raw.class_logits[0, :2, 1] = 40
    raw.box_codes[0, 0, 0] = -100.0  # 8 px: 80 px to the left
    raw.point_codes[0, 1] = -10.0
    found = net.decode(raw, [frame(raw.image_hw)])[0]
    assert len(found) == 1
    assert found.boxes[0].tolist() == [0, 0, 12, 12]
    assert (found.keypoints[0, :, :2] == 4 - 16).all()
    assert (height, width) == (96, 128)


def test_suppression_sees_only_the_best_pairs():
    raw = plain_raw(small_retinaface())
    raw.class_logits[0, ::40, 1] = torch.linspace(30, 40, len(raw.anchors[::40]))
    for pre_nms, count in ((1000, len(raw.anchors[::40])), (4, 4), (1, 1)):
        keep_all = Suppression(0.5, 1.0, 1000)
        net = small_retinaface(pre_nms=pre_nms, suppression=keep_all)
        found = net.decode(raw, [frame(raw.image_hw)])[0]
        assert len(found) == count
        assert (found.scores.diff() <= 0).all()


def test_without_points_there_is_no_head_for_them_and_detections_have_none():
    net = small_retinaface(num_points=0).eval()
    assert size(small_retinaface(num_points=5)) - size(net) == 3 * 2 * 2 * 5 * (64 + 1)
    truth = target([[5.0, 10, 25, 28]])
    found = net.decode(net.encode([truth]), [truth.frame])[0]
    assert len(found) == 1
    assert found.keypoints is None


def test_three_hundred_objects_and_one_pixel_boxes_are_trained_on():
    net = small_retinaface()
    many = random_target(torch.Generator().manual_seed(0), 300, 3, (96, 128))
    dot = target([[40.0, 40, 41, 41]], image_hw=(96, 128))
    losses = net.loss(net(torch.zeros(2, 3, 96, 128, dtype=torch.uint8)), [many, dot])
    assert all(term.isfinite() for term in losses.terms.values())
    assert losses.stats["objects_lost"] >= 1


def test_objects_that_no_anchor_fits_cannot_be_represented():
    boxes = [[10.0, 10, 40, 40], [40.0, 40, 41, 41], [0.0, 0, 90, 3], [0.0, 0, 3, 90]]
    held = small_retinaface().representable(target(boxes, difficult=[False, False, False, True]))
    assert held.tolist() == [True, False, False, True]
    assert small_retinaface().representable(target()).tolist() == []
