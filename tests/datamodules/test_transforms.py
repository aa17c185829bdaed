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

from datamodules.sources.source import original_target
from datamodules.transforms import FILL, Letterbox, Pipeline, letterbox_affine
from detectors.errors import ConfigError
from detectors.structures import Detections, Target

INPUT_HW = (96, 128)


def blank(hw=(100, 140)) -> np.ndarray:
    return np.zeros((*hw, 3), np.uint8)


def target_of(boxes, keypoints=None, hw=(100, 140)) -> Target:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    target = original_target("a", hw, boxes, np.arange(len(boxes)))
    if keypoints is None:
        return target
    return replace(target, keypoints=torch.tensor(keypoints, dtype=torch.float32))


def points(target: Target) -> torch.Tensor:
    assert target.keypoints is not None
    return target.keypoints


def apply(affine: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    return xy @ affine[:, :2].T + affine[:, 2]


def geometry(input_hw=INPUT_HW) -> dict:
    """Flips, quarter turns, shifts, scales and letterbox jitter."""
    return {
        "letterbox": Letterbox(input_hw, scale=(0.5, 1.6), translate=0.3),
        "flip": A.HorizontalFlip(p=0.5),
        "upside_down": A.VerticalFlip(p=0.5),
        "affine": A.Affine(translate_px=(-9, 9), scale=(0.8, 1.2), p=0.5),
        "colour": A.HueSaturationValue(p=0.5),
    }


sizes = st.tuples(st.integers(20, 400), st.integers(20, 400))


@given(original=sizes, new=sizes, fraction=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_letterbox_maps_every_point_as_its_closed_form_says(original, new, fraction):
    scale = min(new[0] / original[0], new[1] / original[1])
    point = np.array([fraction[0] * original[1], fraction[1] * original[0]])
    left, top = (new[1] - scale * original[1]) / 2, (new[0] - scale * original[0]) / 2
    affine = letterbox_affine(original, new)
    found = affine[:, :2] @ point + affine[:, 2]
    np.testing.assert_allclose(found, [left + scale * point[0], top + scale * point[1]], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(original=sizes, new=sizes)
def test_the_pipeline_without_augmentation_is_the_letterbox(original, new):
    box = [0, 0, original[1], original[0]]
    _, moved = Pipeline(new)(blank(original), target_of([box], hw=original), seed=0)
    expected = letterbox_affine(original, new)
    np.testing.assert_allclose(moved.frame.affine.numpy(), expected, atol=1e-4)
    assert moved.frame.original_hw == original


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), original=sizes)
def test_detections_go_back_to_the_pixels_they_came_from(seed, original):
    height, width = original
    box = [0.2 * width, 0.1 * height, 0.9 * width, 0.7 * height]
    pipeline = Pipeline(INPUT_HW, geometry(), min_visibility=0.0, min_side=0.0)
    _, moved = pipeline(blank(original), target_of([box], hw=original), seed)
    corners = apply(moved.frame.affine, torch.tensor(box).reshape(2, 2))
    found = torch.cat([corners.amin(0), corners.amax(0)])[None]
    back = Detections(found, torch.ones(1), torch.zeros(1).long(), moved.frame).to_original()
    np.testing.assert_allclose(back.boxes[0].numpy(), box, atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_boxes_and_keypoints_follow_the_recorded_affine(seed, data):
    x, y = data.draw(st.floats(0, 90)), data.draw(st.floats(0, 60))
    box, point = [x, y, x + 40, y + 30], [x + 40, y + 30, 2.0]
    pipeline = Pipeline(INPUT_HW, geometry(), min_visibility=0.0, min_side=0.0)
    _, moved = pipeline(blank(), target_of([box], [[point]]), seed)
    corners = apply(moved.frame.affine, torch.tensor(box).reshape(2, 2))
    limit = torch.tensor([INPUT_HW[1], INPUT_HW[0]])
    low, high = (c.clamp(min=0).minimum(limit) for c in (corners.amin(0), corners.amax(0)))
    torch.testing.assert_close(moved.boxes[0], torch.cat([low, high]), atol=1e-3, rtol=0)
    found = points(moved)[0, 0]
    if found[2] > 0:
        torch.testing.assert_close(found[:2], corners[1], atol=1e-3, rtol=0)
    else:
        assert found.tolist() == [0, 0, 0]
        assert ((corners[1] < 1e-3) | (corners[1] > limit - 1e-3)).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_pixels_move_with_the_boxes(seed):
    image = blank((200, 280))
    image[80:120, 100:160] = 255
    augment = geometry((192, 256)) | {"colour": None}
    pipeline = Pipeline((192, 256), augment, min_visibility=0.0, min_side=0.0)
    pixels, moved = pipeline(image, target_of([[100, 80, 160, 120]], hw=(200, 280)), seed)
    bright = (pixels.numpy().min(axis=0) > 184).astype(np.uint8)  # more white than fill
    x, y, width, height = cv2.boundingRect(bright)
    if width and height:
        assert np.abs(np.array([x, y, x + width, y + height]) - moved.boxes[0].numpy()).max() < 1.6


def test_a_flip_takes_x_to_width_minus_x_for_boxes_and_points_alike():
    hw = (100, 140)
    pipeline = Pipeline(hw, {"flip": A.HorizontalFlip(p=1.0)})
    image = blank(hw)
    image[20, 0] = 255
    target = target_of([[10, 20, 50, 60]], [[[10.0, 20.0, 2.0]]])
    pixels, moved = pipeline(image, target, seed=0)
    torch.testing.assert_close(moved.boxes, torch.tensor([[90.0, 20.0, 130.0, 60.0]]))
    torch.testing.assert_close(moved.keypoints, torch.tensor([[[130.0, 20.0, 2.0]]]))
    assert pixels[:, 20, 139].tolist() == [255] * 3


@pytest.mark.parametrize("flip", [A.HorizontalFlip, A.VerticalFlip, A.Transpose])
def test_flipping_twice_changes_nothing(flip):
    hw = (100, 100)
    image = np.random.default_rng(0).integers(0, 255, (*hw, 3), np.uint8)
    target = target_of([[10, 20, 50, 60]], [[[10.0, 20.0, 2.0]]], hw)
    pipeline = Pipeline(hw, {"once": flip(p=1.0), "twice": flip(p=1.0)})
    pixels, moved = pipeline(image, target, seed=0)
    assert np.array_equal(pixels.numpy().transpose(1, 2, 0), image)
    for name in ("boxes", "keypoints", "area"):
        torch.testing.assert_close(getattr(moved, name), getattr(target, name))
    torch.testing.assert_close(moved.frame.affine, torch.eye(2, 3), atol=1e-4, rtol=0)


def test_left_and_right_trade_places_in_a_mirrored_image_only():
    left_right_top = [[[10.0, 20.0, 2.0], [30.0, 20.0, 1.0], [20.0, 50.0, 2.0]]]
    target = target_of([[0, 0, 60, 60]], left_right_top)
    mirrored = Pipeline((100, 140), {"flip": A.HorizontalFlip(p=1.0)}, flip_pairs=[[0, 1]])
    turned = Pipeline(
        (100, 140),
        {"a": A.HorizontalFlip(p=1.0), "b": A.VerticalFlip(p=1.0)},
        flip_pairs=[[0, 1]],
    )
    _, moved = mirrored(blank(), target, seed=0)
    expected = torch.tensor([[110.0, 20.0, 1.0], [130.0, 20.0, 2.0], [120.0, 50.0, 2.0]])
    torch.testing.assert_close(points(moved)[0], expected)
    _, moved = turned(blank(), target, seed=0)
    torch.testing.assert_close(points(moved)[0, 0], torch.tensor([130.0, 80.0, 2.0]))


def test_keypoints_that_leave_the_image_become_absent():
    target = target_of([[0, 0, 140, 100]], [[[1.0, 1.0, 2.0], [70.0, 50.0, 1.0], [5.0, 5.0, 0.0]]])
    _, moved = Pipeline((100, 140), {"zoom": Letterbox((100, 140), (2.0, 2.0))})(blank(), target, 0)
    expected = torch.tensor([[0.0, 0.0, 0.0], [70.0, 50.0, 1.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(points(moved)[0], expected)


def test_boxes_out_of_view_go_with_all_that_belongs_to_them():
    zoom = {"zoom": Letterbox((100, 140), (2.0, 2.0))}  # shows x 35..105, y 25..75
    target = target_of(
        [[0, 0, 30, 20], [50, 40, 60, 60], [30, 30, 40, 70]], [[[55.0, 50.0, 2.0]]] * 3
    )
    target = replace(target, difficult=torch.tensor([False, True, False]))
    _, moved = Pipeline((100, 140), zoom)(blank(), target, seed=0)
    assert moved.labels.tolist() == [1, 2]
    assert moved.difficult.tolist() == [True, False]
    assert moved.area.tolist() == [200, 400]  # of the original objects
    assert points(moved).shape == (2, 1, 3)
    torch.testing.assert_close(moved.boxes[1], torch.tensor([0.0, 10.0, 10.0, 90.0]))
    _, moved = Pipeline((100, 140), zoom, min_visibility=0.6)(blank(), target, seed=0)
    assert moved.labels.tolist() == [1]
    _, moved = Pipeline((100, 140), zoom, min_side=15.0)(blank(), target, seed=0)
    assert moved.labels.tolist() == [1]


def test_an_image_without_objects_passes():
    pipeline = Pipeline(INPUT_HW, geometry())
    pixels, moved = pipeline(blank(), target_of([]), seed=3)
    assert pixels.shape == (3, *INPUT_HW)
    assert pixels.dtype == torch.uint8
    assert moved.boxes.shape == (0, 4)


def test_a_box_off_by_rounding_is_no_reason_to_raise():
    _, moved = Pipeline((100, 140))(blank(), target_of([[-0.0025, 0, 140.0001, 100]]), seed=0)
    torch.testing.assert_close(
        moved.boxes, torch.tensor([[0.0, 0.0, 140.0, 100.0]]), atol=1e-4, rtol=0
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_sample_in_any_pipeline(seed):
    image = np.random.default_rng(0).integers(0, 255, (100, 140, 3), np.uint8)
    target = target_of([[10, 20, 50, 60]])
    used = Pipeline(INPUT_HW, geometry())
    used(image, target, seed=1)
    one, two = used(image, target, seed), Pipeline(INPUT_HW, geometry())(image, target, seed)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1].frame.affine, two[1].frame.affine)


def test_what_one_transform_draws_says_nothing_about_the_next():
    flips, turns = [], []
    pipeline = Pipeline((100, 140), {"a": A.HorizontalFlip(p=0.5), "b": A.VerticalFlip(p=0.5)})
    for seed in range(400):
        affine = pipeline(blank(), target_of([]), seed)[1].frame.affine
        flips.append(bool(affine[0, 0] < 0))
        turns.append(bool(affine[1, 1] < 0))
    assert 150 < sum(flips) < 250
    assert abs(np.corrcoef(flips, turns)[0, 1]) < 0.2


def test_jitter_stays_within_its_ranges():
    pipeline = Pipeline((100, 100), {"jitter": Letterbox((100, 100), (0.8, 1.2), 0.2)})
    affines = [pipeline(blank((50, 50)), target_of([]), s)[1].frame.affine for s in range(200)]
    scales = torch.stack([a[0, 0] for a in affines])
    centres = torch.stack([apply(a, torch.tensor([25.0, 25.0])) for a in affines])
    assert 1.6 <= scales.min() < 1.65 < 2.35 < scales.max() <= 2.4
    assert 30 <= centres.min() < 33 < 67 < centres.max() <= 70.001


def test_what_lies_outside_the_image_is_grey():
    pixels, _ = Pipeline((100, 200))(blank((100, 100)), target_of([], hw=(100, 100)), seed=0)
    assert (pixels[..., :49] == FILL).all()
    assert (pixels[..., 50:150] == 0).all()
    assert (pixels[..., 151:] == FILL).all()


def test_a_transform_set_to_null_is_off():
    augment = {"flip": None, "blur": None}
    _, moved = Pipeline((100, 140), augment)(blank(), target_of([]), seed=0)
    torch.testing.assert_close(moved.frame.affine, torch.eye(2, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"bend": A.ElasticTransform(alpha=300, sigma=5, p=1.0)}, "bends the image by"),
        ({"tilt": A.Perspective(scale=(0.2, 0.2), p=1.0)}, "bends the image by"),
        ({"smaller": A.Resize(32, 32, p=1.0)}, "remove what resizes"),
        ({"floats": A.ToFloat(p=1.0)}, "remove what resizes"),
        ({"size": Letterbox((64, 64))}, "augment.size.input_hw is [64, 64]"),
        ({"typo": "flip"}, "augment.typo is a str"),
    ],
)
def test_what_a_frame_cannot_record_is_refused_in_one_line(augment, message):
    with pytest.raises(ConfigError) as caught:
        Pipeline((100, 140), augment)(blank(), target_of([]), seed=0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"scale": (1.2, 0.8)}, {"scale": (0.0, 1.0)}, {"translate": 1.0}]
)
def test_an_impossible_jitter_is_refused(options):
    with pytest.raises(ConfigError, match="letterbox with scale="):
        Letterbox(INPUT_HW, **options)


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
