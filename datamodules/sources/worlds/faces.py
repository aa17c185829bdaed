"""Faces with masks, without, and with masks worn badly: portraits, groups and crowds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import UInt8

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.chance import direction, log_uniform, pick
from datamodules.sources.worlds.colours import Colour, grey, hsv, mix, random_hsv, scaled
from datamodules.sources.worlds.geometry import blob, box, ellipse, line
from datamodules.sources.worlds.heads import Look, back_of_head, head
from datamodules.sources.worlds.lens import Lens
from datamodules.sources.worlds.stage import Part, Thing, paint_things, settle
from datamodules.sources.worlds.world import Layout, World, check_settings, draw_count

_SHARES = (0.42, 0.36, 0.22)
"""How often each class occurs."""
_CROWDED = 0.6
"""Share of the scenes with four faces or more in which people stand in rows."""
_SMALLEST, _LARGEST = 12.0, 0.5
"""Height of a face: px, and a share of the image's shorter side."""
_SHOWN = (8.0, 12.0)
"""px, the shorter and the longer side of what shows of a face, at least."""


@dataclass(frozen=True)
class Faces(World):
    """People before a wall, in a room or in a street; the box goes around a face with its mask.

    Hair, hats, and the bodies of people in front may cover a face. People who look away, balloons,
    lamps, clocks and hands are no faces.

    Args:
        count: fewest and most faces a scene is planned with; the more, the smaller.
        empty: share of scenes without a face.
        hidden: a face of which more is covered, or out of the picture, is not placed.
    """

    count: Sequence[int] = (1, 12)
    empty: float = 0.05
    hidden: float = 0.5
    name = "faces"
    class_names = ("with_mask", "without_mask", "mask_weared_incorrect")

    def __post_init__(self) -> None:
        check_settings(self.count, empty=self.empty, hidden=self.hidden)

    def layout(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> Layout[Thing]:
        """As `World`."""
        count = self._draw_count(rng)
        strangers = int(rng.integers(0, 3))
        sizes = [*_sizes(count, image_hw, rng), *_sizes(strangers, image_hw, rng)]
        arrange = _in_rows if count > 3 and rng.random() < _CROWDED else _scattered
        people = [
            self._person(number < count, size, place, rng)
            for number, (size, place) in enumerate(
                zip(sizes, arrange(sizes, image_hw, rng), strict=True)
            )
        ]
        things = [*people, *(_distraction(image_hw, rng) for _ in range(rng.integers(0, 4)))]
        nearer = sorted(things, key=lambda sized: sized[0])
        backdrop = Backdrop(blur=float(rng.uniform(0, 3)))
        return settle([backdrop, *(thing for _, thing in nearer)], image_hw, self.hidden, _SHOWN)

    def paint(self, layout: Layout[Thing], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """As `World`."""
        return paint_things(layout, Lens.random(rng, grey=0.04), rng)

    def _person(
        self, faces_us: bool, size: float, place: tuple[float, float], rng: np.random.Generator
    ) -> tuple[float, Thing]:
        """With the size, px, by which people stand in front of each other."""
        look = Look.random(int(rng.choice(3, p=_SHARES)), rng)
        make = head if faces_us else back_of_head
        return size, make(look, place, size / 2, float(rng.normal(0, 0.14)))

    def _draw_count(self, rng: np.random.Generator) -> int:
        """Few faces are as frequent as many."""
        if draw_count(rng, self.count, self.empty) == 0:
            return 0
        few, many = max(self.count[0], 1), max(self.count[1], 1)
        return min(int(log_uniform(rng, few, many + 1)), many)


@dataclass(slots=True)
class Backdrop(Thing):
    """A wall, a room or a street, more or less out of focus."""

    parts: list[Part] = field(default_factory=list)
    blur: float = field(kw_only=True)
    """px"""

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Fills the picture."""
        height, width = canvas.shape[:2]
        top = random_hsv(rng, (0.0, 0.5), (0.2, 0.95))
        bottom = mix(top, random_hsv(rng, (0.0, 0.5), (0.1, 0.9)), rng.uniform(0, 1))
        draw.fade(canvas, top, bottom, (0, height))
        everywhere = box(0, 0, width, height)
        draw.roughen(canvas, everywhere, rng, height * rng.uniform(0.05, 0.4), 0.07)
        for _ in range(rng.integers(0, 14)):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            w, h = width * rng.uniform(0.03, 0.2), height * rng.uniform(0.03, 0.35)
            colour = mix(top, random_hsv(rng), rng.uniform(0.2, 0.9))
            shapes = (box(x - w, y - h, x + w, y + h), ellipse((x, y), (w * 0.6, w * 0.6)))
            shape = shapes[0] if rng.random() < 0.7 else shapes[1]
            draw.glaze(canvas, shape, colour, float(rng.uniform(0.3, 1.0)))
        if self.blur > 0.4:
            canvas[...] = cv2.GaussianBlur(canvas, (0, 0), self.blur)


def _sizes(count: int, image_hw: tuple[int, int], rng: np.random.Generator) -> list[float]:
    """Heights of the faces, px; a crowd's are small, and alike."""
    high = _LARGEST * min(image_hw) / max(count, 1) ** 0.5
    low = max(_SMALLEST * 1.1, high / 6)
    typical = log_uniform(rng, low, high)
    each = typical * np.exp(rng.normal(0, 0.25, count))
    return each.clip(_SMALLEST * 1.1, max(_LARGEST * min(image_hw), low)).tolist()


def _scattered(
    sizes: Sequence[float], image_hw: tuple[int, int], rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Anywhere inside; the middle is more likely."""
    height, width = image_hw
    places: list[tuple[float, float]] = []
    for size in sizes:
        x, y = (rng.triangular(low, 0.45, high) for low, high in ((-0.2, 1.1), (-0.1, 0.95)))
        inside_x, inside_y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
        left, top = 0.4 * size, 0.55 * size
        places.append((left + inside_x * (width - 2 * left), top + inside_y * (height - 2 * top)))
    return places


def _in_rows(
    sizes: Sequence[float], image_hw: tuple[int, int], rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Shoulder to shoulder and in rows, the larger ones lower."""
    height, width = image_hw
    rows = int(rng.integers(1, 4))
    typical = float(np.median(sizes))
    gap = typical * rng.uniform(0.8, 1.5)
    first_x, first_y = rng.uniform(0, 0.4) * width, rng.uniform(0.15, 0.5) * height
    rank = np.argsort(np.argsort(sizes))
    row, seat = rank * rows // len(sizes), rank % max(len(sizes) // rows, 1)
    x = first_x + gap * (seat + 0.5 * (row % 2)) + rng.normal(0, 0.15 * typical, len(sizes))
    y = first_y + 0.8 * gap * row + rng.normal(0, 0.15 * typical, len(sizes))
    # who finds no place to the right stands further left
    return list(zip((x % width).tolist(), y.clip(0, height - 0.5 * typical).tolist(), strict=True))


def _distraction(image_hw: tuple[int, int], rng: np.random.Generator) -> tuple[float, Thing]:
    """A round or skin-coloured thing that is no face, and its size in px."""
    size = min(image_hw) * log_uniform(rng, 0.05, 0.3)
    x, y = (rng.uniform(0, 1, 2) * image_hw[::-1]).tolist()
    half, kind = size / 2, rng.integers(4)
    if kind == 0:
        string = Part(line((x, y), (x + rng.normal(0, half), y + 4 * half), 1.0), grey(0.6))
        return size, Thing([string, Part(ellipse((x, y), (half * 0.85, half)), random_hsv(rng))])
    if kind == 1:
        return size, _clock((x, y), half, rng)
    if kind == 2:
        skin = hsv(0.06, rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.98))
        return size, _hand((x, y), half * 0.7, skin, rng)
    lamp = ellipse((x, y), (half, half * rng.uniform(0.4, 1)))
    return size, Thing([Part(lamp, hsv(0.13, rng.uniform(0, 0.4), 1.0))])


def _clock(centre: tuple[float, float], half: float, rng: np.random.Generator) -> Thing:
    x, y = centre
    parts = [
        Part(ellipse(centre, (half, half)), grey(rng.uniform(0.1, 0.5))),
        Part(ellipse(centre, (half * 0.88, half * 0.88)), grey(rng.uniform(0.85, 1.0))),
    ]
    for long in (0.5, 0.75):
        turn = direction(rng)
        tip = (x + half * long * np.cos(turn), y + half * long * np.sin(turn))
        parts.append(Part(line(centre, tip, max(half * 0.08, 0.8)), grey(0.1)))
    return Thing(parts)


def _hand(
    centre: tuple[float, float], half: float, skin: Colour, rng: np.random.Generator
) -> Thing:
    """A palm with four fingers, raised or hanging, on a sleeve."""
    x, y = centre
    up = pick(rng, (-1, 1))
    wrist = (x + rng.normal(0, half), y - up * 5 * half)
    parts = [
        Part(line(centre, wrist, half * 1.2, half * 1.5), scaled(skin, 0.9)),
        Part(blob(centre, (half * 0.8, half), rng, 0.05), skin),
    ]
    for finger in (-0.6, -0.2, 0.2, 0.6):
        tip = (x + finger * half * 1.4, y + up * half * rng.uniform(1.5, 2.1))
        parts.append(Part(line((x + finger * half, y), tip, half * 0.36, half * 0.28), skin))
    return Thing(parts)
