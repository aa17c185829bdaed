import cv2
import numpy as np
import torch

from datamodules.sources.worlds.shapes import easy, tiny, varied
from tests.datamodules.sources.worlds.drawn import scenes


def test_the_picture_shows_the_things_where_the_layout_says():
    source = scenes(easy(), 20, (128, 160))
    for index in range(20):
        image, visible = source.image(index).astype(float), source.layout(index).visible
        grown = cv2.dilate((visible > 0).astype(np.uint8), np.ones((7, 7), np.uint8))
        ground = np.median(image[grown == 0], axis=0)
        shrunk = cv2.erode((visible > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
        from_ground = np.abs(image - ground).max(axis=2)
        assert np.median(from_ground[shrunk > 0]) > 2 * np.median(from_ground[grown == 0])


def test_easy_scenes_hold_one_or_two_large_balls():
    source = scenes(easy(), 100, (96, 96))
    targets = [source.target(i) for i in range(100)]
    assert {len(t) for t in targets} == {1, 2}
    sides = torch.cat([t.boxes[:, 2:] - t.boxes[:, :2] for t in targets]) / 96
    assert sides.min() > 0.2
    assert sides.max() < 0.63


def test_tiny_scenes_hold_one_to_four_balls_of_which_none_is_large():
    source = scenes(tiny(), 100, (128, 128))
    targets = [source.target(i) for i in range(100)]
    assert {len(t) for t in targets} == {1, 2, 3, 4}
    sides = torch.cat([t.boxes[:, 2:] - t.boxes[:, :2] for t in targets])
    assert 9 <= sides.min() < 12
    assert 18 <= sides.max() <= 21


def test_varied_scenes_hold_none_to_six_things_from_8_px_to_half_the_image():
    source = scenes(varied(), 200, (256, 256))
    targets = [source.target(i) for i in range(200)]
    assert {len(t) for t in targets} == set(range(7))
    sides = torch.cat([t.boxes[:, 2:] - t.boxes[:, :2] for t in targets])
    assert 8 <= sides.min() < 12
    assert 110 < sides.max() <= 130
