"""Boxes on the grid: encoding and decoding, who holds a cell, and what a grid can hold at all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from detectors.ops.boxes import paired_iou
from detectors.ops.grid import GridCoder, first_in_cell

HEIGHT, WIDTH = 96, 160

centres_and_sizes = st.lists(
    st.tuples(*[st.floats(0.0, 1.0, width=32)] * 4), min_size=0, max_size=8
).map(lambda rows: torch.tensor(rows, dtype=torch.float).reshape(-1, 4))


def boxes_of(shares: torch.Tensor) -> torch.Tensor:
    """Boxes inside the image from four numbers of 0..1 each."""
    limit = torch.tensor([WIDTH, HEIGHT])
    size = 1 + shares[:, 2:] * (limit - 1)
    corner = shares[:, :2] * (limit - size)
    return torch.cat([corner, corner + size], dim=1)


@settings(deadline=None, max_examples=60)
@given(centres_and_sizes, st.integers(1, 9), st.sampled_from(["cell", "image"]))
def test_decoding_an_encoded_box_gives_it_back(shares, grid, units):
    boxes = boxes_of(shares)
    coder = GridCoder(grid=grid, image_hw=(HEIGHT, WIDTH), size_units=units)
    cell, code = coder.encode(boxes)
    everywhere = code[:, None, None, None].expand(-1, grid, grid, 1, 4)
    decoded = coder.decode(everywhere).flatten(1, 3)
    assert torch.allclose(decoded[torch.arange(len(boxes)), cell], boxes, atol=1e-3)
    assert ((code[:, :2] >= 0) & (code[:, :2] <= 1)).all()


@pytest.mark.parametrize(
    ("box", "cell", "within"),
    [
        ([150.0, 86.0, 170.0, 106.0], 15, [1.0, 1.0]),  # centre on the bottom right corner
        ([150.0, 10.0, 170.0, 14.0], 3, [1.0, 0.5]),  # on the right border
        ([18.0, 90.0, 22.0, 102.0], 12, [0.5, 1.0]),  # on the bottom border
        ([-5.0, -5.0, 5.0, 5.0], 0, [0.0, 0.0]),
        ([35.0, 20.0, 45.0, 28.0], 5, [0.0, 0.0]),  # on an inner corner: the cell below and right
    ],
)
def test_a_centre_on_a_border_has_a_cell_inside_the_grid(box, cell, within):
    found, code = GridCoder(grid=4, image_hw=(96, 160)).encode(torch.tensor([box]))
    assert found.tolist() == [cell]
    assert code[0, :2].tolist() == pytest.approx(within)


def test_rows_come_from_y_and_columns_from_x_also_when_the_image_is_not_square():
    box = torch.tensor([[130.0, 4.0, 150.0, 16.0]])  # centre 140, 10; cells of 40 x 24 px
    cell, code = GridCoder(grid=4, image_hw=(96, 160)).encode(box)
    assert cell.tolist() == [0 * 4 + 3]
    assert code[0].tolist() == pytest.approx([0.5, 10 / 24, 20 / 40, 12 / 24])


def test_image_units_are_shares_of_the_image():
    box = torch.tensor([[0.0, 0.0, 80.0, 24.0]])
    _, code = GridCoder(grid=4, image_hw=(96, 160), size_units="image").encode(box)
    assert code[0, 2:].tolist() == pytest.approx([0.5, 0.25])


def test_codes_of_one_cell_have_the_iou_of_their_boxes():
    generator = torch.Generator().manual_seed(0)
    coder = GridCoder(grid=5, image_hw=(HEIGHT, WIDTH), size_units="image")
    codes = torch.rand(1, 5, 5, 2, 4, generator=generator)
    corners, boxes = coder.to_corners(codes), coder.decode(codes)
    in_cells = paired_iou(corners[..., 0, :], corners[..., 1, :])
    in_pixels = paired_iou(boxes[..., 0, :], boxes[..., 1, :])
    assert torch.allclose(in_cells, in_pixels, atol=1e-5)


def test_a_negative_size_decodes_to_an_empty_box():
    codes = torch.tensor([0.5, 0.5, -1.0, 0.5]).expand(1, 2, 2, 1, 4)
    boxes = GridCoder(grid=2, image_hw=(96, 96)).decode(codes)
    assert torch.equal(boxes[..., 0], boxes[..., 2])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12))
def test_the_first_eligible_object_of_each_cell_holds_it(objects):
    cells = torch.tensor([c for c, _ in objects], dtype=torch.long)
    eligible = torch.tensor([e for _, e in objects], dtype=torch.bool)
    seen: set[int] = set()
    wanted = [e and not (c in seen or seen.add(c)) for c, e in objects]
    assert first_in_cell(cells, eligible, 6).tolist() == wanted


@settings(deadline=None, max_examples=60)
@given(centres_and_sizes, centres_and_sizes)
def test_paired_iou_is_the_diagonal_of_torchvisions(first, second):
    n = min(len(first), len(second))
    a, b = boxes_of(first[:n]), boxes_of(second[:n])
    assert torch.allclose(paired_iou(a, b), box_iou(a, b).diagonal(), atol=1e-6)


def test_paired_iou_of_empty_and_inverted_boxes_is_zero():
    boxes = torch.tensor([[1.0, 1.0, 1.0, 1.0], [9.0, 9.0, 1.0, 1.0]])
    assert paired_iou(boxes, boxes).tolist() == [0, 0]
