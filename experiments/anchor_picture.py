"""The anchors of one cell on an image, with their sizes and the share of objects they cover."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from callbacks.canvas import GREY, PAPER, WHITE, Canvas, Place
from callbacks.draw import class_color, contact_sheet
from detectors.ops.cell_anchors import CellAnchors
from detectors.ops.receptive_field import Field

PANEL = 480
"""px; side of the picture of each size of anchors."""

Box = Sequence[float]


@dataclass(frozen=True, slots=True)
class View:
    """A square part of the plane, `side` px around `centre`, as a picture of `PANEL` px."""

    centre: Place
    side: float

    def box(self, box: Box) -> list[float]:
        """Where an xyxy box of the image lies in the picture."""
        scale, low = PANEL / self.side, [c - self.side / 2 for c in self.centre]
        return [(value - low[index % 2]) * scale for index, value in enumerate(box)]

    def of(self, image: np.ndarray) -> Any:
        """The picture; dark where there is no image."""
        scale = PANEL / self.side
        x, y = self.box((0.5, 0.5))  # the centre of the first pixel
        affine = np.array([[scale, 0, x - 0.5], [0, scale, y - 0.5]])
        return cv2.warpAffine(image, affine, (PANEL, PANEL), borderValue=PAPER)


def draw_anchors(
    image: UInt8[Tensor, "3 h w"],
    objects: Float[Tensor, "n 4"],
    anchors: CellAnchors,
    shares: Mapping[int, Sequence[float]],
    fields: Mapping[float, Field],
) -> UInt8[np.ndarray, "_ _ 3"]:
    """One panel per level and scale, a colour per shape: the anchors of the cell in the middle.

    Dashed are the objects of the image (white) and the receptive field of the level (grey).

    Args:
        image, objects: as the network gets them; boxes xyxy, px.
        anchors: drawn on every level.
        shares: stride of a level -> the share of objects that each anchor of a cell covers.
        fields: stride -> the receptive field of its map; levels may lack one.
    """
    pixels, boxes = image.permute(1, 2, 0).numpy(), objects.tolist()
    panels, captions = [], []
    for stride, covered in shares.items():
        every = list(zip(anchors.of_cell(stride).tolist(), covered, strict=True))
        for index, scale in enumerate(anchors.scales):
            shapes = every[index :: len(anchors.scales)]
            panels.append(_panel(pixels, boxes, shapes, stride, fields.get(stride)))
            size = f"stride {stride} px, anchors of {scale * stride:g} px"
            captions.append(f"{size}; share of objects at IoU 0.5")
    return contact_sheet(panels, captions, columns=min(3, len(panels)), cell=None)


def _panel(
    image: np.ndarray,
    objects: list[Box],
    shapes: list[tuple[Box, float]],
    stride: int,
    field: Field | None,
) -> Any:
    cell = [side // 2 // stride for side in (image.shape[1], image.shape[0])]  # column, row
    place = [stride * index for index in cell]
    anchors: list[Box] = [[v + place[i % 2] for i, v in enumerate(box)] for box, _ in shapes]
    seen = [] if field is None else [_seen(field, *cell)]
    view = _view([*anchors, *seen], image.shape[:2])
    canvas = Canvas(view.of(image), 1)
    legend = [("object", WHITE, True)]
    if field is not None:
        legend.append((f"receptive field {field.size:.0f} px", GREY, True))
    for color, boxes in ((WHITE, objects), (GREY, seen)):
        for box in boxes:
            canvas.box(view.box(box), color, "", annotated=True)
    for index, (box, (_, share)) in enumerate(zip(anchors, shapes, strict=True)):
        canvas.box(view.box(box), class_color(index), "", annotated=False)
        legend.append((_size_and_share(box, share), class_color(index), False))
    return np.vstack([canvas.picture(), canvas.legend(legend)])


def _view(boxes: Sequence[Box], image_hw: tuple[int, int]) -> View:
    """All of the boxes, and the whole image unless they would be tiny in it."""
    x1, y1, x2, y2 = (f(box[i] for box in boxes) for i, f in enumerate((min, min, max, max)))
    largest = max(x2 - x1, y2 - y1)
    side = max(1.1 * largest, min(max(image_hw), 5 * largest))
    return View(((x1 + x2) / 2, (y1 + y2) / 2), side)


def _seen(field: Field, column: int, row: int) -> list[float]:
    """The pixels that a cell sees, as a box: from edge to edge, not from centre to centre."""
    half = field.size / 2
    x, y = field.position(column) + 0.5, field.position(row) + 0.5
    return [x - half, y - half, x + half, y + half]


def _size_and_share(box: Box, share: float) -> str:
    x1, y1, x2, y2 = box
    covers = "" if math.isnan(share) else f" covers {100 * share:.0f} %"
    return f"{x2 - x1:.0f} x {y2 - y1:.0f} px{covers}"
