"""Square anchors against a plain-Python oracle, with the counts of RetinaFace's reference."""

import math

import pytest
import torch

from detectors.ops.anchors import CentredAnchors

SIZES = [[16, 32], [64, 128], [256, 512]]
STRIDES = [8, 16, 32]


def anchors(image_hw: tuple[int, int]) -> torch.Tensor:
    feature_hw = [tuple(math.ceil(side / s) for side in image_hw) for s in STRIDES]
    return CentredAnchors(SIZES)(feature_hw, STRIDES)


def oracle(image_hw: tuple[int, int]) -> list[list[float]]:
    """Centre ((column + 1/2) step, (row + 1/2) step), side s: level, row, column, size."""
    found = []
    for step, sizes in zip(STRIDES, SIZES, strict=True):
        for row in range(math.ceil(image_hw[0] / step)):
            for column in range(math.ceil(image_hw[1] / step)):
                x, y = (column + 0.5) * step, (row + 0.5) * step
                found += [[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for s in sizes]
    return found


@pytest.mark.parametrize(
    ("image_hw", "count"), [((640, 640), 16_800), ((256, 320), 3_360), ((333, 251), 3_536)]
)
def test_there_are_as_many_as_in_the_reference_in_its_order(image_hw, count):
    found = anchors(image_hw)
    assert len(found) == count
    assert found.tolist() == oracle(image_hw)


def test_x_runs_along_the_width():
    found = anchors((256, 320))
    centres = (found[:, :2] + found[:, 2:]) / 2
    assert centres.amax(0).tolist() == [316, 252]
    assert centres[2].tolist() == [12, 4]  # the second cell of the first row


def test_they_are_square_and_not_clipped():
    found = anchors((64, 64))
    sides = found[:, 2:] - found[:, :2]
    assert torch.equal(sides[:, 0], sides[:, 1])
    assert found.min() == 16 - 256
    assert found.max() == 48 + 256


def test_each_level_may_have_a_number_of_its_own():
    maker = CentredAnchors([[8], [16, 24, 32]])
    assert maker.per_cell == [1, 3]
    assert len(maker([(4, 4), (2, 2)], [8, 16])) == 16 + 12
