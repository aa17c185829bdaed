"""Arenas that mice are filmed in from above: an open field, and a round pool of water."""

from dataclasses import dataclass, field

import numpy as np

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.chance import direction, pick
from datamodules.sources.worlds.colours import Colour, grey, hsv, mix, random_hsv, scaled, varied
from datamodules.sources.worlds.geometry import Points, blob, ellipse, line, polygon, rotated
from datamodules.sources.worlds.stage import Part, Thing

_FLOORS: tuple[Colour, ...] = (
    grey(0.92), grey(0.78), grey(0.62), grey(0.42), grey(0.2),
    hsv(0.1, 0.35, 0.75), hsv(0.09, 0.45, 0.55), hsv(0.58, 0.3, 0.7), hsv(0.4, 0.25, 0.6),
)  # fmt: skip
_WATERS: tuple[Colour, ...] = (
    grey(0.9), hsv(0.55, 0.12, 0.85), hsv(0.53, 0.35, 0.65), hsv(0.56, 0.5, 0.4), grey(0.3),
)  # fmt: skip


@dataclass(slots=True)
class Arena(Thing):
    """Where mice run or swim; `half` is half the floor's width and height, px.

    A mouse belongs where `holds` says so. What lies about in it is no mouse.
    """

    parts: list[Part] = field(default_factory=list)
    centre: tuple[float, float] = field(kw_only=True)
    half: tuple[float, float] = field(kw_only=True)
    floor: Colour = field(kw_only=True)
    wall: Colour = field(kw_only=True)
    room: Colour = field(kw_only=True)
    clutter: list[Part] = field(kw_only=True)
    light: tuple[float, float] = field(kw_only=True)
    """towards the light, a unit vector"""

    def holds(self, points: Points) -> bool:
        """Whether all points lie on the floor."""
        raise NotImplementedError

    def place(self, u: float, v: float) -> tuple[float, float]:
        """The point of the floor at (u, v), each of -1 to 1."""
        raise NotImplementedError

    def paint_clutter(self, canvas: Canvas) -> None:
        """What lies about, with shadows."""
        for part in self.clutter:
            size = float(np.ptp(part.points[:, 0]))
            shadow = part.points - np.array(self.light) * size * 0.15
            draw.glaze(canvas, shadow, (0, 0, 0), 0.3, size * 0.06)
            draw.fill(canvas, part.points, part.colour)
            if size > 6:
                draw.round_off(canvas, part.points, 0.35, size / 4)


@dataclass(slots=True)
class OpenField(Arena):
    """A box with four walls, seen from above its middle, a little turned."""

    turn: float = field(kw_only=True)
    """rad"""
    bedding: float = field(kw_only=True)
    """share of the floor that litter covers"""
    wall_width: float = field(kw_only=True)
    """of the walls as seen, as a share of the floor"""

    def holds(self, points: Points) -> bool:
        """As `Arena`."""
        own = rotated(points - self.centre, -self.turn)
        return bool((np.abs(own) <= np.array(self.half) * 0.97).all())

    def place(self, u: float, v: float) -> tuple[float, float]:
        """As `Arena`."""
        x, y = (rotated(np.array([[u, v]]) * self.half, self.turn) + self.centre)[0].tolist()
        return x, y

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Walls, floor, litter, the walls' shadow, and what lies about."""
        canvas[...] = np.array(self.room, np.uint8)
        inner = self._corners(1.0)
        outer = self._corners(1.0 + self.wall_width)
        for side in range(4):
            after = (side + 1) % 4
            wall = np.array([inner[side], inner[after], outer[after], outer[side]])
            middle = (inner[side] + inner[after]) / 2 - self.centre
            lit = -float(middle @ np.array(self.light)) / max(float(np.hypot(*middle)), 1e-9)
            draw.fill(canvas, wall, scaled(self.wall, 0.85 + 0.3 * lit))
        draw.fill(canvas, inner, self.floor)
        size = max(self.half)
        draw.roughen(canvas, inner, rng, size / rng.uniform(2, 8), 0.05)
        if self.bedding:
            draw.roughen(canvas, inner, rng, max(size / 45, 1.3), 0.25 * self.bedding)
            self._litter(canvas, rng)
        draw.shade(canvas, inner, (0.18 * self.light[0], 0.18 * self.light[1]))
        draw.round_off(canvas, inner, 0.35, size * 0.2)
        self.paint_clutter(canvas)

    def _litter(self, canvas: Canvas, rng: np.random.Generator) -> None:
        for _ in range(int(60 * self.bedding)):
            start = np.array(self.place(*rng.uniform(-0.97, 0.97, 2).tolist()))
            angle, long = rng.uniform(0, np.pi), max(self.half) * rng.uniform(0.01, 0.04)
            end = start + long * np.array([np.cos(angle), np.sin(angle)])
            draw.fill(canvas, line(start, end, max(long * 0.3, 0.8)), varied(self.floor, rng, 0.35))

    def _corners(self, scale: float) -> Points:
        signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        return rotated(signs * np.array(self.half) * scale, self.turn) + self.centre


