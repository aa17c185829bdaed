from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.mosaic import Mosaic
from datamodules.objects import Keep, Sample
from datamodules.patch import FILL
from datamodules.samples import Samples
from datamodules.transforms import Pipeline
from detectors.errors import ConfigError
from tests.datamodules.arrays import Arrays, covered, is_red, red_box, red_boxes

HW = (120, 160)
EVERYTHING = Keep(min_visibility=0.0, min_side=0.0)
seeds = st.integers(0, 2**31)


def plain(**options) -> Mosaic:
    return Mosaic(**{"epochs": 10, "mixup": 0.0} | options)


def compose(mosaic: Mosaic, source: Arrays, seed: int, keep: Keep = EVERYTHING) -> Sample:
    return mosaic(source, seed % len(source), HW, keep, np.random.default_rng(seed))


def greys_of(count: int, hw: tuple[int, int]) -> Arrays:
    """Images without objects, each in a grey of its own, from 120 on."""
    images = [np.full((*hw, 3), 120 + number, np.uint8) for number in range(count)]
    return Arrays(images, [red_box(number, hw, [])[1] for number in range(count)])


@pytest.mark.parametrize("nine", [0.0, 1.0])
@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_pixels_and_boxes_move_together(nine: float, seed: int):
    sample = compose(plain(nine=nine), red_boxes(seed), seed)
    red = is_red(sample.image)
    # of an object cut off just outside, interpolation leaves a row of pixels at the edge
    thick = cv2.erode(red.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (thick & ~covered(sample, 2.0)).any()
    assert not (covered(sample, -2.0) & ~red).any()


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_objects_read_are_objects_kept_and_objects_dropped(seed: int):
    source = red_boxes(seed)
    sample = compose(plain(mixup=0.5), source, seed, Keep())
    assert source.objects_read == len(sample.target) + sample.dropped["mosaic"]


@pytest.mark.parametrize(("nine", "images"), [(0.0, 4), (1.0, 9)])
def test_four_or_nine_images_fill_the_view_when_their_shape_is_the_inputs(nine: float, images: int):
    source = greys_of(130, (60, 80))
    counts = []
    for seed in range(10):
        sample = compose(plain(nine=nine, scale=(0.5, 0.5), translate=0.0), source, seed)
        greys = set(sample.image.ravel().tolist()) - {FILL}
        counts.append(len(greys))
        assert 120 + seed in greys  # the image asked for
        wide = compose(plain(nine=nine, scale=(1.0, 1.0), translate=0.0), source, seed)
        assert FILL not in wide.image
    assert max(counts) == images  # fewer where one was drawn twice, or its cell has no height


def test_images_out_of_view_are_not_read():
    source = red_boxes(3)
    composed = [compose(plain(scale=(2.0, 2.0), nine=1.0), source, seed) for seed in range(20)]
    assert len(composed) <= source.images_read < 4 * 20


def test_the_frame_is_that_of_the_image_asked_for_and_areas_stay_original():
    source = red_boxes(5, most=1)
    for seed in range(20):
        sample = compose(plain(), source, seed)
        original = source.targets[seed % len(source)]
        assert sample.target.frame.image_id == original.frame.image_id
        assert sample.target.frame.original_hw == original.frame.original_hw
        areas = {float(area) for target in source.targets for area in target.area}
        assert set(sample.target.area.tolist()) <= areas
        affine = sample.target.frame.affine
        moved = original.boxes.reshape(-1, 2, 2) @ affine[:, :2].T + affine[:, 2]
        for corners in moved:
            inside = (corners >= 0).all() and (corners <= torch.tensor([160.0, 120.0])).all()
            if inside and len(sample.target):
                distance = (sample.target.boxes - corners.reshape(-1)).abs().amax(dim=1)
                assert distance.min() < 60  # cut by its cell at most, not elsewhere


def test_crowd_and_difficult_follow_their_objects():
    source = red_boxes(7)
    source.targets = [
        replace(t, crowd=t.boxes[:, 0] > 50, difficult=t.area > 2000) for t in source.targets
    ]
    flags = {
        (float(a), bool(c), bool(d))
        for t in source.targets
        for a, c, d in zip(t.area, t.crowd, t.difficult, strict=True)
    }
    for seed in range(10):
        t = compose(plain(), source, seed).target
        rows = zip(t.area.tolist(), t.crowd.tolist(), t.difficult.tolist(), strict=True)
        assert set(rows) <= flags


def test_images_without_objects_compose():
    sample = compose(plain(mixup=1.0), greys_of(3, (50, 70)), 0)
    assert sample.target.boxes.shape == (0, 4)
    assert sample.target.keypoints is not None
    assert sample.target.keypoints.shape == (0, 4, 3)
    assert sample.dropped == {"mosaic": 0}


def test_mixup_blends_two_mosaics_and_keeps_the_objects_of_both():
    source = red_boxes(9)
    one = [len(compose(plain(), source, seed).target) for seed in range(40)]
    two = [len(compose(plain(mixup=1.0), source, seed).target) for seed in range(40)]
    assert sum(two) > 1.5 * sum(one)
    red = compose(plain(mixup=1.0), source, 0).image[..., 0]
    assert ((red > 20) & (red < 235) & (red != FILL)).any()


def test_boxes_below_the_limits_go():
    strict = Keep(min_visibility=0.1, min_side=2.0, max_aspect=20.0)
    for seed in range(60):
        sample = compose(plain(), red_boxes(seed), seed, strict)
        sides = sample.target.boxes[:, 2:] - sample.target.boxes[:, :2]
        if len(sides):
            assert sides.min() >= 2
            assert (sides.amax(dim=1) / sides.amin(dim=1)).max() <= 20


def test_the_last_epochs_go_without():
    source = red_boxes(1)
    mosaic = Mosaic(epochs=10, close_last=3)
    made = Samples(source, Pipeline(HW), 0, mosaic)
    steps = [set(made[epoch, 0].dropped) for epoch in range(10)]
    assert steps == [{"mosaic"}] * 7 + [{"framing"}] * 3


def test_a_sample_is_composed_with_its_probability():
    mosaic = Mosaic(epochs=1, p=0.3)
    rng = np.random.default_rng(0)
    assert 250 < sum(mosaic.is_due(0, rng) for _ in range(1000)) < 350


@pytest.mark.parametrize(
    "options",
    [
        {"p": 1.5},
        {"nine": -0.1},
        {"mixup": 2.0},
        {"translate": 1.1},
        {"scale": (0.0, 1.0)},
        {"scale": (2.0, 1.0)},
        {"mixup_beta": 0.0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=r"datamodule\.mosaic with"):
        Mosaic(epochs=1, **options)
