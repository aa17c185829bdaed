"""Colours as (red, green, blue), each 0 to 255."""

import colorsys

import numpy as np

from datamodules.sources.worlds.geometry import Number

Colour = tuple[Number, Number, Number]


def hsv(hue: Number, saturation: Number, value: Number) -> Colour:
    """From hue, saturation and value of 0 to 1; the hue goes round, the others are clipped."""
    clipped = (min(max(part, 0.0), 1.0) for part in (saturation, value))
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, *clipped)
    return 255 * red, 255 * green, 255 * blue


def random_hsv(
    rng: np.random.Generator,
    saturation: tuple[float, float] = (0.1, 0.9),
    value: tuple[float, float] = (0.15, 0.95),
) -> Colour:
    """Any hue."""
    return hsv(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))


def grey(value: Number) -> Colour:
    """`value` is 0 to 1."""
    return hsv(0.0, 0.0, value)


def mix(first: Colour, second: Colour, share: Number) -> Colour:
    """`share` of the second in the first."""
    a, b, c = (x + (y - x) * share for x, y in zip(first, second, strict=True))
    return a, b, c


def scaled(colour: Colour, factor: Number) -> Colour:
    """Darker or brighter."""
    a, b, c = (min(max(x * factor, 0.0), 255.0) for x in colour)
    return a, b, c


def varied(colour: Colour, rng: np.random.Generator, amount: Number = 0.08) -> Colour:
    """A colour near by: brightness changes by up to `amount`, each channel by a third of it."""
    factor = 1 + amount * rng.uniform(-1, 1)
    channels = factor * (1 + amount / 3 * rng.uniform(-1, 1, 3))
    a, b, c = (min(max(x * float(f), 0.0), 255.0) for x, f in zip(colour, channels, strict=True))
    return a, b, c


def luma(colour: Colour) -> float:
    """Perceived brightness, 0 to 255 (ITU-R BT.601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
