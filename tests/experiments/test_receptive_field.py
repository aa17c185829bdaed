"""`lineup receptive-field`: fields, the objects that anchors cover, and a picture of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from callbacks.draw import class_color
from detectors.ops.cell_anchors import CellAnchors
from detectors.ops.receptive_field import Field
from detectors.structures import Batch
from experiments import anchor_picture, build, receptive_field
from tests.detectors.samples import target


def of_boxes(*boxes: list[float]) -> Batch:
    return Batch(torch.zeros(1, 3, 96, 96, dtype=torch.uint8), [target(boxes)])


def test_an_anchor_covers_the_objects_of_its_shape_and_not_those_of_others():
    anchors = CellAnchors([2], ratios=[0.25, 1.0])  # 64 x 16 and 32 x 32 px, on corners of cells
    batch = of_boxes([32, 32, 64, 64], [8, 8, 32, 32], [0, 0, 4, 4])
    covered = receptive_field.coverage(anchors, [16], [batch])
    assert covered.objects == 3
    assert covered.shares[16][0] == [0.0, 0.0]
    assert covered.shares[16][1] == pytest.approx([2 / 3, 1 / 3])  # the second: 24² of 32²
    assert covered.together == covered.shares[16][1]


def test_objects_that_do_not_count_are_covered_by_none():
    one = target([[32, 32, 64, 64], [8, 8, 12, 12]], crowd=[False, True])
    batch = Batch(torch.zeros(1, 3, 96, 96, dtype=torch.uint8), [one])
    covered = receptive_field.coverage(CellAnchors([2]), [16], [batch])
    assert (covered.objects, covered.together) == (1, [1.0, 1.0])


def test_without_objects_there_is_no_share():
    covered = receptive_field.coverage(CellAnchors([2]), [16], [of_boxes()])
    assert covered.objects == 0
    assert all(share != share for share in covered.together)


def test_vggs_last_layer_has_its_field_at_scale_paper():
    config = build.compose(["detector=faster_rcnn", "backbone=vgg16", "scale=paper"])
    with torch.device("meta"):
        net = build.instantiate(config.detector.net)
    fields = receptive_field.layer_fields(net, (96, 96))
    numbers = {name: (f.size, f.stride, f.offset) for name, f in fields.items()}
    assert numbers["backbone.features.28"] == (196, 16, 7.5)
    assert numbers["rpn.conv"] == (228, 16, 7.5)


def test_a_map_sees_what_its_longest_way_sees_though_a_shortcut_runs_last():
    config = build.compose(["detector=faster_rcnn", "scale=paper", "protocol.pretraining=null"])
    with torch.device("meta"):
        net = build.instantiate(config.detector.net)
    fields = receptive_field.layer_fields(net, (96, 96))
    largest = receptive_field.largest_by_stride(fields)
    assert {s: largest[s].size for s in (4, 8, 16, 32)} == {4: 35, 8: 91, 16: 267, 32: 427}
    one_block = {name: field for name, field in fields.items() if "layer1.0" in name}
    assert list(one_block)[-1].endswith("downsample.0")
    assert receptive_field.largest_by_stride(one_block)[4].size == 19


@settings(deadline=None)
@given(
    x=st.floats(-50, 50),
    y=st.floats(-50, 50),
    side=st.floats(60, 300),
    left=st.integers(0, 39),
    top=st.integers(0, 29),
)
def test_a_box_is_drawn_where_its_pixels_are(x, y, side, left, top):
    image = np.zeros((60, 80, 3), np.uint8)
    image[top : top + 30, left : left + 40] = 255
    view = anchor_picture.View((40 + x, 30 + y), side)
    x1, y1, x2, y2 = view.box([left, top, left + 40, top + 30])
    rows, columns = (view.of(image)[..., 0] > 127).nonzero()
    inside = (max(x1, 0), max(y1, 0), min(x2, 480), min(y2, 480))
    if inside[0] + 4 < inside[2] and inside[1] + 4 < inside[3]:
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.allclose(seen, inside, atol=1.01)


def test_the_picture_has_a_panel_per_level_and_scale_with_a_colour_per_shape():
    image = torch.full((3, 96, 160), 50, dtype=torch.uint8)
    shares = {8: [0.5] * 6, 16: [float("nan")] * 6}
    anchors = CellAnchors([2, 4])
    drawn = anchor_picture.draw_anchors(
        image, target([[10, 10, 40, 40]]).boxes, anchors, shares, {16: Field(-10.0, 10.0, 16.0)}
    )
    tile = drawn.shape[1] // 3
    assert drawn.shape[0] // 2 > anchor_picture.PANEL
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0)):
        panel = drawn[row * drawn.shape[0] // 2 :, column * tile :][: drawn.shape[0] // 2, :tile]
        for shape in range(3):
            assert (panel == class_color(shape)).all(-1).sum() > 300
    assert not (drawn[drawn.shape[0] // 2 :, tile:] == class_color(0)).all(-1).any()


def test_the_command_prints_both_tables_and_draws_the_anchors(tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / "anchors.png"
    small = ["datamodule.train.length=8", "datamodule.num_workers=0"]
    arguments = ["detector=faster_rcnn", "backbone=zf", *small, "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["lineup receptive-field", *arguments])
    receptive_field.main()
    said = capsys.readouterr().out
    assert "171" in said
    assert "any of them" in said
    picture = np.asarray(Image.open(out))
    assert (picture == class_color(0)).all(-1).sum() > 300


def test_a_detector_without_anchors_still_has_fields(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lineup receptive-field", "detector=yolov1", "--layers", "0"])
    receptive_field.main()
    said = capsys.readouterr().out
    assert "layers.0" in said
    assert "no anchors" in said
