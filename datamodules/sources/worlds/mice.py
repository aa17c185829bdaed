"""Mice seen from above, with three keypoints, in an open field or a water maze."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, UInt8

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds.arenas import Arena, Pool, random_arena
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.chance import direction, log_uniform, pick
from datamodules.sources.worlds.colours import Colour, grey, hsv, luma, mix, scaled, varied
from datamodules.sources.worlds.geometry import Points, curve, ellipse, ribbon
from datamodules.sources.worlds.lens import Lens
from datamodules.sources.worlds.stage import Part, Thing, paint_things, settle
from datamodules.sources.worlds.world import Layout, World, check_settings, draw_count

_TRIES = 20
_CONTRAST = 40.0
"""Grey levels between a mouse and the floor, at least."""
INFRARED = 0.3
"""Share of scenes filmed by an infrared camera, in grey."""

_HUDDLING = 0.35
"""Share of scenes whose mice seek each other's company."""

_PINK = hsv(0.02, 0.35, 0.78)
_COATS: tuple[tuple[Colour, Colour], ...] = (
    (grey(0.09), grey(0.22)),  # black
    (hsv(0.08, 0.5, 0.3), mix(_PINK, grey(0.3), 0.5)),  # brown
    (hsv(0.09, 0.35, 0.5), _PINK),  # sandy
    (grey(0.45), mix(_PINK, grey(0.4), 0.4)),  # grey
    (hsv(0.1, 0.04, 0.97), _PINK),  # white
)
"""Fur; ears, paws and tail."""

_ALONG = np.linspace(-0.5, 0.5, 17)
_BODY = (
    (-0.5, -0.44, -0.36, -0.2, 0.0, 0.15, 0.25, 0.33, 0.42, 0.48, 0.5),
    (0.05, 0.11, 0.16, 0.185, 0.165, 0.125, 0.105, 0.1, 0.065, 0.03, 0.012),
)
"""Half the body's width along it, from the tail's base to the snout, in body lengths."""
_EARS, _SNOUT = 0.27, 0.5
_HEAD = (_EARS + _SNOUT) / 2
_MIDDLE = (_EARS - 0.5) / 2
"""As labs annotate: halfway between the ears and the tail's base."""


@dataclass(slots=True, frozen=True)
class Pose:
    """Where a mouse is: `centre` of its back, px; `heading` and `bend` (tail to snout), rad.

    The tail leaves with `tail_bend` (rad, to its end) and sways with phase `tail_phase`.
    """

    centre: tuple[float, float]
    heading: float
    bend: float
    tail_bend: float
    tail_phase: float


@dataclass(slots=True, frozen=True)
class Coat:
    """How one mouse looks: `length` without the tail, px; `girth` and `tail` are factors."""

    length: float
    fur: Colour
    skin: Colour
    girth: float
    tail: float

    @staticmethod
    def random(floor: Colour, length: float, rng: np.random.Generator) -> "Coat":
        """A coat that stands out from the floor."""
        fits = [coat for coat in _COATS if abs(luma(coat[0]) - luma(floor)) >= _CONTRAST]
        fur, skin = pick(rng, fits)
        girth, tail = rng.uniform(0.85, 1.15), rng.uniform(0.65, 1.0)
        return Coat(length, varied(fur, rng, 0.15), varied(skin, rng), float(girth), float(tail))


