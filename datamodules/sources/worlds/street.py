"""Streets: roads, facades, cars, lamps, and coloured things that are no traffic signs."""

from dataclasses import dataclass, field

import numpy as np

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.chance import pick
from datamodules.sources.worlds.colours import Colour, grey, hsv, mix, random_hsv, scaled, varied
from datamodules.sources.worlds.geometry import Points, blob, box, ellipse, line
from datamodules.sources.worlds.landscape import Weather
from datamodules.sources.worlds.stage import Part, Thing

_WALLS: tuple[Colour, ...] = (
    hsv(0.08, 0.25, 0.85), hsv(0.03, 0.5, 0.6), hsv(0.11, 0.4, 0.8), grey(0.75), grey(0.5),
    hsv(0.55, 0.15, 0.75), hsv(0.02, 0.35, 0.45), hsv(0.13, 0.12, 0.92),
)  # fmt: skip


@dataclass(slots=True)
class Road(Thing):
    """Asphalt from the bottom of the picture to a vanishing point, pavements, lane marks."""

    parts: list[Part] = field(default_factory=list)
    vanishing: tuple[float, float] = field(kw_only=True)
    """px"""
    weather: Weather = field(kw_only=True)

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Ground, pavement, road, marks."""
        height, width = canvas.shape[:2]
        x, y = self.vanishing
        ground = box(-3, y, width + 3, height + 3)
        verge = hsv(rng.uniform(0.12, 0.33), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.6))
        draw.fill(canvas, ground, self.weather.seen(verge, 0.2))
        draw.roughen(canvas, ground, rng, max(height / 60, 1.5), 0.1, stretch=3.0)
        left, right = -rng.uniform(0.0, 0.5) * width, (1 + rng.uniform(0.0, 0.5)) * width
        for spread, value in ((1.5, rng.uniform(0.45, 0.7)), (1.0, rng.uniform(0.25, 0.5))):
            middle, half = (left + right) / 2, (right - left) / 2 * spread
            fan = np.array(
                [(x - 2, y), (x + 2, y), (middle + half, height + 3), (middle - half, height + 3)]
            )
            draw.fill(canvas, fan, self.weather.seen(grey(value), 0.0))
            draw.roughen(canvas, fan, rng, max(height / 100, 1.2), 0.05, stretch=2.0)
        self._mark(canvas, (left + right) / 2, rng)

    def _mark(self, canvas: Canvas, foot: float, rng: np.random.Generator) -> None:
        x, y = self.vanishing
        depth = canvas.shape[0] + 3 - y
        white = self.weather.seen(grey(0.85), 0.0)
        for near in 0.75 ** np.arange(rng.integers(0, 2), 12, 2):
            far, wide = near * 0.78, depth * 0.035
            ends = [(x + (foot - x) * s, y + depth * s) for s in (near, far)]
            draw.fill(canvas, line(ends[0], ends[1], wide * near, wide * far), white)


@dataclass(slots=True)
class Facade(Thing):
    """A house front, maybe in perspective: corners clockwise from the upper left."""

    parts: list[Part] = field(default_factory=list)
    corners: Points = field(kw_only=True)
    colour: Colour = field(kw_only=True)
    lit: bool = field(kw_only=True)

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Wall, plaster, roof, rows of windows."""
        draw.fill(canvas, self.corners, self.colour)
        size = float(np.ptp(self.corners[:, 1]))
        draw.roughen(canvas, self.corners, rng, max(size / 25, 1.5), 0.06)
        eaves = self._patch(-0.02, -rng.uniform(0.02, 0.2), 1.02, 0.0)
        draw.fill(canvas, eaves, scaled(self.colour, rng.uniform(0.3, 0.8)))
        columns, rows = rng.integers(2, 7), rng.integers(2, 6)
        pane = mix(grey(rng.uniform(0.1, 0.35)), hsv(0.58, 0.4, 0.7), rng.uniform(0, 0.6))
        w, h = rng.uniform(0.3, 0.6) / columns, rng.uniform(0.4, 0.6) / rows
        for row in range(rows):
            for column in range(columns):
                u, v = (column + 0.25) / columns, (row + 0.25) / rows
                glow = self.lit and rng.random() < 0.4
                colour = hsv(0.12, 0.5, 0.95) if glow else varied(pane, rng, 0.25)
                draw.fill(canvas, self._patch(u, v, u + w, v + h), colour)

    def _patch(self, left: float, top: float, right: float, bottom: float) -> Points:
        """A rectangle on the wall, in shares of its width and height."""
        upper_left, upper_right, lower_right, lower_left = self.corners
        u, v = (
            np.array([left, right, right, left])[:, None],
            np.array([top, top, bottom, bottom])[:, None],
        )
        upper = upper_left + u * (upper_right - upper_left)
        lower = lower_left + u * (lower_right - lower_left)
        return upper + v * (lower - upper)


