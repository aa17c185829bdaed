"""What holds in every world that is painted from parts."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from datamodules.sources.worlds.stage import Thing, lay_out
from tests.datamodules.sources.worlds.drawn import HW, PAINTED_WORLDS, layouts, pictures, scenes

each_world = pytest.mark.parametrize("world", PAINTED_WORLDS, ids=lambda world: world.name)


def pil_coverage(thing: Thing, scale: int = 8) -> np.ndarray:
    """How much of each pixel a thing covers, 0 to 255, sampled 8 x 8 by another library."""
    page = Image.new("L", (HW[1] * scale, HW[0] * scale))
    pen = ImageDraw.Draw(page)
    for part in thing.parts:
        pen.polygon([tuple(p) for p in (part.points * scale).tolist()], fill=255 * part.owned)
    return np.array(page.resize((HW[1], HW[0]), Image.Resampling.BOX))


def box_around(mask: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


@each_world
def test_a_box_is_where_another_library_draws_the_outline(world):
    things = [thing for layout in layouts(world)[:10] for thing in layout.things]
    objects = [thing for thing in things if thing.label is not None]
    assert len(objects) > 5
    errors = []
    for thing in objects:
        box, coverage = lay_out([thing], HW).boxes[0], pil_coverage(thing)
        half, some = box_around(coverage >= 128), box_around(coverage > 0)
        # OpenCV's smooth edges reach a pixel further, those of a hat before the object as well
        assert (box[:2] <= half[:2] + 2).all()
        assert (box[2:] >= half[2:] - 2).all()
        assert (box[:2] >= some[:2] - 1).all()
        assert (box[2:] <= some[2:] + 1).all()
        errors.append(np.abs(box - half))
    assert np.median(errors) <= 1


@each_world
def test_what_is_labelled_differs_from_what_is_around_it(world):
    differences = []
    for layout, canvas in zip(layouts(world), pictures(world), strict=False):
        for number in range(1, len(layout.labels) + 1):
            own = (layout.visible == number).astype(np.uint8)
            around = cv2.dilate(own, np.ones((9, 9), np.uint8)) - cv2.dilate(own, np.ones((3, 3)))
            inside, outside = canvas[own > 0].astype(float), canvas[around > 0].astype(float)
            apart = np.abs(inside - outside.mean(axis=0)).max(axis=1)
            differences.append(np.percentile(apart, 75))
    assert len(differences) > 10
    assert np.percentile(differences, 2) > 15
    assert np.median(differences) > 40


@each_world
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(height=st.integers(32, 200), width=st.integers(32, 200), seed=st.integers(0, 10**6))
def test_pictures_of_any_size_hold_their_objects(world, height, width, seed):
    image, target = scenes(world, 1, (height, width), seed)[0]
    assert image.shape == (height, width, 3)
    assert (target.boxes[:, :2] >= 0).all()
    assert (target.boxes[:, 2:] <= torch.tensor([width, height])).all()
    assert (target.boxes[:, 2:] - target.boxes[:, :2]).amax(dim=1).ge(8).all()


@each_world
def test_neither_light_nor_layout_can_be_learnt_by_heart(world):
    many = np.stack([cv2.resize(picture, (32, 32)) for picture in pictures(world)]).astype(float)
    assert many.mean(axis=(1, 2, 3)).std() > 20
    # the mean picture is flatter than any one of them
    assert many.mean(axis=0).std(axis=(0, 1)).mean() < 0.9 * many.std(axis=(1, 2)).mean()
