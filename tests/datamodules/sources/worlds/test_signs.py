import cv2
import numpy as np
import torch

from datamodules.sources.worlds.signs import Signs
from tests.datamodules.sources.worlds.drawn import layouts, pictures, targets


def test_most_signs_are_small_and_there_are_none_to_four():
    found = targets(Signs())
    assert {len(target) for target in found} == {0, 1, 2, 3, 4}
    sides = torch.cat([t.boxes[:, 2:] - t.boxes[:, :2] for t in found]).amax(dim=1)
    assert sides.min() >= 8
    assert sides.median() < 32
    assert sides.max() > 60


def test_a_group_is_told_by_its_colours():
    """Share of red and of blue pixels in the picture of each sign."""
    red, blue = ({label: [] for label in range(4)} for _ in range(2))
    for layout, canvas in zip(layouts(Signs()), pictures(Signs()), strict=False):
        for number, label in enumerate(layout.labels, start=1):
            pixels = canvas[layout.visible == number][None]
            hue, saturation, _ = np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), 2, 0)
            strong = saturation > 120
            red[label].append((strong & ((hue < 10) | (hue > 168))).mean())
            blue[label].append((strong & (hue > 98) & (hue < 120)).mean())
    prohibitory, danger, mandatory, _ = range(4)
    for label in (prohibitory, danger):
        assert np.median(red[label]) > 0.2
        assert max(blue[label]) < 0.1
    assert np.median(blue[mandatory]) > 0.4
    assert max(red[mandatory]) < 0.1