def facades(
    vanishing: tuple[float, float],
    image_hw: tuple[int, int],
    weather: Weather,
    rng: np.random.Generator,
) -> list[Thing]:
    """None to five houses: along the sides of the street, or across its end."""
    height, width = image_hw
    x, y = vanishing
    houses: list[Thing] = []
    for _ in range(rng.integers(0, 6)):
        colour = weather.seen(varied(pick(rng, _WALLS), rng, 0.15), rng.uniform(0, 0.4))
        lit = weather.light < 0.7
        if rng.random() < 0.5:
            across, tall = rng.uniform(-0.1, 0.9) * width, height * rng.uniform(0.08, 0.4)
            wide = width * rng.uniform(0.1, 0.35)
            corners = box(across, y + 2 - tall, across + wide, y + 0.02 * height)
        else:
            edge = pick(rng, (-0.05, 1.05)) * width
            near, far = rng.uniform(0.5, 1.1), rng.uniform(0.05, 0.4)
            top, bottom = y - height * rng.uniform(0.3, 0.9), y + height * rng.uniform(0.1, 0.3)
            ends = [
                (x + (edge - x) * s, y + (level - y) * s)
                for s, level in ((near, top), (far, top), (far, bottom), (near, bottom))
            ]
            corners = np.array(ends)
        houses.append(Facade(corners=corners, colour=colour, lit=lit))
    return sorted(houses, key=_lower_edge)


def _lower_edge(house: Thing) -> float:
    assert isinstance(house, Facade)
    return float(house.corners[:, 1].max())


def car(
    foot: tuple[float, float], size: float, weather: Weather, rng: np.random.Generator
) -> Thing:
    """From behind or from the front, `size` px wide."""
    x, y = foot
    paint = weather.seen(random_hsv(rng, (0.0, 0.8), (0.1, 0.9)), 0.0)
    half, tall = size / 2, size * rng.uniform(0.7, 0.85)
    lamps = hsv(0.0, 0.9, 0.8) if rng.random() < 0.6 else (250.0, 245.0, 220.0)

    def middle(left: float, top: float, bottom: float) -> Points:
        """A rectangle in half widths and heights, as far to the right as to the left."""
        return box(x - left * half, y - top * tall, x + left * half, y - bottom * tall)

    wheels = [middle(0.15, 0.3, 0.0) + np.array((side * half * 0.8, 0.0)) for side in (-1, 1)]
    lights = [
        ellipse((x + side * half * 0.75, y - tall * 0.42), (half * 0.17, half * 0.12), corners=12)
        for side in (-1, 1)
    ]
    cabin = blob((x, y - tall * 0.62), (half * 0.8, tall * 0.42), rng, 0.02)
    return Thing(
        [
            *(Part(wheel, grey(0.06)) for wheel in wheels),
            Part(cabin, scaled(paint, 0.9)),
            Part(middle(0.62, 0.92, 0.58), grey(0.18)),
            Part(middle(1.0, 0.58, 0.12), paint),
            *(Part(light, lamps) for light in lights),
            Part(middle(0.25, 0.3, 0.2), grey(0.9)),
        ]
    )


