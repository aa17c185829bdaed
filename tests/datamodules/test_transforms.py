import os
import subprocess
import sys
from dataclasses import replace

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.framing import Letterbox
from datamodules.objects import Keep, Sample
from datamodules.patch import FILL
from datamodules.sources.source import original_target
from datamodules.transforms import Pipeline
from detectors.errors import ConfigError
from detectors.structures import Detections, Target

INPUT_HW = (96, 128)
EVERYTHING = Keep(min_visibility=0.0, min_side=0.0)
JITTER = Letterbox(scale=(0.5, 1.6), translate=0.3)


def blank(hw=(100, 140)) -> np.ndarray:
    return np.zeros((*hw, 3), np.uint8)


def target_of(boxes, keypoints=None, hw=(100, 140)) -> Target:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    target = original_target("a", hw, boxes, np.arange(len(boxes)))
    if keypoints is None:
        return target
    return replace(target, keypoints=torch.tensor(keypoints, dtype=torch.float32))


def run(pipeline: Pipeline, image: np.ndarray, target: Target, seed: int = 0) -> Sample:
    return pipeline(image, target, np.random.default_rng(seed))


def points(target: Target) -> torch.Tensor:
    assert target.keypoints is not None
    return target.keypoints


def apply(affine: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    return xy @ affine[:, :2].T + affine[:, 2]


def geometry() -> dict:
    """Flips, shifts, scales."""
    return {
        "flip": A.HorizontalFlip(p=0.5),
        "upside_down": A.VerticalFlip(p=0.5),
        "affine": A.Affine(translate_px=(-9, 9), scale=(0.8, 1.2), p=0.5),
        "colour": A.HueSaturationValue(p=0.5),
    }


def jittered(input_hw=INPUT_HW) -> Pipeline:
    return Pipeline(input_hw, JITTER, geometry(), EVERYTHING)


sizes = st.tuples(st.integers(20, 400), st.integers(20, 400))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), original=sizes)
def test_detections_go_back_to_the_pixels_they_came_from(seed, original):
    height, width = original
    box = [0.4 * width, 0.3 * height, 0.7 * width, 0.6 * height]
    moved = run(jittered(), blank(original), target_of([box], hw=original), seed).target
    corners = apply(moved.frame.affine, torch.tensor(box).reshape(2, 2))
    found = torch.cat([corners.amin(0), corners.amax(0)])[None]
    back = Detections(found, torch.ones(1), torch.zeros(1).long(), moved.frame).to_original()
    np.testing.assert_allclose(back.boxes[0].numpy(), box, atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_pixels_move_with_the_boxes(seed):
    image = blank((200, 280))
    image[80:120, 100:160] = 255
    pipeline = Pipeline((192, 256), JITTER, geometry() | {"colour": None}, EVERYTHING)
    sample = run(pipeline, image, target_of([[100, 80, 160, 120]], hw=(200, 280)), seed)
    bright = (sample.image.min(axis=-1) > 184).astype(np.uint8)  # more white than fill
    x, y, width, height = cv2.boundingRect(bright)
    if width and height:
        found = np.array([x, y, x + width, y + height])
        assert np.abs(found - sample.target.boxes[0].numpy()).max() < 1.6


def test_a_flip_takes_x_to_width_minus_x_for_boxes_and_points_alike():
    pipeline = Pipeline((100, 140), augment={"flip": A.HorizontalFlip(p=1.0)})
    image = blank()
    image[20, 0] = 255
    sample = run(pipeline, image, target_of([[10, 20, 50, 60]], [[[10.0, 20.0, 2.0]]]))
    torch.testing.assert_close(sample.target.boxes, torch.tensor([[90.0, 20.0, 130.0, 60.0]]))
    torch.testing.assert_close(points(sample.target), torch.tensor([[[130.0, 20.0, 2.0]]]))
    assert sample.image[20, 139].tolist() == [255] * 3


@pytest.mark.parametrize("flip", [A.HorizontalFlip, A.VerticalFlip, A.Transpose])
def test_flipping_twice_changes_nothing(flip):
    hw = (100, 100)
    image = np.random.default_rng(0).integers(0, 255, (*hw, 3), np.uint8)
    target = target_of([[10, 20, 50, 60]], [[[10.0, 20.0, 2.0]]], hw)
    sample = run(Pipeline(hw, augment={"a": flip(p=1.0), "b": flip(p=1.0)}), image, target)
    assert np.array_equal(sample.image, image)
    for name in ("boxes", "keypoints", "area"):
        torch.testing.assert_close(getattr(sample.target, name), getattr(target, name))
    torch.testing.assert_close(sample.target.frame.affine, torch.eye(2, 3), atol=1e-4, rtol=0)


def test_left_and_right_trade_places_in_a_mirrored_image_only():
    left_right_top = [[[10.0, 20.0, 2.0], [30.0, 20.0, 1.0], [20.0, 50.0, 2.0]]]
    target = target_of([[0, 0, 60, 60]], left_right_top)
    flips = {"a": A.HorizontalFlip(p=1.0), "b": A.VerticalFlip(p=1.0)}
    mirrored = Pipeline((100, 140), augment=flips | {"b": None}, flip_pairs=[[0, 1]])
    turned = Pipeline((100, 140), augment=flips, flip_pairs=[[0, 1]])
    moved = run(mirrored, blank(), target).target
    expected = torch.tensor([[110.0, 20.0, 1.0], [130.0, 20.0, 2.0], [120.0, 50.0, 2.0]])
    torch.testing.assert_close(points(moved)[0], expected)
    moved = run(turned, blank(), target).target
    torch.testing.assert_close(points(moved)[0, 0], torch.tensor([130.0, 80.0, 2.0]))


def test_points_on_the_border_stay_on_it_through_a_flip_and_those_beyond_become_absent():
    corners = [[[0.0, 0.0, 2.0], [140.0, 100.0, 1.0], [140.5, 50.0, 2.0]]]
    for flip in (A.HorizontalFlip, A.VerticalFlip):
        pipeline = Pipeline((100, 140), augment={"flip": flip(p=1.0)})
        moved = points(run(pipeline, blank(), target_of([[0, 0, 140, 100]], corners)).target)
        assert moved[0, :, 2].tolist() == [2, 1, 0]
        sides = [[140, 0], [0, 100]] if flip is A.HorizontalFlip else [[0, 100], [140, 0]]
        torch.testing.assert_close(moved[0, :2, :2], torch.tensor(sides).float())
        assert moved[0, 2].tolist() == [0, 0, 0]


def test_keypoints_that_leave_the_image_become_absent():
    target = target_of([[0, 0, 140, 100]], [[[1.0, 1.0, 2.0], [70.0, 50.0, 1.0], [5.0, 5.0, 0.0]]])
    moved = run(Pipeline((100, 140), Letterbox((2.0, 2.0))), blank(), target).target
    expected = torch.tensor([[0.0, 0.0, 0.0], [70.0, 50.0, 1.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(points(moved)[0], expected)


def test_boxes_out_of_view_go_with_all_that_belongs_to_them_and_are_counted():
    zoom = Letterbox((2.0, 2.0))  # shows x 35..105, y 25..75
    target = target_of(
        [[0, 0, 30, 20], [50, 40, 60, 60], [30, 30, 40, 70]], [[[55.0, 50.0, 2.0]]] * 3
    )
    target = replace(target, difficult=torch.tensor([False, True, False]))
    sample = run(Pipeline((100, 140), zoom), blank(), target)
    assert sample.target.labels.tolist() == [1, 2]
    assert sample.target.difficult.tolist() == [True, False]
    assert sample.target.area.tolist() == [200, 400]  # of the original objects
    assert points(sample.target).shape == (2, 1, 3)
    torch.testing.assert_close(sample.target.boxes[1], torch.tensor([0.0, 10.0, 10.0, 90.0]))
    assert sample.dropped == {"framing": 1}


def test_what_an_augmentation_drops_is_counted_beside_what_the_framing_dropped():
    target = target_of([[0, 0, 30, 20], [50, 40, 60, 60], [36, 26, 40, 30]])
    shift = A.Affine(translate_px={"x": (-60, -60), "y": (0, 0)}, p=1.0)
    sample = run(Pipeline((100, 140), Letterbox((2.0, 2.0)), {"shift": shift}), blank(), target)
    assert sample.target.labels.tolist() == []
    assert sample.dropped == {"framing": 1, "augment": 2}


def test_what_left_the_picture_does_not_come_back():
    shift = A.Affine(translate_px={"x": (60, 60), "y": (0, 0)}, p=1.0)
    pipeline = Pipeline((100, 140), Letterbox((2.0, 2.0)), {"shift": shift})
    assert len(run(pipeline, blank(), target_of([[5, 40, 25, 60]])).target) == 0


def test_an_image_without_objects_passes():
    sample = run(jittered(), blank(), target_of([]), seed=3)
    assert sample.image.shape == (*INPUT_HW, 3)
    assert sample.image.dtype == np.uint8
    assert sample.target.boxes.shape == (0, 4)


def test_a_box_off_by_rounding_is_no_reason_to_raise():
    moved = run(Pipeline((100, 140)), blank(), target_of([[-0.0025, 0, 140.0001, 100]])).target
    torch.testing.assert_close(
        moved.boxes, torch.tensor([[0.0, 0.0, 140.0, 100.0]]), atol=1e-4, rtol=0
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_randomness_gives_the_same_sample_in_any_pipeline(seed):
    image = np.random.default_rng(0).integers(0, 255, (100, 140, 3), np.uint8)
    target = target_of([[10, 20, 50, 60]])
    used = jittered()
    run(used, image, target, seed=1)
    one, two = run(used, image, target, seed), run(jittered(), image, target, seed)
    assert np.array_equal(one.image, two.image)
    assert torch.equal(one.target.frame.affine, two.target.frame.affine)


def test_what_one_transform_draws_says_nothing_about_the_next():
    flips, turns = [], []
    augment = {"a": A.HorizontalFlip(p=0.5), "b": A.VerticalFlip(p=0.5)}
    pipeline = Pipeline((100, 140), augment=augment)
    for seed in range(400):
        affine = run(pipeline, blank(), target_of([]), seed).target.frame.affine
        flips.append(bool(affine[0, 0] < 0))
        turns.append(bool(affine[1, 1] < 0))
    assert 150 < sum(flips) < 250
    assert abs(np.corrcoef(flips, turns)[0, 1]) < 0.2


def test_what_lies_outside_the_image_is_grey():
    image = run(Pipeline((100, 200)), blank((100, 100)), target_of([], hw=(100, 100))).image
    assert (image[:, :50] == FILL).all()
    assert (image[:, 50:150] == 0).all()
    assert (image[:, 150:] == FILL).all()


def test_a_transform_set_to_null_is_off():
    pipeline = Pipeline((100, 140), augment={"flip": None, "blur": None})
    sample = run(pipeline, blank(), target_of([]))
    torch.testing.assert_close(sample.target.frame.affine, torch.eye(2, 3), atol=1e-4, rtol=0)
    assert sample.dropped == {"framing": 0}


def test_transforms_that_move_nothing_leave_the_objects_alone():
    pipeline = Pipeline((100, 140), augment={"light": A.RandomBrightnessContrast(p=1.0)})
    target = target_of([[10, 20, 50, 60]])
    sample = run(pipeline, blank() + np.uint8(90), target)
    assert (sample.image != 90).any()
    torch.testing.assert_close(sample.target.boxes, target.boxes)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"bend": A.ElasticTransform(alpha=300, sigma=5, p=1.0)}, "bends the image by"),
        ({"tilt": A.Perspective(scale=(0.2, 0.2), p=1.0)}, "bends the image by"),
        ({"smaller": A.Resize(32, 32, p=1.0)}, "remove what resizes"),
        ({"floats": A.ToFloat(p=1.0)}, "remove what resizes"),
        ({"typo": "flip"}, "augment.typo is a str"),
        ({"framing": Letterbox()}, "augment.framing is a Letterbox"),
    ],
)
def test_what_a_frame_cannot_record_is_refused_in_one_line(augment, message):
    with pytest.raises(ConfigError) as caught:
        run(Pipeline((100, 140), augment=augment), blank(), target_of([]))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_importing_the_pipeline_asks_no_network_and_leaves_the_environment_alone():
    script = (
        "import os, socket, urllib.request\n"
        "def refuse(*a, **k): raise SystemExit('the network was asked')\n"
        "socket.socket.connect = urllib.request.urlopen = refuse\n"
        "before = dict(os.environ)\n"
        "import datamodules.transforms\n"
        "changed = set(before.items()) ^ set(os.environ.items())\n"
        "assert not any('ALBUMENTATIONS' in key for key, _ in changed), changed\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
