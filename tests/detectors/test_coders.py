"""Anchor codes against torchvision's coder and plain Python, and their inverse."""

import math

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from detectors.ops.coders import AnchorCoder, CellCoder

numbers = st.floats(-500, 500, width=32)
sides = st.floats(1, 900, width=32)
boxes = st.tuples(numbers, numbers, sides, sides).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


def tensor(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@hypothesis.given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=8))
def test_decoding_undoes_encoding(pairs):
    wanted, anchors = (tensor(list(rows)) for rows in zip(*pairs, strict=True))
    coder = AnchorCoder()
    torch.testing.assert_close(coder.decode(coder.encode(wanted, anchors), anchors), wanted)
    points = torch.stack([wanted[:, :2], wanted[:, 2:], wanted.mean() * wanted[:, 1:3]], dim=1)
    codes = coder.encode_points(points, anchors)
    torch.testing.assert_close(coder.decode_points(codes, anchors), points)


@hypothesis.given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=8))
def test_box_codes_are_torchvisions_with_weights_one_over_variance(pairs):
    wanted, anchors = (tensor(list(rows)) for rows in zip(*pairs, strict=True))
    library = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode_single(wanted, anchors)
    torch.testing.assert_close(AnchorCoder(0.1, 0.2).encode(wanted, anchors), library)


def test_the_worked_example_by_hand():
    """Anchor of 20 x 10 px at (50, 40); box of 40 x 5 px at (54, 39); a point at (60, 45)."""
    anchor, box = tensor([[40, 35, 60, 45]]), tensor([[34, 36.5, 74, 41.5]])
    wanted = [4 / 20 / 0.1, -1 / 10 / 0.1, math.log(2) / 0.2, math.log(0.5) / 0.2]
    assert AnchorCoder().encode(box, anchor)[0].tolist() == pytest.approx(wanted)
    points = tensor([[60, 45]])[:, None]
    codes = AnchorCoder().encode_points(points, anchor)
    assert codes[0, 0].tolist() == pytest.approx([10 / 20 / 0.1, 5 / 10 / 0.1])


def test_a_batch_shares_its_anchors():
    anchors = torch.tensor([[0.0, 0, 16, 16], [8.0, 8, 40, 40]])
    codes = torch.randn(3, 2, 4)
    found = AnchorCoder().decode(codes, anchors)
    assert torch.equal(found[1], AnchorCoder().decode(codes[1], anchors))
    points = torch.randn(3, 2, 5, 2)
    found = AnchorCoder().decode_points(points, anchors)
    assert torch.equal(found[2], AnchorCoder().decode_points(points[2], anchors))


shares = st.floats(0.02, 0.98)


@hypothesis.given(
    box=boxes, places=st.tuples(shares, shares, shares, shares), stride=st.sampled_from([8, 16, 32])
)
def test_cell_codes_are_undone_within_their_limits(box, places, stride):
    """Centres less than a stride away, sides below four times the anchor's."""
    x1, y1, x2, y2 = box
    width, height = (x2 - x1) / (2 * places[0]) ** 2, (y2 - y1) / (2 * places[1]) ** 2
    x = (x1 + x2) / 2 - (2 * places[2] - 1) * stride
    y = (y1 + y2) / 2 - (2 * places[3] - 1) * stride
    anchors = tensor([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])
    wanted, strides = tensor([box]), torch.tensor([float(stride)], dtype=torch.float64)
    codes = CellCoder().encode(wanted, anchors, strides)
    decoded = CellCoder().decode(codes, anchors, strides)
    torch.testing.assert_close(decoded, wanted, atol=1e-6, rtol=1e-6)


def test_a_cell_code_of_zero_is_the_middle_of_the_cell_and_the_anchors_size():
    anchors, strides = tensor([[10, 20, 40, 30]]), tensor([16.0])
    assert torch.equal(CellCoder().decode(torch.zeros(1, 4).double(), anchors, strides), anchors)


def test_cell_codes_of_what_is_out_of_reach_are_finite():
    anchors, strides = tensor([[10, 20, 40, 30]]), tensor([16.0])
    codes = CellCoder().encode(tensor([[500, 500, 900, 500]]), anchors, strides)
    assert codes.isfinite().all()
