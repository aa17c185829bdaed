"""Windmills on landscapes, from the horizon's dots to a mast that fills the picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds import landscape as land
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.chance import direction, log_uniform, pick
from datamodules.sources.worlds.colours import Colour, grey, hsv, mix, scaled
from datamodules.sources.worlds.geometry import Points, box, ellipse, line, rotated
from datamodules.sources.worlds.lens import Lens
from datamodules.sources.worlds.stage import Part, Thing, paint_things, settle
from datamodules.sources.worlds.world import (
    SMALLEST,
    Layout,
    World,
    check_settings,
    draw_count,
)

_TINY = (8 / 256, 24 / 256)
"""Longer side of a tiny windmill's box as a share of the image's shorter one, but 8 px or more."""
_LARGE = (0.2, 0.95)
_SMALLEST = (4.0, 8.0)
"""px, the shorter and the longer side of a box: the rotor may be seen from its side."""
_CONTRAST = 38.0
"""Grey levels between a windmill and what is behind its hub: what is labelled can be seen."""


@dataclass(frozen=True)
class Windmills(World):
    """Wind turbines from the side: tower, nacelle, three blades at any angle, any yaw.

    Hills, fields, woods, houses, chimneys, pylons and power lines are scenery: they may cover a
    windmill and are not labelled. The box goes around tower and rotor.

    Args:
        count: fewest and most windmills a scene is planned with.
        tiny_share: of the windmills; tiny ones have boxes of 8 to 24 px in a 256 px picture (never
            under 8 px), the others of 20 to 95 % of the shorter side.
        empty: share of scenes without a windmill.
        hidden: a windmill of which more is covered, or out of the picture, is not placed.
    """

    count: Sequence[int] = (1, 6)
    tiny_share: float = 0.5
    empty: float = 0.08
    hidden: float = 0.5
    name = "windmills"
    class_names = ("windmill",)

    def __post_init__(self) -> None:
        check_settings(self.count, tiny_share=self.tiny_share, empty=self.empty, hidden=self.hidden)

    def layout(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> Layout[Thing]:
        """As `World`."""
        weather = land.Weather.random(rng)
        horizon = image_hw[0] * rng.uniform(0.3, 0.85)
        hills = land.hills(weather, horizon, image_hw, rng)
        count = draw_count(rng, self.count, self.empty)
        tiny = rng.random(count) < self.tiny_share
        # distant ones on any hill, large ones where the land is near
        stands_on = np.where(tiny, rng.integers(0, len(hills), count), len(hills) - 1)
        style = Style.random(rng)
        things: list[Thing] = [land.Sky(weather=weather, horizon=horizon)]
        for number, hill in enumerate(hills):
            depth = 1 - number / (len(hills) - 1) if len(hills) > 1 else 0.4
            site = _Site(hill, depth, number == len(hills) - 1, weather, style, image_hw)
            behind, before = site.windmills(tiny[stands_on == number].tolist(), rng)
            things += [*behind, hill, *site.scenery(rng), *before, *site.foreground(rng)]
        return settle(things, image_hw, self.hidden, _SMALLEST)

    def paint(self, layout: Layout[Thing], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """As `World`."""
        return paint_things(layout, Lens.random(rng), rng)


@dataclass(slots=True, frozen=True)
class Style:
    """What the windmills of one park share; sizes are shares of the tower's height."""

    white: Colour
    tip: Colour | None
    foot: Colour | None
    rotor: float
    width: float
    yaw: float
    """width of the rotor's disc seen from the side, 1: from its front"""

    @staticmethod
    def random(rng: np.random.Generator) -> "Style":
        """Mostly white, some grey; some with red tips or a green foot."""
        value = rng.uniform(0.8, 0.98) if rng.random() < 0.85 else rng.uniform(0.35, 0.6)
        bands = hsv(0.0, 0.75, rng.uniform(0.5, 0.8)), hsv(0.36, 0.5, 0.45)
        return Style(
            white=hsv(rng.uniform(), rng.uniform(0, 0.04), value),
            tip=bands[0] if rng.random() < 0.25 else None,
            foot=pick(rng, bands) if rng.random() < 0.2 else None,
            rotor=float(rng.uniform(0.45, 0.78)),
            width=float(rng.uniform(0.04, 0.065)),
            yaw=float(rng.uniform(0.45, 1.0)),
        )


