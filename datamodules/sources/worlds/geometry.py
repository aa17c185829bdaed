"""Outlines of things: closed polygons as (p, 2) arrays of x, y in continuous px."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Real

Number = float | int
"""Type checks at run time, unlike Python, do not take an int for a float."""
Points = Real[np.ndarray, "_ 2"]
"""Outlines differ in their number of corners."""
Pair = Sequence[Number] | Real[np.ndarray, " 2"]
"""x and y."""


def ellipse(centre: Pair, radii: Pair, angle: Number = 0.0, corners: int = 24) -> Points:
    """An ellipse whose first radius points along `angle`, rad."""
    turn = np.arange(corners) * (2 * np.pi / corners)
    u, v = radii[0] * np.cos(turn), radii[1] * np.sin(turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    points = np.empty((corners, 2))
    points[:, 0] = u * cosine - v * sine + centre[0]
    points[:, 1] = u * sine + v * cosine + centre[1]
    return points


def polygon(corners: int, centre: Pair, radius: Number, angle: Number = 0.0) -> Points:
    """A regular polygon; the first corner lies at `angle`, rad."""
    return ellipse(centre, (radius, radius), angle, corners)


def box(left: Number, top: Number, right: Number, bottom: Number) -> Points:
    """A rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def rotated(points: Points, angle: Number) -> Points:
    """The points turned about the origin; a positive angle turns x towards y (clockwise)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def ribbon(spine: Points, half_widths: Number | Float[np.ndarray, " p"]) -> Points:
    """The outline of a band along a line, as wide as `half_widths` to either side of it, px."""
    along = np.gradient(spine, axis=0)
    length = np.hypot(along[:, 0], along[:, 1])
    along = along / np.maximum(length, 1e-9)[:, None]
    sideways = np.stack([-along[:, 1], along[:, 0]], axis=1)
    offset = sideways * np.reshape(half_widths, (-1, 1))
    return np.concatenate([spine + offset, (spine - offset)[::-1]])


def line(start: Pair, end: Pair, width: Number, end_width: Number | None = None) -> Points:
    """A straight band, `width` px across at its start."""
    (x1, y1), (x2, y2) = start, end
    dx, dy = x2 - x1, y2 - y1
    length = max(float(np.hypot(dx, dy)), 1e-9)
    # to the left of the way, 1 px
    u, v = -dy / length / 2, dx / length / 2
    last = width if end_width is None else end_width
    return np.array(
        [
            (x1 + u * width, y1 + v * width),
            (x2 + u * last, y2 + v * last),
            (x2 - u * last, y2 - v * last),
            (x1 - u * width, y1 - v * width),
        ]
    )


def curve(start: Pair, headings: Float[np.ndarray, " p"], step: Number) -> Points:
    """The line that leaves `start` and takes steps of `step` px in the given directions, rad."""
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * step
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]) + np.asarray(start)


def blob(
    centre: Pair, radii: Pair, rng: np.random.Generator, rough: Number = 0.15, corners: int = 20
) -> Points:
    """An ellipse with bumps; `rough` is their height as a share of the radius."""
    bumps = 1 + rough * rng.uniform(-1, 1, (corners, 1))
    return (ellipse((0, 0), radii, 0.0, corners) * bumps) + np.asarray(centre)


def ridge(
    width: Number, crest: Number, height: Number, bumps: int, rng: np.random.Generator
) -> Points:
    """A line from the left edge to the right, which sways by `height` px about y = `crest`."""
    x = np.linspace(-2, width + 2, 8 * bumps + 1)
    knots = rng.uniform(-1, 1, bumps + 3)
    where = np.linspace(0, bumps, len(x))
    low = where.astype(int)
    smooth = 0.5 - 0.5 * np.cos((where - low) * np.pi)
    sway = knots[low] * (1 - smooth) + knots[low + 1] * smooth
    return np.stack([x, crest + height * sway], axis=1)


def down_to(line_points: Points, bottom: Number) -> Points:
    """The area below a line that runs from left to right."""
    (left, _), (right, _) = line_points[0], line_points[-1]
    return np.concatenate([line_points, [[right, bottom], [left, bottom]]])