@dataclass(slots=True)
class Mouse(Thing):
    """The parts: tail, paws, body, ears; all of them belong to its box."""

    coat: Coat = field(kw_only=True)
    spine: Points = field(kw_only=True)
    light: tuple[float, float] = field(kw_only=True)
    swims: bool = field(kw_only=True)

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """A shadow or a wake, then flesh, then fur that is lit from above."""
        long = self.coat.length
        tail, *paws, body, left_ear, right_ear = (part.points for part in self.parts)
        if self.swims:
            wake = ribbon(self.spine, np.linspace(0.42, 0.12, len(self.spine)) * long)
            draw.glaze(canvas, wake, grey(0.95), 0.18, long * 0.05)
        shadow = np.array(self.light) * long * -0.06
        draw.glaze(canvas, body + shadow, (0, 0, 0), 0.45, long * 0.04)
        for points in (tail, *paws):
            draw.fill(canvas, points, self.coat.skin)
        draw.fill(canvas, body, self.coat.fur)
        back = ribbon(self.spine[2:12], _half_widths(self.coat)[2:12] * 0.45)
        draw.glaze(canvas, back, scaled(mix(self.coat.fur, grey(1.0), 0.2), 1.1), 0.6, long * 0.05)
        draw.round_off(canvas, body, 0.5, long * 0.13)
        draw.shade(canvas, body, (0.15 * self.light[0], 0.15 * self.light[1]))
        for ear in (left_ear, right_ear):
            draw.fill(canvas, ear, self.coat.skin)
            draw.round_off(canvas, ear, 0.4, long * 0.05)
        self._face(canvas)

    def _face(self, canvas: Canvas) -> None:
        """Eyes, and a nose."""
        long = self.coat.length
        forwards, sideways = _axes(self.spine, 0.36)
        at = _point(self.spine, 0.36)
        for side in (-1, 1):
            eye = at + side * 0.07 * long * sideways
            draw.fill(canvas, ellipse(eye, (long * 0.02, long * 0.02), corners=8), grey(0.03))
        nose = _point(self.spine, 0.5) - forwards * 0.02 * long
        draw.fill(canvas, ellipse(nose, (long * 0.02, long * 0.02), corners=8), self.coat.skin)


