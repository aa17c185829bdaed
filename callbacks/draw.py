"""Boxes, labels and keypoints on images, and many images on one sheet. Pure functions, RGB uint8.

Own drawing instead of torchvision.utils: small images are enlarged first, ground truth is dashed,
and labels stay inside the image and legible (torchvision's default font has one tiny size).
"""

import colorsys
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from detectors.structures import Detections, Target

Picture = UInt8[np.ndarray, "_ _ 3"]
"""Height and width differ from one to the next."""
Color = tuple[int, int, int]

WHITE, BLACK, GREY = (255, 255, 255), (16, 16, 18), (160, 160, 160)
PAPER, INK = (24, 26, 30), (225, 228, 232)
"""Background and captions of a contact sheet."""


def draw_detections(
    image: Picture,
    target: Target | None,
    detections: Detections | None,
    class_names: Sequence[str],
    *,
    skeleton: Sequence[Sequence[int]] = (),
    score_threshold: float = 0.0,
    min_side: int = 400,
) -> Picture:
    """Predictions as solid boxes in the colour of their class, ground truth as dashed white ones.

    Boxes and keypoints are in pixels of `image`. Objects that do not count (crowd, difficult) are
    grey. The picture is enlarged by a whole factor until its shorter side has `min_side` px.
    """
    factor = max(1, math.ceil(min_side / min(image.shape[:2])))
    canvas = _Canvas(image, factor)
    if target is not None:
        _draw_target(canvas, target, class_names, skeleton)
    if detections is not None:
        kept = detections.to("cpu")
        _draw_found(canvas, kept[kept.scores >= score_threshold], class_names, skeleton)
    return canvas.picture()


