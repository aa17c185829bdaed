"""Traffic signs in streets, in the four groups that are told apart by shape and colour."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds import sign_faces, street
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.chance import log_uniform, pick
from datamodules.sources.worlds.colours import grey, mix
from datamodules.sources.worlds.geometry import Points, line, rotated
from datamodules.sources.worlds.landscape import Sky, Weather, tree
from datamodules.sources.worlds.lens import Lens
from datamodules.sources.worlds.sign_faces import Layers
from datamodules.sources.worlds.stage import Part, Thing, paint_things, settle
from datamodules.sources.worlds.world import (
    SMALLEST,
    Layout,
    World,
    check_settings,
    draw_count,
)

_FACES = (sign_faces.prohibitory, sign_faces.danger, sign_faces.mandatory, sign_faces.other)
_SHARES = (0.32, 0.22, 0.2, 0.26)
"""How often each class occurs."""
_RADIUS = (0.018, 0.16)
"""Of a sign, as a share of the image's shorter side; small ones are far more frequent."""
_DISTRACTIONS = (street.board, street.shop_sign, street.traffic_light, street.lamp_post)


@dataclass(frozen=True)
class Signs(World):
    """Street scenes; the box goes around a sign without its pole.

    Houses, cars and trees are scenery; they and other signs may cover a sign. Lamps, traffic
    lights, boards in signal colours and the grey backs of signs are no signs.

    Args:
        count: fewest and most signs a scene is planned with.
        empty: share of scenes without a sign, beyond those for which `count` gives 0.
        hidden: a sign of which more is covered, or out of the picture, is not placed.
    """

    count: Sequence[int] = (0, 4)
    empty: float = 0.0
    hidden: float = 0.4
    name = "signs"
    class_names = ("prohibitory", "danger", "mandatory", "other")

    def __post_init__(self) -> None:
        check_settings(self.count, empty=self.empty, hidden=self.hidden)

    def layout(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> Layout[Thing]:
        """As `World`."""
        height, width = image_hw
        weather = Weather.random(rng)
        vanishing = width * rng.uniform(0.25, 0.75), height * rng.uniform(0.45, 0.7)
        site = _Site(vanishing, weather, image_hw)
        behind: list[Thing] = [Sky(weather=weather, horizon=vanishing[1])]
        behind += street.facades(vanishing, image_hw, weather, rng)
        behind.append(street.Road(vanishing=vanishing, weather=weather))
        things = site.scenery(rng) + site.signs(draw_count(rng, self.count, self.empty), rng)
        nearer = [thing for _, thing in sorted(things, key=lambda sized: sized[0])]
        return settle([*behind, *nearer], image_hw, self.hidden)

    def paint(self, layout: Layout[Thing], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """As `World`."""
        return paint_things(layout, Lens.random(rng), rng)


@dataclass(slots=True)
class Sign(Thing):
    """Parts: the pole, which is not owned, and the outline; `layers` are painted upon it."""

    layers: Layers = field(kw_only=True)
    view: "View" = field(kw_only=True)
    weather: Weather = field(kw_only=True)

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """As bright as the day, a little more, because signs reflect; a little dirty or lit."""
        *poles, outline = self.parts
        for pole in poles:
            draw.fill(canvas, pole.points, pole.colour)
        bright = 0.35 + 0.65 * self.weather.light
        for points, (red, green, blue) in self.layers:
            draw.fill(
                canvas, self.view.place(points), (red * bright, green * bright, blue * bright)
            )
        draw.shade(canvas, outline.points, (rng.uniform(-0.2, 0.2), rng.uniform(-0.25, 0.15)))
        if rng.random() < 0.4:
            draw.roughen(canvas, outline.points, rng, max(self.view.radius / 2, 1.5), 0.1)


@dataclass(slots=True, frozen=True)
class View:
    """How a sign is seen: `flat` is its width if turned aside, 1 in front; `lean` in rad."""

    centre: tuple[float, float]
    radius: float
    flat: float
    lean: float

    def place(self, points: Points) -> Points:
        """From sign units to px."""
        return rotated(points * (self.radius * self.flat, self.radius), self.lean) + self.centre


def sign(
    label: int | None, view: View, foot: float, weather: Weather, rng: np.random.Generator
) -> Sign:
    """A sign on its pole, which ends at the height `foot`, px; label None: the back of one."""
    layers = sign_faces.back(rng) if label is None else _FACES[label](rng)
    outline = Part(view.place(layers[0][0]), layers[0][1])
    x, y = view.centre
    steel = weather.seen(mix(grey(0.3), grey(0.7), rng.uniform()), 0.0)
    pole = Part(
        line((x, y - view.radius), (x, max(foot, y)), max(view.radius * 0.16, 1.0)), steel, False
    )
    return Sign([pole, outline], label, layers=layers, view=view, weather=weather)


@dataclass(slots=True)
class _Site:
    """A street; things are placed with the size, px, by which they stand in front of each other."""

    vanishing: tuple[float, float]
    weather: Weather
    image_hw: tuple[int, int]

    def signs(self, count: int, rng: np.random.Generator) -> list[tuple[float, Thing]]:
        """So many signs; some share a pole, some stand with the back to us (those do not count)."""
        placed: list[tuple[float, Thing]] = []
        while count > 0:
            stacked = min(int(rng.integers(1, 3)) if rng.random() < 0.3 else 1, count)
            placed += self._pole(stacked, rng)
            count -= stacked
        for _ in range(rng.integers(0, 2)):
            view, foot = self._view(rng)
            placed.append((view.radius, sign(None, view, foot, self.weather, rng)))
        return placed

    def scenery(self, rng: np.random.Generator) -> list[tuple[float, Thing]]:
        """Trees, cars, lamps, boards."""
        things: list[tuple[float, Thing]] = []
        short = min(self.image_hw)
        for _ in range(rng.integers(0, 5)):
            size = short * log_uniform(rng, 0.03, 0.14)
            make = pick(rng, _DISTRACTIONS)
            things.append((size / 2, make(self._foot(size, rng), size, self.weather, rng)))
        for _ in range(rng.integers(0, 4)):
            size = short * rng.uniform(0.15, 0.6)
            depth = rng.uniform(0, 0.4)
            things.append(
                (size / 10, tree(self._foot(size / 4, rng), size, self.weather, depth, rng))
            )
        for _ in range(rng.integers(0, 4)):
            size = short * log_uniform(rng, 0.04, 0.3)
            x, y = self.vanishing
            nearness = size / short * 1.2
            foot = (
                x + rng.normal(0, 1.2) * size + rng.normal(0, 4),
                y + nearness * (self.image_hw[0] - y),
            )
            things.append((size / 6, street.car(foot, size, self.weather, rng)))
        return things

    def _pole(self, count: int, rng: np.random.Generator) -> list[tuple[float, Thing]]:
        view, foot = self._view(rng)
        placed: list[tuple[float, Thing]] = []
        for number in range(count):
            x, y = view.centre
            below = View((x, y + number * 2.1 * view.radius), view.radius, view.flat, view.lean)
            label = int(rng.choice(4, p=_SHARES))
            placed.append((view.radius, sign(label, below, foot, self.weather, rng)))
        return placed

    def _view(self, rng: np.random.Generator) -> tuple[View, float]:
        height, width = self.image_hw
        low, high = (share * min(self.image_hw) for share in _RADIUS)
        low = max(low, SMALLEST * 0.58)
        radius = low * (max(high, low) / low) ** float(rng.uniform() ** 1.5)
        x, foot = self._foot(2 * radius, rng)
        y = foot - radius * float(rng.uniform(3, 8))
        inside = 1.2 * radius
        centre = (min(max(x, inside), width - inside), min(max(y, inside), height - inside))
        flat, lean = float(np.cos(rng.uniform(0, 0.75))), float(rng.normal(0, 0.05))
        return View(centre, radius, flat, lean), foot

    def _foot(self, size: float, rng: np.random.Generator) -> tuple[float, float]:
        """At the side of the road; the larger, the nearer."""
        height, width = self.image_hw
        x, y = self.vanishing
        nearness = min(size / min(self.image_hw) * 2.5, 1.0)
        aside = pick(rng, (-1, 1)) * width * (0.05 + nearness * rng.uniform(0.25, 0.8))
        spread = rng.normal(0, 0.1 * width)
        return float(x + aside + spread), float(y + nearness * (height - y) * rng.uniform(0.5, 1.0))