@dataclass(slots=True)
class Pool(Arena):
    """A water maze: rim, water with ripples and reflections, a platform, marks on the wall."""

    platform: Part | None = field(kw_only=True)
    marks: list[Part] = field(kw_only=True)
    rim: float = field(kw_only=True)
    """width of the wall as seen, as a share of the radius"""

    def holds(self, points: Points) -> bool:
        """As `Arena`."""
        own = (points - self.centre) / self.half
        return bool((np.hypot(own[:, 0], own[:, 1]) <= 0.95).all())

    def place(self, u: float, v: float) -> tuple[float, float]:
        """As `Arena`; the square is pressed into the disc."""
        x, y = u * np.sqrt(1 - v * v / 2), v * np.sqrt(1 - u * u / 2)
        return self.centre[0] + float(x) * self.half[0], self.centre[1] + float(y) * self.half[1]

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """From the room inwards."""
        canvas[...] = np.array(self.room, np.uint8)
        everywhere = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * canvas.shape[1::-1]
        draw.roughen(canvas, everywhere, rng, max(canvas.shape) / 4, 0.12)
        for scale, colour in (
            (1 + self.rim, scaled(self.wall, 0.8)),
            (1 + self.rim * 0.8, self.wall),
        ):
            draw.fill(canvas, self._ring(scale), colour)
        draw.shade(canvas, self._ring(1 + self.rim), (-0.2 * self.light[0], -0.2 * self.light[1]))
        for mark in self.marks:
            draw.fill(canvas, mark.points, mark.colour)
        water = self._ring(1.0)
        draw.fill(canvas, water, self.floor)
        draw.round_off(canvas, water, 0.3, max(self.half) * 0.15)
        if self.platform is not None:
            draw.glaze(canvas, self.platform.points, self.platform.colour, 0.6, 1.0)
        self._ripple(canvas, water, rng)
        self._reflect(canvas, rng)
        self.paint_clutter(canvas)

    def _ripple(self, canvas: Canvas, water: Points, rng: np.random.Generator) -> None:
        size = max(self.half)
        draw.roughen(canvas, water, rng, size / 16, rng.uniform(0.01, 0.05), stretch=2.5)
        for _ in range(rng.integers(0, 4)):
            middle, radius = (
                self.place(*rng.uniform(-0.7, 0.7, 2).tolist()),
                rng.uniform(0.05, 0.25),
            )
            outer, inner = (ellipse(middle, (size * r, size * r)) for r in (radius, radius - 0.015))
            ring = np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])
            if self.holds(outer):
                draw.glaze(canvas, ring, mix(self.floor, grey(1.0), 0.5), 0.35, 0.6)

    def _reflect(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Lamps, mirrored in the water."""
        for _ in range(rng.integers(0, 5)):
            size = max(self.half) * rng.uniform(0.02, 0.14)
            middle = self.place(*rng.uniform(-0.75, 0.75, 2).tolist())
            lamp = ellipse(middle, (size, size * rng.uniform(0.15, 0.8)), rng.uniform(0, np.pi))
            draw.glaze(canvas, lamp, grey(1.0), float(rng.uniform(0.3, 0.85)), size * 0.15)

    def _ring(self, scale: float) -> Points:
        return ellipse(self.centre, np.array(self.half) * scale, corners=64)


def random_arena(image_hw: tuple[int, int], rng: np.random.Generator) -> Arena:
    """An open field or a pool that fills most of the picture."""
    height, width = image_hw
    angle = direction(rng)
    light = float(np.cos(angle)), float(np.sin(angle))
    x, y = np.array([width, height]) * (0.5 + rng.uniform(-0.03, 0.03, 2))
    room = varied(grey(rng.uniform(0.1, 0.7)), rng, 0.1)
    make = _open_field if rng.random() < 0.6 else _pool
    arena = make((float(x), float(y)), image_hw, room, light, rng)
    arena.clutter += _clutter(arena, rng)
    return arena


def _open_field(
    centre: tuple[float, float],
    image_hw: tuple[int, int],
    room: Colour,
    light: tuple[float, float],
    rng: np.random.Generator,
) -> OpenField:
    height, width = image_hw
    share = rng.uniform(0.36, 0.47)
    half = (width * share * rng.uniform(0.85, 1.0), height * share * rng.uniform(0.85, 1.0))
    floor = varied(pick(rng, _FLOORS), rng, 0.15)
    return OpenField(
        centre=centre,
        half=half,
        floor=floor,
        wall=varied(mix(floor, grey(rng.uniform(0.1, 0.95)), rng.uniform(0.3, 1.0)), rng),
        room=room,
        clutter=[],
        light=light,
        turn=float(rng.uniform(-0.12, 0.12)),
        bedding=pick(rng, (0.0, float(rng.uniform(0.3, 1.0)))),
        wall_width=float(rng.uniform(0.06, 0.3)),
    )


def _pool(
    centre: tuple[float, float],
    image_hw: tuple[int, int],
    room: Colour,
    light: tuple[float, float],
    rng: np.random.Generator,
) -> Pool:
    radius = min(image_hw) * rng.uniform(0.38, 0.47)
    half = (radius, radius * rng.uniform(0.92, 1.0))
    water = varied(pick(rng, _WATERS), rng, 0.12)
    rim = float(rng.uniform(0.04, 0.13))
    pool = Pool(
        centre=centre,
        half=half,
        floor=water,
        wall=varied(grey(rng.uniform(0.35, 0.95)), rng),
        room=room,
        clutter=[],
        light=light,
        platform=None,
        marks=[],
        rim=rim,
    )
    if rng.random() < 0.6:
        place = pool.place(*rng.uniform(-0.6, 0.6, 2).tolist())
        size = radius * rng.uniform(0.09, 0.16)
        colour = mix(water, grey(pick(rng, (0.05, 1.0))), rng.uniform(0.3, 0.9))
        pool.platform = Part(ellipse(place, (size, size)), colour)
    for _ in range(rng.integers(0, 5)):
        angle = direction(rng)
        at = np.array(half) * (1 + rim / 2) * [np.cos(angle), np.sin(angle)] + centre
        mark = polygon(int(rng.integers(3, 5)), at, radius * rim * 0.45, angle)
        pool.marks.append(Part(mark, grey(0.08)))
    return pool


def _clutter(arena: Arena, rng: np.random.Generator) -> list[Part]:
    """Droppings and pellets (small, dark), and toys that are as large as a mouse but none."""
    size = max(arena.half)
    water = isinstance(arena, Pool)
    parts: list[Part] = []
    for _ in range(0 if water else rng.integers(0, 12)):
        place, small = arena.place(*rng.uniform(-0.95, 0.95, 2).tolist()), size * 0.012
        radii = (small * rng.uniform(1, 2), small * rng.uniform(0.5, 1))
        parts.append(
            Part(ellipse(place, radii, rng.uniform(0, 3), 10), grey(rng.uniform(0.08, 0.4)))
        )
    for _ in range(rng.integers(0, 2 if water else 4)):
        place, big = (
            arena.place(*rng.uniform(-0.85, 0.85, 2).tolist()),
            size * rng.uniform(0.06, 0.15),
        )
        colour = random_hsv(rng, (0.0, 0.8), (0.1, 0.9))
        kind, turn = rng.integers(4), rng.uniform(0, np.pi)
        toy = (
            ellipse(place, (big, big)),
            polygon(4, place, big, turn),
            blob(place, (big, big * rng.uniform(0.4, 0.9)), rng, 0.12),
            line(place, np.add(place, big * 2 * np.array([np.cos(turn), np.sin(turn)])), big * 0.5),
        )[kind]
        parts.append(Part(toy, colour))
    return parts
