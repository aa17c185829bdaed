"""YOLOv1 as a whole: layout, decoding, normalisation and its one input size."""

import pytest
import torch

from detectors.errors import ConfigError
from detectors.families.yolov1 import IMAGENET_MEAN, IMAGENET_STD, YOLOv1
from detectors.families.yolov1_loss import YOLOv1Raw
from detectors.ops.boxes import paired_iou
from detectors.ops.suppression import Suppression
from tests.detectors.samples import frame, random_target, small_yolov1, target


def images(count: int = 2, height: int = 96, width: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def fill_head(net: YOLOv1, values: torch.Tensor) -> None:
    """Makes the head say `values` whatever it sees."""
    with torch.no_grad():
        net.head.layer.weight.zero_()
        net.head.layer.bias.copy_(values)


def test_the_output_of_a_cell_is_classes_then_confidence_and_box_per_box():
    net = small_yolov1()
    fill_head(net, torch.arange(4 * 4 * 13, dtype=torch.float))
    raw = net(images(1))
    start = (2 * 4 + 3) * 13  # row 2, column 3
    assert raw.class_scores[0, 2, 3].tolist() == [start, start + 1, start + 2]
    assert raw.confidence[0, 2, 3].tolist() == [start + 3, start + 8]
    assert raw.boxes[0, 2, 3, 1].tolist() == [start + 9, start + 10, start + 11, start + 12]


def test_pixels_are_scaled_to_one_and_normalised_per_channel():
    seen = []
    net = small_yolov1()
    net.backbone.layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(images(1))
    wanted = images(1).float() / 255
    for channel in range(3):
        wanted[:, channel] -= IMAGENET_MEAN[channel]
        wanted[:, channel] /= IMAGENET_STD[channel]
    assert torch.allclose(seen[0], wanted, atol=1e-6)


@pytest.mark.parametrize("image_hw", [(96, 96), (64, 160)])
@pytest.mark.parametrize("units", ["cell", "image"])
@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_output_decodes_to_its_targets_and_has_no_loss(image_hw, units, seed):
    net = small_yolov1(input_hw=image_hw, size_units=units, suppression=Suppression(0.5, 1.0, 99))
    generator = torch.Generator().manual_seed(seed)
    truth = random_target(generator, 12, 3, image_hw)
    truth = truth[~(truth.crowd | truth.difficult)]
    raw = net.encode([truth])
    found = net.decode(raw, [truth.frame])[0]
    assert len(found) == int(net.representable(truth).sum())
    for box, label in zip(found.boxes, found.labels, strict=True):
        same = truth[truth.labels == label]
        assert paired_iou(same.boxes, box.expand_as(same.boxes)).max() > 0.99
    assert all(term.item() < 1e-6 for term in net.loss(raw, [truth]).terms.values())


def test_ignored_objects_are_not_encoded():
    net = small_yolov1()
    raw = net.encode([target([[1, 1, 20, 20], [50, 50, 70, 70]], crowd=[True, False])])
    assert raw.confidence.nonzero().tolist() == [[0, 2, 2, 0]]


def empty_raw() -> YOLOv1Raw:
    shape = (1, 4, 4)
    return YOLOv1Raw(torch.zeros(*shape, 3), torch.zeros(*shape, 2), torch.zeros(*shape, 2, 4))


def test_all_boxes_of_a_cell_and_all_its_classes_are_scored_confidence_times_probability():
    raw = empty_raw()
    raw.confidence[0, 1, 1] = torch.tensor([0.5, 0.8])
    raw.class_scores[0, 1, 1] = torch.tensor([0.9, 0.5, 0.0])
    raw.boxes[0, 1, 1] = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.8, 0.8, 0.4, 0.4]])
    found = small_yolov1().decode(raw, [frame()])[0]
    assert found.scores.tolist() == pytest.approx([0.72, 0.45, 0.40, 0.25])
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.boxes[0].tolist() == pytest.approx([38.4, 38.4, 48.0, 48.0], abs=1e-4)


def test_suppression_does_not_cross_classes():
    raw = empty_raw()
    raw.confidence[0, 1, 1] = torch.tensor([0.9, 0.8])
    raw.class_scores[0, 1, 1] = torch.tensor([0.9, 0.5, 0.0])
    raw.boxes[0, 1, 1] = torch.tensor([[0.5, 0.5, 1.0, 1.0]] * 2)
    assert small_yolov1().decode(raw, [frame()])[0].labels.tolist() == [0, 1]


def test_two_negative_outputs_do_not_make_a_detection():
    raw = empty_raw()
    raw.confidence[...] = -1
    raw.class_scores[...] = -1
    raw.boxes[...] = 0.5
    assert len(small_yolov1().decode(raw, [frame()])[0]) == 0


def test_boxes_without_area_in_the_image_are_dropped_and_others_clipped():
    raw = empty_raw()
    raw.confidence[0, 0, 0] = 1
    raw.class_scores[0, 0, 0, 0] = 1
    raw.boxes[0, 0, 0] = torch.tensor([[0.0, 0.0, 2.0, 2.0], [-3.0, 0.5, 1.0, 1.0]])
    found = small_yolov1().decode(raw, [frame()])[0]
    assert found.boxes.tolist() == [[0.0, 0.0, 24.0, 24.0]]
    raw.boxes[0, 0, 0, 1] = torch.tensor([0.5, 0.5, -1.0, 1.0])
    assert len(small_yolov1().decode(raw, [frame()])[0]) == 1


def test_it_refuses_another_input_size_in_one_line():
    with pytest.raises(ConfigError, match=r"built for 96x96 px .* got 64x96") as error:
        small_yolov1()(images(1, 64, 96))
    assert "\n" not in str(error.value)


def test_the_outputs_are_float32_under_bfloat16_autocast_and_the_loss_is_finite():
    net = small_yolov1()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = net(images())
        losses = net.loss(raw, [target([[10, 10, 40, 40]]), target()])
    assert raw.boxes.dtype == torch.float32
    assert all(term.dtype == torch.float32 and term.isfinite() for term in losses.terms.values())


def test_an_unknown_size_unit_is_refused():
    with pytest.raises(ConfigError, match="size_units=cells is none of cell, image"):
        small_yolov1(size_units="cells")


def test_the_gradient_of_the_loss_reaches_the_weights_in_float64_as_finite_differences_say():
    net = small_yolov1(grid=2, confidence_target="one").double()
    truth = [target([[10, 10, 40, 60]]), target([[50, 50, 80, 60]])]

    def total(bias: torch.Tensor) -> torch.Tensor:
        tensors = {"head.layer.bias": bias}
        raw = torch.func.functional_call(net, tensors, (images(),))
        return torch.stack([*net.loss(raw, truth).terms.values()]).sum()

    bias = torch.rand_like(net.head.layer.bias).requires_grad_()
    assert torch.autograd.gradcheck(total, (bias,))


def test_the_first_object_of_each_cell_is_representable():
    net = small_yolov1(input_hw=(96, 96))
    crowded = target([[1, 1, 5, 5], [2, 2, 6, 6], [60, 60, 80, 80]], image_hw=(96, 96))
    assert net.representable(crowded).tolist() == [True, False, True]
    assert net.representable(target(image_hw=(96, 96))).tolist() == []


def test_crowd_and_difficult_objects_take_no_cell_from_others():
    net = small_yolov1(input_hw=(96, 96))
    boxes = [[1, 1, 5, 5], [2, 2, 6, 6], [60, 60, 80, 80]]
    flags = {"crowd": [True, False, False], "difficult": [False, False, True]}
    assert net.representable(target(boxes, image_hw=(96, 96), **flags)).all()
