"""What stands on traffic signs, as flat layers in sign units: 1 is the radius, y points down."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from datamodules.sources.worlds.chance import pick
from datamodules.sources.worlds.colours import Colour, hsv, varied
from datamodules.sources.worlds.geometry import Points, box, ellipse, line, polygon

Layers = list[tuple[Points, Colour]]
"""The first is the outline."""

_RED, _BLUE, _YELLOW = hsv(0.99, 0.88, 0.78), hsv(0.6, 0.9, 0.68), hsv(0.12, 0.9, 0.95)
_WHITE, _BLACK, _GREY = (240.0, 240.0, 238.0), (20.0, 20.0, 22.0), (130.0, 130.0, 132.0)
_UP, _RIGHT = -np.pi / 2, 0.0


def prohibitory(rng: np.random.Generator) -> Layers:
    """A white disc in a red ring, with a speed, a vehicle, or nothing on it."""
    red, white = varied(_RED, rng, 0.15), varied(_WHITE, rng)
    inner = rng.uniform(0.68, 0.78)
    layers = [(_disc(1.0), red), (_disc(inner), white)]
    glyph = pick(rng, (_speed, _speed, _speed, _two_cars, _lorry, _walker, _bicycle, _nothing))
    return layers + glyph(rng, _BLACK)


def danger(rng: np.random.Generator) -> Layers:
    """A white triangle in a red one, point up, with a black warning."""
    red, white = varied(_RED, rng, 0.15), varied(_WHITE, rng)
    layers = [(_rounded(3, _UP), red), (_rounded(3, _UP) * rng.uniform(0.62, 0.7), white)]
    glyph = pick(rng, (_exclamation, _bend, _crossing, _walker, _bicycle, _bump, _arrow_up))
    small = [(points * 0.62 + (0, 0.1), colour) for points, colour in glyph(rng, _BLACK)]
    return layers + small


def mandatory(rng: np.random.Generator) -> Layers:
    """A blue disc with white arrows or travellers, often with a white rim."""
    blue = varied(_BLUE, rng, 0.2)
    layers = [(_disc(1.0), varied(_WHITE, rng)), (_disc(rng.uniform(0.9, 1.0)), blue)]
    glyph = pick(rng, (_arrow_up, _arrow_aside, _arrow_down, _roundabout, _walker, _bicycle))
    return layers + glyph(rng, _WHITE)


def other(rng: np.random.Generator) -> Layers:
    """Priority diamond, stop octagon, yield triangle, no entry, or the end of a restriction."""
    return pick(rng, (_priority, _stop, _yield, _no_entry, _end))(rng)


def back(rng: np.random.Generator) -> Layers:
    """Any sign from behind: grey."""
    grey = varied(_GREY, rng, 0.3)
    outline = pick(rng, (_disc(1.0), _rounded(3, _UP), _rounded(4, _UP), _rounded(8, np.pi / 8)))
    return [(outline, grey), (box(-0.08, -0.7, 0.08, 0.9), varied(grey, rng, 0.3))]


def _priority(rng: np.random.Generator) -> Layers:
    diamond = _rounded(4, _UP)
    yellow = varied(_YELLOW, rng)
    return [
        (diamond, varied(_WHITE, rng)),
        (diamond * 0.94, _BLACK),
        (diamond * 0.9, _WHITE),
        (diamond * 0.64, yellow),
    ]


def _stop(rng: np.random.Generator) -> Layers:
    octagon = polygon(8, (0, 0), 1.0, np.pi / 8)
    layers = [(octagon, varied(_WHITE, rng)), (octagon * 0.93, varied(_RED, rng, 0.15))]
    return layers + _text("STOP", 0.26, 0.12, _WHITE)


def _yield(rng: np.random.Generator) -> Layers:
    down = _rounded(3, -_UP)
    return [(down, varied(_RED, rng, 0.15)), (down * rng.uniform(0.58, 0.68), varied(_WHITE, rng))]


def _no_entry(rng: np.random.Generator) -> Layers:
    bar = box(-0.72, -0.17, 0.72, 0.17)
    return [(_disc(1.0), varied(_RED, rng, 0.15)), (bar, varied(_WHITE, rng))]


def _end(rng: np.random.Generator) -> Layers:
    white = varied(_WHITE, rng)
    faint = [(points, _GREY) for points, _ in (_speed(rng, _GREY) if rng.random() < 0.5 else [])]
    across = [
        (line((-0.62 + d, 0.62 + d), (0.62 + d, -0.62 + d), 0.06), _BLACK) for d in (-0.12, 0, 0.12)
    ]
    return [(_disc(1.0), _GREY), (_disc(0.95), white), *faint, *across]


Glyph = Callable[[np.random.Generator, Colour], Layers]

_SEGMENTS = {
    "a": ((0, 0), (1, 0)), "b": ((1, 0), (1, 1)), "c": ((1, 1), (1, 2)), "d": ((0, 2), (1, 2)),
    "e": ((0, 1), (0, 2)), "f": ((0, 0), (0, 1)), "g": ((0, 1), (1, 1)), "m": ((0.5, 0), (0.5, 2)),
}  # fmt: skip
_CHARACTERS = {
    "0": "abcdef", "1": "bc", "2": "abged", "3": "abgcd", "5": "afgcd", "6": "afgedc", "7": "abc",
    "8": "abcdefg", "S": "afgcd", "T": "am", "O": "abcdef", "P": "abefg",
}  # fmt: skip
"""Strokes of a character two units high and one wide."""


def _speed(rng: np.random.Generator, colour: Colour) -> Layers:
    number = pick(rng, ("20", "30", "30", "50", "60", "70", "80", "100", "120"))
    return _text(number, 0.3 if len(number) == 2 else 0.2, 0.13, colour)


def _text(text: str, wide: float, thick: float, colour: Colour) -> Layers:
    """Characters `wide` across and 0.72 high, in the middle."""
    pitch = wide + 1.5 * thick
    left = -pitch * (len(text) - 1) / 2 - wide / 2
    layers: Layers = []
    for place, character in enumerate(text):
        for segment in _CHARACTERS[character]:
            start, end = (
                (left + place * pitch + x * wide, -0.36 + y * 0.36) for x, y in _SEGMENTS[segment]
            )
            layers.append((line(start, end, thick), colour))
    return layers


def _car(x: float, colour: Colour) -> Layers:
    body, roof = box(x - 0.2, 0.0, x + 0.2, 0.2), box(x - 0.13, -0.16, x + 0.13, 0.02)
    wheels = [(box(x + s * 0.14 - 0.05, 0.18, x + s * 0.14 + 0.05, 0.3), colour) for s in (-1, 1)]
    return [(body, colour), (roof, colour), *wheels]


def _two_cars(rng: np.random.Generator, colour: Colour) -> Layers:
    return _car(-0.27, _RED) + _car(0.27, colour)


def _lorry(rng: np.random.Generator, colour: Colour) -> Layers:
    wheels = [(ellipse((x, 0.24), (0.1, 0.1), corners=10), colour) for x in (-0.25, 0.3)]
    return [(box(-0.48, -0.25, 0.12, 0.2), colour), (box(0.15, -0.08, 0.48, 0.2), colour), *wheels]


def _walker(rng: np.random.Generator, colour: Colour) -> Layers:
    limbs = [
        ((0, -0.22), (0.02, 0.12), 0.2), ((0, 0.08), (-0.2, 0.5), 0.1),
        ((0.02, 0.08), (0.22, 0.48), 0.1), ((0, -0.2), (-0.24, 0.08), 0.08),
        ((0, -0.2), (0.26, 0.0), 0.08),
    ]  # fmt: skip
    head = ellipse((0.02, -0.42), (0.11, 0.11), corners=10)
    return [(head, colour), *((line(a, b, width), colour) for a, b, width in limbs)]


def _bicycle(rng: np.random.Generator, colour: Colour) -> Layers:
    frame = [
        ((-0.3, 0.15), (-0.1, -0.15)),
        ((-0.1, -0.15), (0.2, -0.15)),
        ((0.3, 0.15), (0.15, -0.3)),
        ((-0.3, 0.15), (0.0, 0.15)),
        ((0.0, 0.15), (0.2, -0.15)),
    ]
    bars = [(line(a, b, 0.06), colour) for a, b in frame]
    return bars + [(_ring((x, 0.15), 0.22, 0.15), colour) for x in (-0.32, 0.32)]


def _exclamation(rng: np.random.Generator, colour: Colour) -> Layers:
    return [
        (line((0, -0.5), (0, 0.15), 0.2, 0.12), colour),
        (ellipse((0, 0.36), (0.1, 0.1)), colour),
    ]


def _bend(rng: np.random.Generator, colour: Colour) -> Layers:
    side = pick(rng, (-1, 1))
    path = [(0.0, 0.5), (0.0, 0.15), (side * 0.22, -0.1), (side * 0.05, -0.45)]
    layers = [(line(a, b, 0.15), colour) for a, b in pairwise(path)]
    return [*layers, (polygon(3, (side * 0.02, -0.5), 0.18, _UP), colour)]


def _crossing(rng: np.random.Generator, colour: Colour) -> Layers:
    return [
        (line((-0.42, 0.42), (0.42, -0.42), 0.17), colour),
        (line((-0.42, -0.42), (0.42, 0.42), 0.17), colour),
    ]


def _bump(rng: np.random.Generator, colour: Colour) -> Layers:
    hills = [(ellipse((x, 0.3), (0.25, 0.28), corners=14), colour) for x in (-0.26, 0.26)]
    return [*hills, (box(-0.55, 0.28, 0.55, 0.42), colour)]


def _arrow_up(rng: np.random.Generator, colour: Colour) -> Layers:
    return _arrow(_UP, colour)


def _arrow_aside(rng: np.random.Generator, colour: Colour) -> Layers:
    return _arrow(_RIGHT + pick(rng, (0.0, np.pi)), colour)


def _arrow_down(rng: np.random.Generator, colour: Colour) -> Layers:
    return _arrow(np.pi / 2 + pick(rng, (-1, 1)) * np.pi / 4, colour)


def _arrow(angle: float, colour: Colour) -> Layers:
    way = np.array([np.cos(angle), np.sin(angle)])
    return [
        (line(-0.6 * way, 0.25 * way, 0.2), colour),
        (polygon(3, 0.32 * way, 0.36, angle), colour),
    ]


def _roundabout(rng: np.random.Generator, colour: Colour) -> Layers:
    layers: Layers = []
    for turn in (0.3, 0.3 + 2 * np.pi / 3, 0.3 + 4 * np.pi / 3):
        arc = np.array([(0.48 * np.cos(turn + s), 0.48 * np.sin(turn + s)) for s in (0, 0.5, 1.0)])
        layers += [(line(a, b, 0.15), colour) for a, b in pairwise(arc)]
        layers.append((polygon(3, arc[-1], 0.2, turn + 1.0 + np.pi / 2), colour))
    return layers


def _nothing(rng: np.random.Generator, colour: Colour) -> Layers:
    return []


def _disc(radius: float) -> Points:
    return ellipse((0, 0), (radius, radius), corners=28)


def _ring(centre: tuple[float, float], outer: float, inner: float) -> Points:
    """One closed line: around, a step inwards, and back."""
    around, within = (ellipse(centre, (r, r), corners=14) for r in (outer, inner))
    return np.concatenate([around, around[:1], within[:1], within[::-1]])


def _rounded(corners: int, angle: float) -> Points:
    """A regular polygon with blunted corners."""
    sharp = polygon(corners, (0, 0), 1.06, angle)
    following, previous = np.roll(sharp, -1, axis=0), np.roll(sharp, 1, axis=0)
    blunt = [
        0.92 * sharp + 0.08 * previous,
        0.96 * sharp + 0.02 * (previous + following),
        0.92 * sharp + 0.08 * following,
    ]
    return np.stack(blunt, axis=1).reshape(-1, 2)