@dataclass(slots=True)
class Windmill(Thing):
    """The parts: tower, nacelle, three blades, hub."""

    style: Style = field(kw_only=True)
    depth: float = field(kw_only=True)
    weather: land.Weather = field(kw_only=True)
    hub: tuple[float, float] = field(kw_only=True)
    foot: tuple[float, float] = field(kw_only=True)

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """As bright as the light and the haze leave it; never the colour of what is behind."""
        height, width = canvas.shape[:2]
        column, row = (
            min(max(int(self.hub[0]), 0), width - 1),
            min(max(int(self.hub[1]), 0), height - 1),
        )
        behind = canvas[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
        red, green, blue = behind.mean(axis=(0, 1)).tolist()
        white = self.weather.seen(self.style.white, self.depth * 0.6)
        white = land.apart_from(white, (red, green, blue), _CONTRAST)
        tower, *others = [part.points for part in self.parts]
        draw.fill(canvas, tower, white)
        draw.shade(canvas, tower, (pick(rng, (-0.25, 0.25)), 0.0))
        self._bands(canvas, white)
        for points in others:
            draw.fill(canvas, points, scaled(white, rng.uniform(0.9, 1.05)))
        if self.style.tip is not None:
            for blade in others[1:4]:
                self._tip(canvas, blade, mix(self.style.tip, white, 0.2))

    def _bands(self, canvas: Canvas, white: Colour) -> None:
        if self.style.foot is not None:
            middle = np.array(self.foot) + 0.12 * (np.array(self.hub) - self.foot)
            width = float(np.ptp(self.parts[0].points[:, 0]))
            band = line(self.foot, middle, width, width * 0.95)
            draw.fill(canvas, band, mix(self.style.foot, white, 0.3))

    def _tip(self, canvas: Canvas, blade: Points, colour: Colour) -> None:
        middle = len(blade) // 2
        inner, outer = blade[middle - 2 : middle], blade[middle : middle + 2]
        # the last third, without the very end
        near = np.concatenate([inner * [1, 1], outer])
        draw.fill(canvas, near, colour)


_CHORD = np.array(
    [(0.0, 0.022), (0.1, 0.05), (0.22, 0.055), (0.6, 0.032), (0.8, 0.024), (1.0, 0.008)]
)
"""A blade's half width along it, both as shares of its length."""


def windmill(
    foot: tuple[float, float],
    tall: float,
    turn: float,
    depth: float,
    style: Style,
    weather: land.Weather,
) -> Windmill:
    """`tall` is the hub's height over the foot, px; `turn` the rotor's angle, rad."""
    x, y = foot
    hub = (x, y - tall)
    radius, width = tall * style.rotor, max(tall * style.width, 1.0)
    tower = line(foot, hub, width, max(width * 0.55, 0.9))
    long, high = max(tall * 0.05, 0.8), max(tall * 0.025, 0.6)
    shift = (1 - style.yaw) * long
    nacelle = box(x - long + shift, hub[1] - high, x + long + shift, hub[1] + high)
    blades = [_blade(radius, turn + k * 2 * np.pi / 3, style.yaw) + hub for k in range(3)]
    cap = ellipse(hub, (max(tall * 0.028, 0.8) * style.yaw, max(tall * 0.028, 0.8)), corners=12)
    return Windmill(
        [Part(points, style.white) for points in (tower, nacelle, *blades, cap)],
        label=0,
        style=style,
        depth=depth,
        weather=weather,
        hub=hub,
        foot=foot,
    )


def _blade(radius: float, angle: float, yaw: float) -> Points:
    along, half = _CHORD[:, 0] * radius, np.maximum(_CHORD[:, 1] * radius, 0.45)
    upper, lower = np.stack([along, -half * 0.6], axis=1), np.stack([along, half], axis=1)[::-1]
    return rotated(np.concatenate([upper, lower]), angle) * (yaw, 1.0)


@dataclass(slots=True)
class _Site:
    """One hill and what stands on it."""

    hill: land.Hill
    depth: float
    nearest: bool
    weather: land.Weather
    style: Style
    image_hw: tuple[int, int]

    def windmills(
        self, tiny: Sequence[bool], rng: np.random.Generator
    ) -> tuple[list[Windmill], list[Windmill]]:
        """Those behind the crest, their feet hidden, and those before it; far to near."""
        behind: list[Windmill] = []
        before: list[Windmill] = []
        for is_tiny in tiny:
            sunk = rng.random() < 0.3
            (behind if sunk else before).append(self._windmill(is_tiny, sunk, rng))
        return behind, sorted(before, key=lambda mill: mill.foot[1])

    def _windmill(self, tiny: bool, sunk: bool, rng: np.random.Generator) -> Windmill:
        height, width = self.image_hw
        low, high = (share * min(height, width) for share in (_TINY if tiny else _LARGE))
        low = max(low, SMALLEST * 1.3)
        side = log_uniform(rng, low, high)
        tall = side / (1 + self.style.rotor)
        margin = min(side / 4, width / 3)
        x = float(rng.uniform(margin, width - margin))
        crest = self.hill.height_at(x)
        sink = rng.uniform(0.05, 0.35) * tall if sunk else -rng.uniform(0, 0.1) * tall
        y = crest + float(sink)
        if not tiny:
            # near ones stand lower, some with their feet below the picture
            y = float(rng.uniform(max(crest, 0.8 * side), max(1.02 * height, crest + 1)))
        depth = self.depth if tiny else 0.3 * self.depth
        turn = direction(rng)
        return windmill((x, y), tall, turn, depth, self.style, self.weather)

    def scenery(self, rng: np.random.Generator) -> list[Thing]:
        """Woods, houses, pylons along the crest, smaller the farther."""
        height, width = self.image_hw
        near = 1 - 0.8 * self.depth
        things: list[Thing] = []
        for _ in range(rng.integers(0, 3)):
            tall = height * near * rng.uniform(0.02, 0.09)
            things.append(land.wood(self.hill, tall, self.weather, self.depth, width, rng))
        for _ in range(0 if self.hill.is_sea else rng.integers(0, 3)):
            foot = self._foot(rng)
            tall = height * near * rng.uniform(0.04, 0.1)
            things.append(land.house(foot, tall, self.weather, self.depth, rng))
        if not self.hill.is_sea and rng.random() < 0.3:
            things += self._power_line(height * near * rng.uniform(0.15, 0.45), rng)
        return things

    def foreground(self, rng: np.random.Generator) -> list[Thing]:
        """Trees, some tall enough to hide a windmill; none in the sea."""
        near = self.image_hw[0] * (1 - 0.75 * self.depth)
        count = 0 if self.hill.is_sea else int(rng.integers(0, 5 if self.nearest else 3))
        return [
            land.tree(self._foot(rng), near * rng.uniform(0.05, 0.3), self.weather, self.depth, rng)
            for _ in range(count)
        ]

    def _foot(self, rng: np.random.Generator) -> tuple[float, float]:
        height, width = self.image_hw
        x = float(rng.uniform(0, width))
        crest = self.hill.height_at(x)
        return x, crest + float(rng.uniform(0, 0.3 if self.nearest else 0.05) * (height - crest))

    def _power_line(self, tall: float, rng: np.random.Generator) -> list[Thing]:
        width = self.image_hw[1]
        places = np.arange(rng.uniform(-0.3, 0.3), 1.3, rng.uniform(0.3, 0.6)) * width
        feet = [(x, self.hill.height_at(x) + 1) for x in places.tolist()]
        mast = land.pylon((0.0, 0.0), tall, self.weather, self.depth, rng)
        masts = [
            Thing([Part(part.points + foot, part.colour) for part in mast.parts]) for foot in feet
        ]
        colour = self.weather.seen(grey(0.25), self.depth)
        spans: list[Thing] = []
        for (x1, y1), (x2, y2) in pairwise(feet):
            for side in (-0.15, 0.15):
                ends = (x1 + side * tall, y1 - 0.8 * tall), (x2 + side * tall, y2 - 0.8 * tall)
                spans.append(land.wires(*ends, colour, max(tall / 200, 0.5)))
        return [*masts, *spans]