def contact_sheet(
    images: Sequence[Picture],
    captions: Sequence[str],
    columns: int | None = None,
    cell: int | None = 400,
) -> Picture:
    """The images in rows, each fitted into a square of `cell` px, with its caption underneath.

    `columns`: None makes the sheet about square. `cell`: None fits the largest image.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    side = cell or max(max(image.shape[:2]) for image in images)
    tiles = [_tile(image, text, side) for image, text in zip(images, captions, strict=True)]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    return np.vstack([_row(row, columns) for row in rows])


def class_color(label: int) -> Color:
    """A bright colour per class; neighbours are far apart on the colour circle (golden ratio)."""
    hue = (0.08 + label * 0.618034) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass(slots=True)
class _Label:
    text: str
    color: Color
    box: tuple[float, float, float, float]
    below: bool


class _Canvas:
    """An enlarged copy of an image; labels are drawn last, above everything else."""

    def __init__(self, image: Any, factor: int) -> None:
        height, width = image.shape[:2]
        size = (width * factor, height * factor)
        self.factor = factor
        self.pixels = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC)
        self.unit = max(1, round(min(size) / 300))
        self.font = ImageFont.load_default(size=max(12, round(min(size) / 30)))
        self.labels: list[_Label] = []

    def box(self, box: Sequence[float], color: Color, text: str, *, dashed: bool) -> None:
        x1, y1, x2, y2 = (value * self.factor for value in box)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            for a, b in _dashes(start, end, 6 * self.unit) if dashed else [(start, end)]:
                self._line(a, b, BLACK, self.unit + 2)
            for a, b in _dashes(start, end, 6 * self.unit) if dashed else [(start, end)]:
                self._line(a, b, color, self.unit if dashed else self.unit + 1)
        self.labels.append(_Label(text, color, (x1, y1, x2, y2), below=dashed))

    def keypoints(self, points: Any, color: Color, skeleton: Sequence[Sequence[int]]) -> None:
        places = [(x * self.factor, y * self.factor) for x, y, _ in points]
        known = [v > 0 for *_, v in points]
        for first, second in skeleton:
            if known[first] and known[second]:
                self._line(places[first], places[second], color, self.unit + 1)
        for (x, y), drawn in zip(places, known, strict=True):
            if drawn:
                centre = (round(x), round(y))
                cv2.circle(self.pixels, centre, 2 * self.unit + 2, BLACK, -1, cv2.LINE_AA)
                cv2.circle(self.pixels, centre, 2 * self.unit + 1, color, -1, cv2.LINE_AA)

    def picture(self) -> Any:
        page = Image.fromarray(self.pixels)
        pen = ImageDraw.Draw(page)
        for label in self.labels:
            self._write(pen, label, page.size)
        return np.array(page)

    def _write(self, pen: Any, label: _Label, size: tuple[int, int]) -> None:
        left, top, right, bottom = pen.textbbox((0, 0), label.text, font=self.font)
        width, height = right - left + 8, bottom - top + 6
        x1, y1, _, y2 = label.box
        y = y2 if label.below else y1 - height
        if y < 0 or y + height > size[1]:  # no room outside the box: inside it
            y = y2 - height if label.below else y1
        x = min(max(x1, 0), max(size[0] - width, 0))
        y = min(max(y, 0), max(size[1] - height, 0))
        paper = BLACK if label.below else label.color
        ink = label.color if label.below else _readable_on(label.color)
        pen.rectangle((x, y, x + width, y + height), fill=paper)
        pen.text((x + 4 - left, y + 3 - top), label.text, fill=ink, font=self.font)

    def _line(self, start: Any, end: Any, color: Color, thickness: int) -> None:
        a, b = ((round(x), round(y)) for x, y in (start, end))
        cv2.line(self.pixels, a, b, color, thickness, cv2.LINE_AA)


def _readable_on(color: Color) -> Color:
    red, green, blue = color
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601 luma
    return BLACK if brightness > 125 else WHITE


def _draw_target(
    canvas: _Canvas, target: Target, class_names: Sequence[str], skeleton: Sequence[Sequence[int]]
) -> None:
    target = target.to("cpu")
    ignored = (target.crowd | target.difficult).tolist()
    for i, box in enumerate(target.boxes.tolist()):
        color = GREY if ignored[i] else WHITE
        canvas.box(box, color, class_names[int(target.labels[i])], dashed=True)
        if target.keypoints is not None:
            canvas.keypoints(target.keypoints[i].tolist(), color, skeleton)


def _draw_found(
    canvas: _Canvas,
    found: Detections,
    class_names: Sequence[str],
    skeleton: Sequence[Sequence[int]],
) -> None:
    for i in reversed(range(len(found))):  # the best last, on top
        label = int(found.labels[i])
        text = f"{class_names[label]} {found.scores[i].item():.2f}"
        canvas.box(found.boxes[i].tolist(), class_color(label), text, dashed=False)
        if found.keypoints is not None:
            canvas.keypoints(found.keypoints[i].tolist(), class_color(label), skeleton)


def _dashes(
    start: tuple[float, float], end: tuple[float, float], length: int
) -> Iterable[tuple[tuple[float, float], tuple[float, float]]]:
    """Every second piece of a line, pieces about `length` px long, one at either end."""
    pieces = 2 * max(1, round(math.dist(start, end) / (2 * length))) + 1

    def at(piece: int) -> tuple[float, float]:
        share = piece / pieces
        return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share

    return [(at(piece), at(piece + 1)) for piece in range(0, pieces, 2)]


def _tile(image: Any, caption: str, cell: int) -> Any:
    margin, line = 8, 26
    scale = min(cell / image.shape[1], cell / image.shape[0])
    width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.full((cell + 2 * margin + line, cell + 2 * margin, 3), PAPER, np.uint8)
    top, left = margin + (cell - height) // 2, margin + (cell - width) // 2
    tile[top : top + height, left : left + width] = cv2.resize(
        np.ascontiguousarray(image), (width, height), interpolation=method
    )
    page = Image.fromarray(tile)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=15)
    pen.text((margin, cell + margin + 4), _fit(pen, caption, font, cell), fill=INK, font=font)
    return np.array(page)


def _fit(pen: Any, text: str, font: Any, width: int) -> str:
    """Shortened at the front, where paths are least telling."""
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength("…" + text, font=font) > width:
        text = text[1:]
    return "…" + text


def _row(tiles: list[Any], columns: int) -> Any:
    blank = np.full_like(tiles[0], PAPER)
    return np.hstack(tiles + [blank] * (columns - len(tiles)))