@dataclass(frozen=True)
class Mice(World):
    """One to a few mice in an arena, filmed from above; in colour, or by an infrared camera.

    Keypoints: `head` halfway between snout and ears, `body` halfway between ears and tail base,
    `tail` the tail's base. The box goes around all that can be seen of a mouse, its tail included;
    the points always lie in it. A point that another mouse covers is hidden (1).

    Args:
        count: fewest and most mice.
        length: of a mouse without its tail, as a share of the image's shorter side.
        empty: share of scenes without a mouse.
        hidden: a mouse of which more is covered, or out of the picture, is not placed.
    """

    count: Sequence[int] = (1, 3)
    length: Sequence[float] = (0.12, 0.38)
    empty: float = 0.05
    hidden: float = 0.5
    name = "mice"
    class_names = ("mouse",)
    keypoint_names = ("head", "body", "tail")

    def __post_init__(self) -> None:
        check_settings(
            self.count,
            empty=self.empty,
            hidden=self.hidden,
            shortest=self.length[0],
            longest=self.length[1],
        )

    def layout(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> Layout[Thing]:
        """As `World`."""
        count = draw_count(rng, self.count, self.empty)
        arena, coats = self.cast(count, image_hw, rng)
        huddle = rng.uniform(-0.7, 0.7, 2) if rng.random() < _HUDDLING else None
        mice = [random_mouse(coat, arena, huddle, rng) for coat in coats]
        return settle([arena, *mice], image_hw, self.hidden)

    def paint(self, layout: Layout[Thing], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """As `World`."""
        return paint_things(layout, Lens.random(rng, grey=INFRARED), rng)

    def cast(
        self, count: int, image_hw: tuple[int, int], rng: np.random.Generator
    ) -> tuple[Arena, list[Coat]]:
        """An arena and the mice to put into it, all about as large."""
        arena = random_arena(image_hw, rng)
        short, long = (share * min(image_hw) for share in self.length)
        length = log_uniform(rng, short, long)
        lengths = [max(length * float(rng.uniform(0.85, 1.15)), 10.0) for _ in range(count)]
        return arena, [Coat.random(arena.floor, each, rng) for each in lengths]


def random_mouse(
    coat: Coat,
    arena: Arena,
    huddle: Float[np.ndarray, " 2"] | None,
    rng: np.random.Generator,
) -> Mouse:
    """In any pose, anywhere on the floor or about the place `huddle` of it (-1 to 1).

    The tighter the arena, the closer to its middle.
    """
    for reach in np.linspace(1.0, 0.0, _TRIES):
        place = rng.uniform(-1, 1, 2)
        if huddle is not None:
            place = huddle + 0.3 * place
        u, v = (reach * place).tolist()
        pose = Pose(
            centre=arena.place(u, v),
            heading=direction(rng),
            bend=float(rng.normal(0, 0.9)),
            tail_bend=float(rng.normal(0, 1.0)),
            tail_phase=direction(rng),
        )
        made = mouse(coat, pose, arena)
        if arena.holds(made.spine):
            break
    return made


def mouse(coat: Coat, pose: Pose, arena: Arena) -> Mouse:
    """The mouse of this coat in this pose."""
    long = coat.length
    spine = _spine(coat, pose)
    tail = _tail(coat, pose, spine)
    widths = np.linspace(0.028, 0.008, len(tail)) * long
    outlines = [ribbon(tail, np.maximum(widths, 0.55))]
    for along, out in ((-0.3, 0.17), (0.12, 0.13)):
        forwards, sideways = _axes(spine, along)
        angle = float(np.arctan2(forwards[1], forwards[0]))
        for side in (-1, 1):
            at = _point(spine, along) + side * out * coat.girth * long * sideways
            outlines.append(ellipse(at, (long * 0.06, long * 0.03), angle, 10))
    outlines.append(ribbon(spine, _half_widths(coat)))
    forwards, sideways = _axes(spine, _EARS)
    angle = float(np.arctan2(forwards[1], forwards[0]))
    for side in (-1, 1):
        at = _point(spine, _EARS) + side * 0.1 * long * sideways
        outlines.append(ellipse(at, (long * 0.05, long * 0.062), angle + side * 0.4, 14))
    return Mouse(
        [Part(points, coat.fur) for points in outlines],
        label=0,
        keypoints=np.stack([_point(spine, along) for along in (_HEAD, _MIDDLE, -0.5)]),
        coat=coat,
        spine=spine,
        light=arena.light,
        swims=isinstance(arena, Pool),
    )


def _spine(coat: Coat, pose: Pose) -> Points:
    """An arc from the tail's base to the snout whose middle is the pose's centre."""
    steps = len(_ALONG) - 1
    middles = (_ALONG[1:] + _ALONG[:-1]) / 2
    arc = curve((0.0, 0.0), pose.heading + pose.bend * middles, coat.length / steps)
    return arc - arc[steps // 2] + np.array(pose.centre)


def _tail(coat: Coat, pose: Pose, spine: Points) -> Points:
    """From inside the rump outwards, so that no gap shows."""
    share = np.linspace(0, 1, 14)
    backwards = pose.heading - pose.bend / 2 + np.pi
    sway = pose.tail_bend * share + 0.5 * np.sin(5 * share + pose.tail_phase) * share
    start = spine[1]
    return curve(start, backwards + sway, (coat.tail + 1 / 16) * coat.length / len(share))


def _half_widths(coat: Coat) -> Float[np.ndarray, " p"]:
    return np.interp(_ALONG, *_BODY) * coat.length * coat.girth


def _point(spine: Points, along: float) -> Float[np.ndarray, " 2"]:
    place = min(max((along + 0.5) * (len(spine) - 1), 0.0), len(spine) - 1.001)
    first = int(place)
    return spine[first] + (place - first) * (spine[first + 1] - spine[first])


def _axes(spine: Points, along: float) -> tuple[np.ndarray, np.ndarray]:
    """Forwards and sideways at a place of the spine; unit vectors."""
    first = min(max(int((along + 0.5) * (len(spine) - 1)), 0), len(spine) - 2)
    forwards = spine[first + 1] - spine[first]
    forwards = forwards / np.hypot(*forwards)
    return forwards, np.array([-forwards[1], forwards[0]])
