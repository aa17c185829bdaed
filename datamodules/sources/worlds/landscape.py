"""Landscapes: skies, hills, fields, woods, and what stands about in them."""

from dataclasses import dataclass, field

import numpy as np

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.chance import pick
from datamodules.sources.worlds.colours import Colour, grey, hsv, luma, mix, scaled, varied
from datamodules.sources.worlds.geometry import Points, blob, box, down_to, ellipse, line, ridge
from datamodules.sources.worlds.stage import Part, Thing

_SKIES: tuple[tuple[Colour, Colour, float], ...] = (
    (hsv(0.59, 0.65, 0.75), hsv(0.57, 0.22, 0.92), 1.0),  # clear
    (hsv(0.60, 0.45, 0.85), hsv(0.58, 0.10, 0.95), 1.05),  # bright
    (grey(0.68), grey(0.82), 0.8),  # overcast
    (hsv(0.60, 0.25, 0.42), hsv(0.58, 0.10, 0.66), 0.6),  # storm
    (hsv(0.62, 0.45, 0.55), hsv(0.07, 0.42, 0.95), 0.75),  # evening
    (hsv(0.68, 0.40, 0.35), hsv(0.98, 0.25, 0.70), 0.5),  # dusk
    (hsv(0.12, 0.12, 0.85), hsv(0.11, 0.18, 0.90), 0.95),  # dust
)
"""Zenith, horizon, and how bright the land is under it."""

_GROUNDS: tuple[tuple[Colour, ...], ...] = (
    (hsv(0.27, 0.55, 0.50), hsv(0.22, 0.55, 0.60), hsv(0.30, 0.60, 0.38)),  # meadows
    (hsv(0.13, 0.50, 0.75), hsv(0.12, 0.40, 0.65), hsv(0.20, 0.45, 0.50)),  # harvest
    (hsv(0.08, 0.45, 0.55), hsv(0.10, 0.40, 0.45), hsv(0.25, 0.40, 0.40)),  # ploughed
    (hsv(0.10, 0.30, 0.70), hsv(0.09, 0.35, 0.60), hsv(0.15, 0.30, 0.50)),  # steppe
    (hsv(0.60, 0.05, 0.92), hsv(0.60, 0.10, 0.80), hsv(0.10, 0.15, 0.60)),  # snow
    (hsv(0.55, 0.55, 0.45), hsv(0.56, 0.50, 0.38), hsv(0.54, 0.45, 0.52)),  # sea
)
_SEA = len(_GROUNDS) - 1


@dataclass(slots=True)
class Weather:
    """`light` is the brightness of the land, `haze` how much the farthest hill pales (0-1)."""

    zenith: Colour
    horizon: Colour
    light: float
    haze: float
    clouds: float

    @staticmethod
    def random(rng: np.random.Generator) -> "Weather":
        """One of the skies, changed a little."""
        zenith, horizon, light = pick(rng, _SKIES)
        thick = rng.random() < 0.15
        return Weather(
            varied(zenith, rng),
            varied(horizon, rng),
            light * float(rng.uniform(0.85, 1.1)),
            float(rng.uniform(0.75, 0.9) if thick else rng.uniform(0.15, 0.65)),
            pick(rng, (0.0, float(rng.uniform(0.2, 0.9)))),
        )

    def seen(self, colour: Colour, depth: float) -> Colour:
        """A colour in this light; `depth` 0 is near, 1 as far as the farthest hill."""
        return mix(scaled(colour, self.light), self.horizon, self.haze * depth)