def lamp_post(
    foot: tuple[float, float], size: float, weather: Weather, rng: np.random.Generator
) -> Thing:
    """A post with a round or a hanging lamp."""
    x, y = foot
    steel = weather.seen(grey(rng.uniform(0.15, 0.5)), 0.0)
    top = y - size * rng.uniform(4, 7)
    reach = size * rng.uniform(-1.5, 1.5)
    glass = hsv(rng.uniform(0.1, 0.15), rng.uniform(0, 0.5), 1.0)
    return Thing(
        [
            Part(line((x, y), (x, top), max(size * 0.14, 1.0)), steel),
            Part(line((x, top), (x + reach, top), max(size * 0.1, 1.0)), steel),
            Part(ellipse((x + reach, top), (size * 0.4, size * rng.uniform(0.15, 0.4))), glass),
        ]
    )


def traffic_light(
    foot: tuple[float, float], size: float, weather: Weather, rng: np.random.Generator
) -> Thing:
    """A post with three lamps, one of them alight."""
    x, y = foot
    top, w = y - size * rng.uniform(2.5, 4), size * 0.3
    alight = rng.integers(3)
    lamps = [
        hsv(hue, 0.9, 0.95 if number == alight else 0.25)
        for number, hue in enumerate((0.0, 0.13, 0.4))
    ]
    spots = [
        Part(ellipse((x, top + (k + 0.5) * size * 0.5), (w * 0.7, w * 0.7), corners=16), lamp)
        for k, lamp in enumerate(lamps)
    ]
    post = Part(line((x, y), (x, top), max(size * 0.12, 1.0)), weather.seen(grey(0.3), 0.0))
    return Thing([post, Part(box(x - w, top, x + w, top + size * 1.5), grey(0.07)), *spots])


def board(
    foot: tuple[float, float], size: float, weather: Weather, rng: np.random.Generator
) -> Thing:
    """Advertising, a direction board, a parking sign: rectangles in any colour, with writing."""
    x, y = foot
    half_w, half_h = size * rng.uniform(0.4, 1.6), size * rng.uniform(0.3, 0.8)
    top = y - size * rng.uniform(1.5, 3.5)
    signal = (hsv(0.6, 0.85, 0.65), hsv(0.99, 0.85, 0.7), hsv(0.13, 0.9, 0.9), grey(0.92))
    colour = varied(pick(rng, signal), rng, 0.15) if rng.random() < 0.7 else random_hsv(rng)
    ink = grey(0.95) if sum(colour) < 450 else grey(0.1)
    parts = [
        Part(line((x, y), (x, top), max(size * 0.12, 1.0)), weather.seen(grey(0.4), 0.0)),
        Part(box(x - half_w, top - half_h, x + half_w, top + half_h), colour),
    ]
    for at in np.linspace(-0.6, 0.6, rng.integers(1, 4)):
        level, reach = top + at * half_h, half_w * rng.uniform(0.3, 0.8)
        parts.append(Part(line((x - reach, level), (x + reach, level), half_h * 0.2), ink))
    if rng.random() < 0.35:
        spot = ellipse((x + half_w * rng.uniform(-0.5, 0.5), top), (half_h * 0.5, half_h * 0.5))
        parts.append(Part(spot, random_hsv(rng, (0.5, 1.0))))
    return Thing(parts)


def shop_sign(
    foot: tuple[float, float], size: float, weather: Weather, rng: np.random.Generator
) -> Thing:
    """A round or three-cornered thing in one strong colour, high on a wall: awning, ball, clock."""
    x, y = foot
    middle = (x, y - size * rng.uniform(3, 5))
    colour = random_hsv(rng, (0.6, 1.0), (0.4, 0.95))
    if rng.random() < 0.6:
        parts = [Part(ellipse(middle, (size * 0.5, size * 0.5)), colour)]
        if rng.random() < 0.5:
            parts.append(Part(ellipse(middle, (size * 0.3, size * 0.22)), random_hsv(rng)))
        return Thing(parts)
    awning = np.array([(-0.6, -0.3), (0.6, -0.3), (0.8, 0.3), (-0.8, 0.3)]) * size + middle
    return Thing([Part(awning, colour)])
