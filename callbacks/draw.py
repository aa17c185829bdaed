"""Boxes, labels and points on images, and many images on one sheet. Pure functions, RGB uint8."""

import colorsys
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from callbacks.canvas import GREY, INK, PAPER, WHITE, Canvas, Color
from detectors.structures import DatasetInfo, Detections, Target

Picture = UInt8[np.ndarray, "_ _ 3"]
"""Height and width differ from one to the next."""

_LEGEND_FROM = 200
"""px of the shorter side; a smaller picture has no room for a legend."""


def draw_detections(
    image: Picture,
    target: Target | None,
    detections: Detections | None,
    info: DatasetInfo,
    *,
    boxes: bool = True,
    score_threshold: float = 0.0,
    min_side: int = 400,
) -> Picture:
    """Predictions as solid boxes in the colour of their class, ground truth as dashed white ones.

    Keypoints have a colour each, explained in a strip below the picture. Predicted ones are discs,
    annotated ones white-edged squares, hollow if hidden (v = 1); absent ones are left out. Their
    skeleton is solid in the colour of the class, or dashed and white. `boxes=False` draws points
    alone.

    Boxes and keypoints are in pixels of `image`. Objects that do not count (crowd, difficult) are
    grey. The picture is enlarged by a whole factor until its shorter side has `min_side` px.
    """
    factor = max(1, math.ceil(min_side / min(image.shape[:2])))
    canvas = Canvas(image, factor)
    if target is not None:
        _draw_target(canvas, target.to("cpu"), info, boxes)
    if detections is not None:
        kept = detections.to("cpu")
        _draw_found(canvas, kept[kept.scores >= score_threshold], info, boxes)
    entries = _legend(target, detections, info)
    if not entries or min(canvas.pixels.shape[:2]) < _LEGEND_FROM:
        return canvas.picture()
    return np.vstack([canvas.picture(), canvas.legend(entries)])


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
    return _bright((0.08 + label * 0.618034) % 1.0)


def point_color(index: int) -> Color:
    """A bright colour per keypoint, unlike those of the first classes."""
    return _bright((0.55 + index * 0.618034) % 1.0)


def _bright(hue: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _legend(
    target: Target | None, detections: Detections | None, info: DatasetInfo
) -> list[tuple[str, Color, bool]]:
    """Text, colour and shape (annotated or not); empty without keypoints."""
    annotated = target is not None and target.keypoints is not None
    predicted = detections is not None and detections.keypoints is not None
    if not (annotated or predicted):
        return []
    names = enumerate(info.keypoint_names)
    shapes = [("predicted", GREY, False), ("annotated", GREY, True)]
    points = [(name, point_color(k), not predicted) for k, name in names]
    return points + shapes if annotated and predicted else points


def _draw_target(canvas: Canvas, target: Target, info: DatasetInfo, boxes: bool) -> None:
    ignored = (target.crowd | target.difficult).tolist()
    for i, box in enumerate(target.boxes.tolist()):
        color = GREY if ignored[i] else WHITE
        if boxes:
            canvas.box(box, color, info.class_names[int(target.labels[i])], annotated=True)
        if target.keypoints is not None:
            _draw_points(canvas, target.keypoints[i].tolist(), color, info, annotated=True)


def _draw_found(canvas: Canvas, found: Detections, info: DatasetInfo, boxes: bool) -> None:
    for i in reversed(range(len(found))):  # the best last, on top
        label = int(found.labels[i])
        text = f"{info.class_names[label]} {found.scores[i].item():.2f}"
        if boxes:
            canvas.box(found.boxes[i].tolist(), class_color(label), text, annotated=False)
        if found.keypoints is not None:
            points = found.keypoints[i].tolist()
            _draw_points(canvas, points, class_color(label), info, annotated=False)


def _draw_points(
    canvas: Canvas,
    points: list[list[float]],
    bones: Color,
    info: DatasetInfo,
    *,
    annotated: bool,
) -> None:
    """Points are (x, y, v); a v above 0 is drawn."""
    known = {k: (x, y) for k, (x, y, v) in enumerate(points) if v > 0 and math.isfinite(x + y)}
    for first, second in info.skeleton:
        if first in known and second in known:
            canvas.bone(known[first], known[second], bones, annotated=annotated)
    for k, place in known.items():
        hollow = annotated and points[k][2] == 1
        canvas.point(place, point_color(k), annotated=annotated, hollow=hollow)


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