@dataclass(slots=True)
class Sky(Thing):
    """The whole picture, before anything else."""

    parts: list[Part] = field(default_factory=list)
    weather: Weather = field(kw_only=True)
    horizon: float = field(kw_only=True)
    """y, px"""

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """From the zenith down; a sun; clouds, flatter towards the horizon."""
        height, width = canvas.shape[:2]
        last = min(max(round(self.horizon) + height // 8, 1), height)
        draw.fade(canvas, self.weather.zenith, self.weather.horizon, (0, last))
        draw.fade(canvas, self.weather.horizon, self.weather.horizon, (last, height))
        if rng.random() < 0.2:
            place = rng.uniform(0, width), rng.uniform(0, max(self.horizon, 1))
            sun = ellipse(place, (height / 30, height / 30))
            draw.glaze(canvas, sun, (255, 250, 225), 0.9, height / 30)
        if self.weather.clouds:
            sky = canvas[:last]
            grain = width * rng.uniform(0.04, 0.17)
            clouds = draw.patches(sky.shape, grain, rng, stretch=3.0)
            clouds += 0.4 * draw.patches(sky.shape, grain * 0.3, rng, stretch=2.5)
            white = mix(self.weather.horizon, grey(rng.uniform(0.55, 1.0)), 0.6)
            draw.blend(sky, white, np.clip(clouds * self.weather.clouds, 0, 0.85))


@dataclass(slots=True)
class Hill(Thing):
    """All land below a crest; fields on it."""

    crest: Points = field(kw_only=True)
    fields: list[Part] = field(kw_only=True)
    grain: float = field(kw_only=True)
    """px, of the ground's texture"""
    is_sea: bool = field(kw_only=True)

    def height_at(self, x: float) -> float:
        """y of the crest, px."""
        return float(np.interp(x, self.crest[:, 0], self.crest[:, 1]))

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Fields, furrows, and a mottled ground."""
        (ground,) = self.parts
        draw.fill(canvas, ground.points, ground.colour)
        for patch in self.fields:
            draw.glaze(canvas, patch.points, patch.colour, float(rng.uniform(0.4, 0.9)), 0.5)
        draw.roughen(canvas, ground.points, rng, self.grain, 0.05, stretch=4.0)
        draw.roughen(canvas, ground.points, rng, max(self.grain / 7, 1.0), 0.06, stretch=2.0)


def hills(
    weather: Weather, horizon: float, image_hw: tuple[int, int], rng: np.random.Generator
) -> list[Hill]:
    """One to four, far to near, from the horizon down; a sea is flat."""
    kind = int(rng.integers(len(_GROUNDS)))
    count = 1 if kind == _SEA else int(rng.integers(1, 5))
    height, width = image_hw
    crests = horizon + (height - horizon) * np.linspace(0, 0.75, count) ** 1.5
    result: list[Hill] = []
    for number, crest in enumerate(crests.tolist()):
        depth = 1 - number / max(count - 1, 1) if count > 1 else 0.4
        sway = 0.3 if kind == _SEA else height * rng.uniform(0.005, 0.07)
        top = ridge(width, crest, sway, int(rng.integers(1, 6)), rng)
        colour = varied(pick(rng, _GROUNDS[kind]), rng, 0.15)
        result.append(_hill(top, colour, depth, kind, weather, image_hw, rng))
    return result


def _hill(
    crest: Points,
    colour: Colour,
    depth: float,
    kind: int,
    weather: Weather,
    image_hw: tuple[int, int],
    rng: np.random.Generator,
) -> Hill:
    height, width = image_hw
    ground = Part(down_to(crest, height + 3), weather.seen(colour, depth))
    fields: list[Part] = []
    count = 0 if kind == _SEA else int(rng.integers(0, 6))
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(crest[:, 1].max(), height + 10)
        half, tall = width * rng.uniform(0.1, 0.4), height * rng.uniform(0.01, 0.08)
        lean = rng.uniform(-0.5, 0.5) * half
        corners = [(x - half, y), (x + half, y), (x + half + lean, y + tall), (x - half, y + tall)]
        other = varied(pick(rng, _GROUNDS[kind]), rng, 0.2)
        fields.append(Part(np.array(corners), weather.seen(other, depth * 0.7)))
    grain = max(height * (1 - 0.8 * depth) / 8, 2.0)
    return Hill([ground], crest=crest, fields=fields, grain=grain, is_sea=kind == _SEA)


@dataclass(slots=True)
class Tree(Thing):
    """A crown, or a wood of many; the crown is mottled."""

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Light from above."""
        for part in self.parts:
            draw.fill(canvas, part.points, part.colour)
        crown = self.parts[-1].points
        size = float(np.ptp(crown[:, 1]))
        draw.shade(canvas, crown, (float(rng.uniform(-0.2, 0.2)), -0.25))
        draw.roughen(canvas, crown, rng, max(size / 7, 1.5), 0.18)


def tree(
    foot: tuple[float, float], tall: float, weather: Weather, depth: float, rng: np.random.Generator
) -> Tree:
    """A round one or a fir, `tall` px high."""
    x, y = foot
    leaf = hsv(rng.uniform(0.18, 0.38), rng.uniform(0.35, 0.65), rng.uniform(0.2, 0.45))
    if rng.random() < 0.12:
        leaf = hsv(rng.uniform(0.03, 0.12), 0.7, rng.uniform(0.4, 0.65))
    trunk = Part(
        line((x, y), (x, y - tall * 0.5), max(tall * 0.08, 1)), weather.seen(grey(0.2), depth)
    )
    if rng.random() < 0.35:
        steps = np.linspace(0, 1, 7)
        widths = tall * 0.22 * (1 - steps) * (1 + 0.25 * rng.uniform(-1, 1, 7))
        right = np.stack([x + widths, y - tall * (0.12 + 0.88 * steps)], axis=1)
        left = np.stack([x - widths, right[:, 1]], axis=1)[::-1]
        crown = np.concatenate([right, left])
    else:
        radii = tall * rng.uniform(0.22, 0.4), tall * rng.uniform(0.3, 0.36)
        crown = blob((x, y - tall + radii[1]), radii, rng, 0.18)
    return Tree([trunk, Part(crown, weather.seen(leaf, depth))])


def wood(
    hill: Hill, tall: float, weather: Weather, depth: float, width: int, rng: np.random.Generator
) -> Tree:
    """A patch of forest along a hill's crest."""
    left = rng.uniform(-0.3, 0.9) * width
    right = left + rng.uniform(0.15, 0.7) * width
    x = np.arange(left, right, max(tall * 0.3, 2.0))
    foot = np.interp(x, hill.crest[:, 0], hill.crest[:, 1]) + tall * 0.25
    rise = np.sqrt(np.clip(np.sin(np.linspace(0, np.pi, len(x))), 0, 1))
    top = foot - tall * rise * rng.uniform(0.6, 1.0, len(x))
    leaf = hsv(rng.uniform(0.22, 0.4), rng.uniform(0.3, 0.6), rng.uniform(0.18, 0.38))
    upper, lower = np.stack([x, top], axis=1), np.stack([x, foot + 1], axis=1)[::-1]
    return Tree([Part(np.concatenate([upper, lower]), weather.seen(leaf, depth))])


def house(
    foot: tuple[float, float], tall: float, weather: Weather, depth: float, rng: np.random.Generator
) -> Thing:
    """A farm, a church with its tower, or a chimney with bands."""
    x, y = foot
    wall = weather.seen(varied(hsv(0.1, 0.15, 0.8), rng, 0.2), depth)
    roof = weather.seen(varied(hsv(0.03, 0.6, 0.5), rng, 0.3), depth)
    kind = rng.integers(3)
    if kind == 2:
        parts = [Part(line((x, y), (x, y - tall * 1.6), tall * 0.2, tall * 0.12), wall)]
        for at in (1.25, 1.45):
            top = y - tall * at
            parts.append(Part(box(x - tall * 0.07, top - tall * 0.1, x + tall * 0.07, top), roof))
        return Thing(parts)
    half = tall * rng.uniform(0.5, 1.0)
    parts = [Part(box(x - half, y - tall * 0.5, x + half, y), wall)]
    eaves = np.array([(x - half * 1.1, y - tall * 0.5), (x + half * 1.1, y - tall * 0.5)])
    peak = np.array([(x + half * 0.5, y - tall * 0.9), (x - half * 0.5, y - tall * 0.9)])
    parts.append(Part(np.concatenate([eaves, peak]), roof))
    if kind == 1:
        w = tall * 0.16
        parts.append(Part(box(x - half - w, y - tall * 1.2, x - half + w, y), scaled(wall, 0.9)))
        spire = np.array(
            [
                (x - half - w, y - tall * 1.2),
                (x - half + w, y - tall * 1.2),
                (x - half, y - tall * 1.9),
            ]
        )
        parts.append(Part(spire, roof))
    return Thing(parts)


def pylon(
    foot: tuple[float, float], tall: float, weather: Weather, depth: float, rng: np.random.Generator
) -> Thing:
    """A lattice mast with two or three cross-arms, as power lines hang on."""
    x, y = foot
    steel = weather.seen(grey(rng.uniform(0.25, 0.6)), depth)
    thick = max(tall / 70, 0.8)
    foot_half, top_half = tall * 0.1, tall * 0.018
    levels = np.linspace(0, 1, 6)
    halves = foot_half * (1 - levels) ** 1.3 + top_half
    heights = y - tall * levels
    legs = [np.stack([x + side * halves, heights], axis=1) for side in (-1, 1)]
    strokes = [line(leg[i], leg[i + 1], thick) for leg in legs for i in range(5)]
    strokes += [line(legs[i % 2][i], legs[1 - i % 2][i + 1], thick * 0.8) for i in range(5)]
    for at in (0.72, 0.85, 0.97)[: rng.integers(2, 4)]:
        arm, level = tall * rng.uniform(0.13, 0.2), y - tall * at
        strokes.append(line((x - arm, level), (x + arm, level), thick * 1.3))
        strokes.append(line((x - arm, level), (x, level - tall * 0.05), thick * 0.8))
        strokes.append(line((x + arm, level), (x, level - tall * 0.05), thick * 0.8))
    return Thing([Part(stroke, steel) for stroke in strokes])


def wires(
    start: tuple[float, float], end: tuple[float, float], colour: Colour, thick: float
) -> Thing:
    """A line that hangs between two points."""
    share = np.linspace(0, 1, 12)
    x = start[0] + (end[0] - start[0]) * share
    sag = 0.06 * abs(end[0] - start[0]) * 4 * share * (1 - share)
    y = start[1] + (end[1] - start[1]) * share + sag
    spine = np.stack([x, y], axis=1)
    normal = np.array([0.0, thick / 2])
    return Thing([Part(np.concatenate([spine - normal, (spine + normal)[::-1]]), colour)])


def apart_from(colour: Colour, ground: Colour, least: float) -> Colour:
    """The colour, or one moved away from the ground's until `least` grey levels lie between."""
    difference = luma(colour) - luma(ground)
    if abs(difference) >= least:
        return colour
    darker = luma(ground) > 110
    wanted = luma(ground) + (-least if darker else least)
    return scaled(colour, wanted / max(luma(colour), 1.0))
