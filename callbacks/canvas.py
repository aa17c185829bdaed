"""The pen behind `callbacks.draw`: boxes, points, bones, texts and a legend on an enlarged image.

Own drawing instead of torchvision.utils: small images are enlarged first, ground truth is dashed,
and labels stay inside the image and legible (torchvision's default font has one tiny size).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Place = tuple[float, float]
"""x, y in px."""

_Entry = tuple[float, str, Color, bool]
"""Of a legend: where it starts (px), text, colour, annotated."""

WHITE, BLACK, GREY = (255, 255, 255), (16, 16, 18), (160, 160, 160)
PAPER, INK = (24, 26, 30), (225, 228, 232)
"""Background and texts beside pictures."""
_FAR = 20_000
"""px; OpenCV knows no places much farther away, and dashes to there would be endless."""


@dataclass(slots=True)
class _Label:
    text: str
    color: Color
    box: tuple[float, float, float, float]
    below: bool


class Canvas:
    """An enlarged copy of an image; its methods take px of the original.

    What is `annotated` is drawn dashed and square, with texts below; what is predicted is solid and
    round, with texts above. Texts are drawn last, over everything else.
    """

    def __init__(self, image: Any, factor: int) -> None:
        height, width = image.shape[:2]
        size = (width * factor, height * factor)
        self.factor = factor
        self.pixels = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC)
        self.unit = max(1, round(min(size) / 300))
        self.font_size = max(12, round(min(size) / 30))
        self.font = ImageFont.load_default(size=self.font_size)
        self.labels: list[_Label] = []
        self._gap = 8 * self.unit
        """px between the marks and texts of the legend."""

    def box(self, box: Sequence[float], color: Color, text: str, *, annotated: bool) -> None:
        """An outline with a text; without one if it is empty."""
        x1, y1, x2, y2 = (value * self.factor for value in box)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            self._line(start, end, color, self.unit if annotated else self.unit + 1, annotated)
        if text:
            self.labels.append(_Label(text, color, (x1, y1, x2, y2), below=annotated))

    def bone(self, start: Place, end: Place, color: Color, *, annotated: bool) -> None:
        """A thin line between two points."""
        (x1, y1), (x2, y2) = start, end
        a, b = (x1 * self.factor, y1 * self.factor), (x2 * self.factor, y2 * self.factor)
        self._line(a, b, color, self.unit, annotated)

    def point(self, place: Place, color: Color, *, annotated: bool, hollow: bool = False) -> None:
        """A white-edged square, or a smaller black-edged disc: one upon the other shows both."""
        x, y = place
        centre = (x * self.factor, y * self.factor)
        _mark(self.pixels, centre, color, self.unit, annotated, hollow)

    def picture(self) -> Any:
        """What has been drawn."""
        page = Image.fromarray(self.pixels)
        pen = ImageDraw.Draw(page)
        for label in self.labels:
            self._write(pen, label, page.size)
        return np.array(page)

    def legend(self, entries: Iterable[tuple[str, Color, bool]]) -> Any:
        """A strip as wide as the picture: texts, each after its mark (colour, annotated), in rows.

        To stand below the picture: upon it, it would cover what is there.
        """
        gap, height = self._gap, round(1.5 * self.font_size)
        rows: list[list[_Entry]] = [[]]
        x = gap
        for text, color, annotated in entries:
            width = 3 * gap + round(self.font.getlength(text))
            if rows[-1] and x + width > self.pixels.shape[1]:
                rows.append([])
                x = gap
            rows[-1].append((float(x), text, color, annotated))
            x += width
        return np.vstack([self._legend_row(row, height) for row in rows])

    def _legend_row(self, row: list[_Entry], height: int) -> Any:
        strip = np.full((height, self.pixels.shape[1], 3), PAPER, np.uint8)
        for x, _, color, annotated in row:
            _mark(strip, (x, height / 2), color, self.unit, annotated, hollow=False)
        page = Image.fromarray(strip)
        pen = ImageDraw.Draw(page)
        for x, text, _, _ in row:
            place = (x + self._gap, height / 2)
            pen.text(place, text, fill=INK, font=self.font, anchor="lm")
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

    def _line(self, start: Place, end: Place, color: Color, thickness: int, dashed: bool) -> None:
        start, end = _near(start), _near(end)
        pieces = _dashes(start, end, 6 * self.unit) if dashed else [(start, end)]
        # all of the black edge first: it must not cover the ends of the dashes beside it
        for ink, width in ((BLACK, thickness + (2 if dashed else 1)), (color, thickness)):
            for a, b in pieces:
                cv2.line(self.pixels, _pixel(a), _pixel(b), ink, width, cv2.LINE_AA)


def _mark(
    pixels: Any, place: Place, color: Color, unit: int, annotated: bool, hollow: bool
) -> None:
    x, y = _pixel(place)
    if not annotated:
        cv2.circle(pixels, (x, y), 2 * unit + 2, BLACK, -1, cv2.LINE_AA)
        cv2.circle(pixels, (x, y), 2 * unit + 1, color, -1, cv2.LINE_AA)
        return
    for half, ink in ((3 * unit + 2, WHITE), (2 * unit + 2, color)):
        thickness = unit if hollow else -1
        cv2.rectangle(pixels, (x - half, y - half), (x + half, y + half), ink, thickness)


def _readable_on(color: Color) -> Color:
    red, green, blue = color
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601 luma
    return BLACK if brightness > 125 else WHITE


def _pixel(place: Place) -> tuple[int, int]:
    x, y = _near(place)
    return round(x), round(y)


def _near(place: Place) -> Place:
    x, y = (float(min(max(value, -_FAR), _FAR)) for value in place)
    return x, y


def _dashes(start: Place, end: Place, length: int) -> Sequence[tuple[Place, Place]]:
    """Every second piece of a line, pieces about `length` px long, one at either end."""
    pieces = 2 * max(1, round(math.dist(start, end) / (2 * length))) + 1

    def at(piece: int) -> Place:
        share = piece / pieces
        return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share

    return [(at(piece), at(piece + 1)) for piece in range(0, pieces, 2)]
