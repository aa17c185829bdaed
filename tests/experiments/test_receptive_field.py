"""`lineup receptive-field`: fields, the objects that anchors cover, and a picture of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detectors.ops.cell_anchors import CellAnchors
from detectors.structures import Batch
from experiments import build, receptive_field
from tests.detectors.samples import target


def of_boxes(*boxes: list[float]) -> Batch:
    return Batch(torch.zeros(1, 3, 96, 96, dtype=torch.uint8), [target(boxes)])


def test_an_anchor_covers_the_objects_of_its_shape_and_not_those_of_others():
    anchors = CellAnchors([2], ratios=[0.25, 1.0])  # 64 x 16 and 32 x 32 px, on corners of cells
    batch = of_boxes([32, 32, 64, 64], [8, 8, 32, 32], [0, 0, 4, 4])
    rows, together = receptive_field.coverage(anchors, [16], [batch])
    assert [row.box for row in rows] == [[-32, -8, 32, 8], [-16, -16, 16, 16]]
    assert rows[0].shares == [0.0, 0.0]
    assert rows[1].shares == pytest.approx([2 / 3, 1 / 3])  # the second: 24² of 32²
    assert together.shares == rows[1].shares


def test_without_objects_there_is_no_share():
    _, together = receptive_field.coverage(CellAnchors([2]), [16], [of_boxes()])
    assert all(share != share for share in together.shares)


def test_vggs_last_layer_has_its_field_at_scale_paper():
    config = build.compose(["detector=faster_rcnn", "backbone=vgg16", "scale=paper"])
    with torch.device("meta"):
        net = build.instantiate(config.detector.net)
    fields = receptive_field.layer_fields(net, (96, 96))
    last = list(fields.values())[-1]
    assert (last.size, last.stride, last.offset) == (196, 16, 7.5)


def test_the_command_prints_both_tables_and_draws_the_anchors(tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / "anchors.png"
    small = ["datamodule.train.length=8", "datamodule.num_workers=0"]
    arguments = ["detector=faster_rcnn", "backbone=zf", *small, "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["lineup receptive-field", *arguments])
    receptive_field.main()
    said = capsys.readouterr().out
    assert "139" in said
    assert "any of them" in said
    picture = np.asarray(Image.open(out))
    assert picture.shape == (96, 96, 3)
    assert (picture == receptive_field.COLOURS[0]).all(-1).sum() > 50


def test_a_detector_without_anchors_still_has_fields(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lineup receptive-field", "detector=yolov1", "--layers", "0"])
    receptive_field.main()
    said = capsys.readouterr().out
    assert "layers.0" in said
    assert "no anchors" in said
