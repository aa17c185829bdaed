"""Anchors of both conventions, against the tables of the paper's code and torchvision's model."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from detectors.families.faster_rcnn_loss import inside
from detectors.ops.cell_anchors import CellAnchors

PAPER = CellAnchors([8, 16, 32], convention="py_faster_rcnn")


def test_the_first_cells_anchors_are_those_of_the_papers_code():
    pixels = [  # xyxy of the first and the last pixel, counted from 0, ratio by ratio
        *([-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199]),
        *([-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263]),
        *([-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359]),
    ]
    assert PAPER.of_cell(16).tolist() == [[x1, y1, x2 + 1, y2 + 1] for x1, y1, x2, y2 in pixels]


@pytest.mark.parametrize(
    ("image_hw", "cells", "count", "whole"),
    [((600, 800), (37, 50), 16_650, 5_944), ((600, 1000), (37, 62), 20_646, 8_151)],
)
def test_an_image_has_as_many_anchors_and_as_many_inside_as_in_the_papers_code(
    image_hw, cells, count, whole
):
    anchors = PAPER([cells], [16])
    assert len(anchors) == count
    assert inside(anchors, image_hw).sum() == whole


def test_on_a_pyramid_they_are_torchvisions_anchors_in_its_order():
    sizes = tuple((s,) for s in (32, 64, 128, 256, 512))
    library = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    maps = [torch.zeros(1, 1, 192 // s, 256 // s) for s in (4, 8, 16, 32, 64)]
    (wanted,) = library(ImageList(torch.zeros(1, 3, 192, 256), [(192, 256)]), maps)
    feature_hw = [(m.shape[2], m.shape[3]) for m in maps]
    assert torch.equal(CellAnchors([8])(feature_hw, [4, 8, 16, 32, 64]), wanted)


def test_the_ratio_is_height_over_width_and_the_area_that_of_the_scale():
    anchors = CellAnchors([8], ratios=[0.25, 4.0])
    width, height = (anchors.of_cell(16)[:, 2:] - anchors.of_cell(16)[:, :2]).unbind(1)
    assert torch.equal(height / width, torch.tensor([0.25, 4.0]))
    assert torch.equal(height * width, torch.tensor([128.0**2, 128.0**2]))


def test_cells_run_along_rows_and_their_anchors_together():
    anchors = CellAnchors([8, 16], ratios=[1.0])([(2, 3)], [16])
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[::2].tolist() == [[0, 0], [16, 0], [32, 0], [0, 16], [16, 16], [32, 16]]
    assert torch.equal(centres[::2], centres[1::2])
