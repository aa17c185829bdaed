"""Flat textured shapes on a plain or cluttered ground: what small networks learn in minutes.

Published results depend on the pixels of `easy`, `tiny` and `varied`: they never change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from datamodules.sources.worlds.shapes_paint import Shape, Style, paint
from datamodules.sources.worlds.world import SMALLEST, Layout, World, tight_box

_PLAIN = Style(ground=(0.15, 0.48), clutter=(0, 0), blur=(0.4, 0.7), noise=(3.0, 8.0))
_TRIES = 20
_SUBPIXEL_BITS = 6


@dataclass(frozen=True)
class Shapes(World):
    """Shapes of equal chance, each placed so that those before it still show.

    `side` is the longer side of a shape as a share of the image's shorter one; `hidden` the largest
    share of a shape that others may cover.
    """

    name: str
    class_names: tuple[str, ...]
    count: tuple[int, int]
    side: tuple[float, float]
    hidden: float
    style: Style

    def layout(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> Layout[Shape]:
        """As `World`."""
        empty = np.zeros(image_hw, np.uint8)
        layout = Layout[Shape]([], [], [], empty, np.zeros((0, 4), np.float32))
        for _ in range(rng.integers(*self.count, endpoint=True)):
            for _ in range(_TRIES):
                placed = self._placed(layout, self._random_shape(rng, image_hw))
                if placed is not None:
                    layout = placed
                    break
        return layout

    def paint(self, layout: Layout[Shape], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """As `World`."""
        return paint(layout.things, layout.visible, self.style, rng)

    def _random_shape(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> Shape:
        height, width = image_hw
        low, high = (share * min(height, width) for share in self.side)
        low = max(low, SMALLEST + 1)
        side = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        x, y = rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)
        kind = str(rng.choice(self.class_names))
        return Shape(kind, (x, y), side, rng.uniform(0, 2 * np.pi))

    def _placed(self, layout: Layout[Shape], shape: Shape) -> Layout[Shape] | None:
        """The layout with one more shape on top, or None if too much of another would vanish."""
        mask = draw_mask(shape, layout.visible.shape)
        visible = np.where(mask, np.uint8(len(layout.things) + 1), layout.visible)
        drawn = [*layout.drawn, int(np.count_nonzero(mask))]
        boxes = np.array([tight_box(visible == k + 1) for k in range(len(drawn))], np.float32)
        sides = boxes[:, 2:] - boxes[:, :2]
        left = np.bincount(visible.ravel(), minlength=len(drawn) + 1)[1:] < (
            (1 - self.hidden) * np.array(drawn)
        )
        if left.any() or sides.min() < SMALLEST:
            return None
        labels = [*layout.labels, self.class_names.index(shape.kind)]
        return Layout([*layout.things, shape], labels, drawn, visible, boxes)


def easy() -> Shapes:
    """A ball or two of a quarter to 60 % of the image on a plain noisy ground."""
    return Shapes("easy", ("ball",), (1, 2), (0.25, 0.6), 0.05, _PLAIN)


def tiny() -> Shapes:
    """One to four balls of 9 px to 15 % of the image on a plain noisy ground."""
    return Shapes("tiny", ("ball",), (1, 4), (0.06, 0.15), 0.05, _PLAIN)


def varied() -> Shapes:
    """Up to six shapes of six kinds from 8 px to half the image; clutter, occlusion, uneven light.

    Some scenes are empty.
    """
    kinds = ("disc", "square", "triangle", "star", "ring", "cross")
    style = Style(ground=(0.2, 0.8), clutter=(2, 8), blur=(0.4, 1.1), noise=(2.0, 10.0))
    return Shapes("varied", kinds, (0, 6), (0.0, 0.5), 0.35, style)


def draw_mask(shape: Shape, image_hw: Sequence[int]) -> Bool[np.ndarray, "h w"]:
    """The pixels of a shape that nothing covers."""
    points = [contour * shape.side + shape.centre_xy for contour in unit_contours(shape)]
    # OpenCV counts from pixel centres, in fixed point
    fixed = [np.rint((p - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for p in points]
    mask = np.zeros(image_hw, np.uint8)
    cv2.fillPoly(mask, fixed, (1,), lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    return mask.astype(np.bool_)


def unit_contours(shape: Shape) -> list[Float[np.ndarray, "p 2"]]:
    """The turned outlines, centred on 0, the longer side of the upright box around them being 1."""
    contours = [_polygon(*outline, shape.angle) for outline in _OUTLINES[shape.kind]]
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    return [(contour - (low + high) / 2) / (high - low).max() for contour in contours]


def _polygon(corners: int, radii: Sequence[float], angle: float) -> Float[np.ndarray, "p 2"]:
    """A star-shaped polygon whose corners take the radii in turn."""
    turn = angle + np.arange(corners) * 2 * np.pi / corners
    radius = np.resize(radii, corners)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


_CIRCLE = (72, (1.0,))
_OUTLINES: dict[str, list[tuple[int, tuple[float, ...]]]] = {
    "ball": [_CIRCLE],
    "disc": [_CIRCLE],
    "ring": [_CIRCLE, (72, (0.55,))],
    "square": [(4, (1.0,))],
    "triangle": [(3, (1.0,))],
    "star": [(10, (1.0, 0.42))],
    # 12 corners: the outer two of an arm, then the inner one between two arms
    "cross": [(12, (1.0, 0.45, 1.0))],
}
"""Per shape its outlines as (corners, radii in turn); a second outline is a hole."""
