"""Paints flat shapes: ground, clutter, textures, light, blur, noise."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

Colour = Float[np.ndarray, " 3"]
Range = tuple[float, float]


@dataclass(slots=True, frozen=True)
class Shape:
    """An object: its kind, centre and longer side in px, and how it is turned, rad."""

    kind: str
    centre_xy: tuple[float, float]
    side: float
    angle: float


@dataclass(slots=True, frozen=True)
class Style:
    """`ground` is the brightness (0-1) behind the shapes, `clutter` counts distracting strokes.

    `blur` is a sigma in px, `noise` one in grey levels.
    """

    ground: Range
    clutter: tuple[int, int]
    blur: Range
    noise: Range


def paint(
    shapes: Sequence[Shape],
    visible: UInt8[np.ndarray, "h w"],
    style: Style,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "h w 3"]:
    """The scene in RGB; pixel (y, x) shows shapes[visible[y, x] - 1], or the ground at a 0."""
    value = rng.uniform(*style.ground)
    canvas = _ground(visible.shape, value, rng)
    _scatter_strokes(canvas, value, int(rng.integers(*style.clutter, endpoint=True)), rng)
    for number, shape in enumerate(shapes, start=1):
        _paint_shape(canvas, visible == number, shape, value, rng)
    if style.clutter[1]:
        canvas *= _light(visible.shape, rng)[..., None]
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(*style.blur))
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(*style.noise))
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _ground(hw: tuple[int, ...], value: float, rng: np.random.Generator) -> np.ndarray:
    """A dull colour with soft patches; float32 (h, w, 3)."""
    colour = _colour(rng.uniform(), rng.uniform(0.05, 0.4), value)
    patches = rng.normal(0, 10, (5, 5, 3)).astype(np.float32)
    return colour + cv2.resize(patches, hw[::-1], interpolation=cv2.INTER_CUBIC)


def _light(hw: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A linear fall of brightness across the image, 0.7 to 1.3; float32 (h, w)."""
    y, x = np.linspace(-0.5, 0.5, hw[0]), np.linspace(-0.5, 0.5, hw[1])
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45)
    slope = np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]
    return (1 + strength * slope).astype(np.float32)


def _scatter_strokes(
    canvas: np.ndarray, value: float, count: int, rng: np.random.Generator
) -> None:
    """Lines and slim arcs, which are no class, in muted colours."""
    height, width = canvas.shape[:2]
    for _ in range(count):
        shade = float(np.clip(value + rng.uniform(-0.25, 0.25), 0.05, 0.95))
        colour = _colour(rng.uniform(), rng.uniform(0.1, 0.5), shade).tolist()
        start, end = (rng.integers(0, (width, height)).tolist() for _ in range(2))
        thickness = int(rng.integers(1, 2 + min(height, width) // 100, endpoint=True))
        if rng.random() < 0.5:
            cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA)
        else:
            axes = rng.integers(4, max(5, min(height, width) // 3), 2).tolist()
            turn, sweep = float(rng.uniform(0, 360)), float(rng.uniform(40, 160))
            cv2.ellipse(canvas, start, axes, turn, 0, sweep, colour, thickness, cv2.LINE_AA)


def _paint_shape(
    canvas: np.ndarray,
    mask: Bool[np.ndarray, "h w"],
    shape: Shape,
    ground_value: float,
    rng: np.random.Generator,
) -> None:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows, columns = slice(y, y + height), slice(x, x + width)
    u, v = _own_axes(shape, rows, columns)
    # bright on dark or dark on bright: what is there can be seen
    value = ground_value + (0.42 if ground_value < 0.5 else -0.38) + rng.uniform(-0.1, 0.1)
    hue = rng.uniform()
    first = _colour(hue, rng.uniform(0.5, 1.0), value)
    other_hue, other_value = hue + rng.uniform(0.1, 0.5), value + rng.uniform(-0.1, 0.2)
    second = _colour(other_hue, rng.uniform(0.4, 0.9), other_value)
    pattern = _sectors(u, v) if shape.kind == "ball" else _pattern(u, v, rng)
    shade = _sphere(u, v, rng) if shape.kind == "ball" else _slope(u, v, rng)
    pixels = np.where(pattern[..., None], first, second) * shade[..., None]
    inside = mask[rows, columns]
    canvas[rows, columns][inside] = pixels[inside]


def _own_axes(shape: Shape, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """The shape's own coordinates of each pixel: -1 to 1 across it, turned with it."""
    centre_x, centre_y = shape.centre_xy
    y, x = np.mgrid[rows, columns].astype(np.float32) + np.float32(0.5)
    x, y = (x - centre_x) / (shape.side / 2), (y - centre_y) / (shape.side / 2)
    cosine, sine = np.cos(shape.angle), np.sin(shape.angle)
    return cosine * x + sine * y, cosine * y - sine * x


def _pattern(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Plain, striped or dotted; True where the first colour goes."""
    wave = rng.uniform(5, 9)
    kind = rng.integers(3)
    if kind == 0:
        return np.ones(u.shape, np.bool_)
    if kind == 1:
        return np.sin(wave * u) > -0.2
    return np.sin(wave * u) * np.sin(wave * v) < 0.35


def _sectors(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A beach ball's six sectors in turn, seen from off its pole."""
    return np.floor(np.arctan2(v + 0.25, u - 0.15) / (np.pi / 3)) % 2 == 0


def _sphere(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Diffuse light and a highlight on a ball."""
    depth = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    angle = rng.uniform(0, 2 * np.pi)
    facing = np.clip(0.5 * np.cos(angle) * u + 0.5 * np.sin(angle) * v + 0.7 * depth, 0, 1)
    return 0.45 + 0.6 * facing + 0.5 * facing**24


def _slope(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return 1 + 0.2 * (np.cos(angle) * u + np.sin(angle) * v)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    """RGB, 0 to 255; the hue goes round, the others are clipped."""
    rgb = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0), 1), min(max(value, 0.03), 1))
    return np.array(rgb, np.float32) * 255
