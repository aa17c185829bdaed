"""Drawing on an RGB picture, in place; outlines are in continuous px and may leave the picture."""

from collections.abc import Sequence
from math import ceil, floor

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from datamodules.sources.worlds.colours import Colour
from datamodules.sources.worlds.geometry import Number, Points

Canvas = UInt8[np.ndarray, "h w 3"]
Field = Float[np.ndarray, "h w"]
_SUBPIXEL_BITS = 6
_SUBPIXELS = 2**_SUBPIXEL_BITS


def fill(
    canvas: UInt8[np.ndarray, "h w *c"],
    points: Points,
    value: Sequence[Number],
    origin: tuple[int, int] = (0, 0),
) -> None:
    """Fills an outline, with smooth edges; works on maps (h, w) as well.

    `origin` is the place (x, y) of the canvas's first pixel, where the canvas is a window.
    """
    # OpenCV counts from pixel centres, in fixed point (here rounded), the offset too
    fixed = (points * _SUBPIXELS - (_SUBPIXELS - 1) / 2).astype(np.int32)
    offset = (-origin[0] * _SUBPIXELS, -origin[1] * _SUBPIXELS)
    cv2.fillPoly(canvas, [fixed], value, cv2.LINE_AA, _SUBPIXEL_BITS, offset)


def local_window(
    points: Points, image_hw: tuple[int, int], margin: int = 2
) -> tuple[slice, slice] | None:
    """Rows and columns around an outline inside the picture; None: it lies outside."""
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    left, top = max(floor(left) - margin, 0), max(floor(top) - margin, 0)
    right = min(ceil(right) + margin, image_hw[1])
    bottom = min(ceil(bottom) + margin, image_hw[0])
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def coverage(points: Points, window: tuple[slice, slice]) -> UInt8[np.ndarray, "r c"]:
    """How much of each pixel of the window an outline covers, 0 to 255."""
    rows, columns = window
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    fill(mask, points, (255,), (columns.start, rows.start))
    return mask


def glaze(
    canvas: Canvas, points: Points, colour: Colour, opacity: float, softness: float = 0.0
) -> None:
    """Lays a translucent colour over an outline; `softness` is the sigma of its edge, px."""
    window = local_window(points, _hw(canvas), margin=2 + round(2.5 * softness))
    if window is None:
        return
    mask = coverage(points, window)
    if softness > 0.3:
        mask = cv2.GaussianBlur(mask, (0, 0), softness)
    share = mask[..., None] * np.float32(opacity / 255)
    pixels = canvas[window]
    canvas[window] = pixels + share * (np.array(colour, np.float32) - pixels)


def shade(
    canvas: Canvas, points: Points, light: Float[np.ndarray, " 2"] | tuple[float, float]
) -> None:
    """Brightens the side of a thing that faces the light.

    The brightness changes linearly across the window, by |light| from its middle to its edge.
    """
    window = local_window(points, _hw(canvas))
    if window is None:
        return
    mask = coverage(points, window)
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in mask.shape)
    slope = np.float32(light[0]) * x[None, :] + np.float32(light[1]) * y[:, None]
    canvas[window] = multiply(canvas[window], 1 + slope * (mask * np.float32(1 / 255)))


def round_off(canvas: Canvas, points: Points, strength: float, reach: float) -> None:
    """Darkens a thing towards its rim, over `reach` px, as if it bulged."""
    window = local_window(points, _hw(canvas))
    if window is None:
        return
    mask = coverage(points, window)
    depth = cv2.distanceTransform((mask > 127).view(np.uint8), cv2.DIST_L2, 3)
    inwards = np.minimum(depth * np.float32(1 / max(reach, 1.0)), 1)
    bulge = 1 - np.float32(strength) * (1 - inwards) ** 2
    canvas[window] = multiply(canvas[window], 1 + (bulge - 1) * (mask * np.float32(1 / 255)))


def roughen(
    canvas: Canvas,
    points: Points,
    rng: np.random.Generator,
    grain: float,
    strength: float,
    stretch: float = 1.0,
) -> None:
    """Mottles a thing with patches `grain` px high and `stretch` times as wide.

    Their brightness varies by `strength`.
    """
    window = local_window(points, _hw(canvas))
    if window is None:
        return
    mask = coverage(points, window)
    field = patches(mask.shape, grain, rng, stretch) * np.float32(strength)
    canvas[window] = multiply(canvas[window], 1 + field * (mask * np.float32(1 / 255)))


def patches(
    hw: tuple[int, ...], grain: float, rng: np.random.Generator, stretch: float = 1.0
) -> Field:
    """A smooth random field around 0, of standard deviation about 0.7.

    Its hills are `grain` px high and `stretch` times as wide.
    """
    cells = (max(2, round(hw[0] / grain) + 2), max(2, round(hw[1] / grain / stretch) + 2))
    small = rng.standard_normal(cells, np.float32)
    if cells[0] >= hw[0] and cells[1] >= hw[1]:
        return small[: hw[0], : hw[1]]
    return cv2.resize(small, hw[1::-1], interpolation=cv2.INTER_CUBIC)


def blend(canvas: Canvas, colour: Colour, share: Field) -> None:
    """Mixes a colour into every pixel, `share` (0 to 1) of it."""
    pixels = canvas.astype(np.float32)
    pixels += share[..., None] * (np.array(colour, np.float32) - pixels)
    canvas[...] = pixels


def fade(canvas: Canvas, top: Colour, bottom: Colour, rows: tuple[int, int]) -> None:
    """Fills the rows from one colour at the first to another at the last."""
    count = rows[1] - rows[0]
    if count > 0:
        share = np.linspace(0, 1, count)[:, None]
        canvas[rows[0] : rows[1]] = ((1 - share) * top + share * bottom)[:, None, :]


def multiply(canvas: Canvas, factor: Field) -> Canvas:
    """Every pixel times its factor (0 to 1.99, in steps of 1/128: noise hides them)."""
    steps = cv2.cvtColor(cv2.convertScaleAbs(factor, alpha=128.0), cv2.COLOR_GRAY2RGB)
    return cv2.multiply(canvas, steps, scale=1 / 128)


def _hw(canvas: Canvas) -> tuple[int, int]:
    return canvas.shape[0], canvas.shape[1]
