"""How people look, and the outlines of their heads and bodies.

Outlines are in face units: the origin is the face's middle, 1 is half its height, y points to the
chin.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datamodules.sources.worlds.chance import pick
from datamodules.sources.worlds.colours import Colour, hsv, mix, random_hsv, scaled, varied
from datamodules.sources.worlds.geometry import Points, box, ellipse, line
from datamodules.sources.worlds.stage import Part

WITH_MASK, WITHOUT_MASK, WORN_INCORRECTLY = range(3)

_SKINS: tuple[Colour, ...] = (
    (255, 224, 196), (243, 205, 172), (234, 190, 150), (214, 165, 120),
    (186, 132, 90), (150, 100, 66), (112, 72, 46), (80, 52, 36),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (22, 18, 16), (48, 32, 22), (92, 60, 36), (150, 104, 58),
    (214, 176, 110), (150, 62, 30), (150, 148, 146), (222, 220, 216),
)  # fmt: skip
_MASKS: tuple[Colour, ...] = (
    (130, 190, 225), (165, 210, 235), (245, 246, 248), (232, 236, 240), (28, 28, 32),
    (60, 66, 80), (90, 150, 120), (235, 170, 190), (190, 30, 45), (40, 60, 130),
)  # fmt: skip
_STYLES = ("bald", "short", "short", "fringe", "long", "long", "bun", "curls")
_HEADWEAR = ("", "", "", "", "cap", "beanie", "helmet", "scarf")
_GLASSES = ("", "", "", "clear", "dark")
_PATTERNS = ("pleats", "pleats", "plain", "stripes", "valve")


@dataclass(slots=True, frozen=True)
class Look:
    """How a person looks; the numbers are in face units or of 0 to 1."""

    label: int
    skin: Colour
    hair: Colour
    style: str
    hat: str
    hat_colour: Colour
    glasses: str
    beard: float
    mask_colour: Colour
    mask_pattern: str
    mask_top: float
    """height of the mask's upper edge"""
    clothes: Colour
    width: float
    """half the face's"""
    jaw: float
    """how much narrower the chin is"""
    yaw: float
    """rad"""
    nod: float
    """how far the features stand below their place"""
    mouth: float
    """how far the mouth is open"""

    @staticmethod
    def random(label: int, rng: np.random.Generator) -> "Look":
        """Any person of this class."""
        nod = float(rng.uniform(-0.08, 0.12))
        # under the nose, or under the mouth
        low = rng.uniform(0.38, 0.44) if rng.random() < 0.6 else rng.uniform(0.7, 0.78)
        tops = {
            WITH_MASK: rng.uniform(-0.05, 0.14),
            WITHOUT_MASK: 2.0,
            WORN_INCORRECTLY: low + nod,
        }
        return Look(
            label=label,
            skin=varied(pick(rng, _SKINS), rng, 0.1),
            hair=varied(pick(rng, _HAIRS), rng, 0.15),
            style=pick(rng, _STYLES),
            hat=pick(rng, _HEADWEAR),
            hat_colour=random_hsv(rng, (0.0, 0.9)),
            glasses=pick(rng, _GLASSES),
            beard=float(rng.uniform(0.3, 1.0) if rng.random() < 0.2 else 0.0),
            mask_colour=varied(pick(rng, _MASKS), rng, 0.08),
            mask_pattern=pick(rng, _PATTERNS),
            mask_top=float(tops[label]),
            clothes=random_hsv(rng, (0.0, 0.8), (0.1, 0.95)),
            width=float(rng.uniform(0.68, 0.84)),
            jaw=float(rng.uniform(0.08, 0.32)),
            yaw=float(np.clip(rng.normal(0, 0.3), -0.5, 0.5)),
            nod=nod,
            mouth=float(max(rng.uniform(-1, 1), 0.0)),
        )

    def half_width(self, y: float) -> float:
        """Of the face at a height."""
        return self.width * np.sqrt(max(1 - y * y, 0.0)) * (1 - self.jaw * max(y, 0.0) ** 2)

    def turned(self, x: float) -> float:
        """Where a feature `x` right of the middle appears when the head turns."""
        ratio = min(max(x / self.width, -1.0), 1.0)
        return self.width * float(np.sin(np.clip(np.arcsin(ratio) + self.yaw, -1.5, 1.5)))


def face_outline(look: Look) -> Points:
    """From the hairline to the chin."""
    turn = np.arange(28) * (2 * np.pi / 28)
    y = np.sin(turn)
    narrower = 1 - look.jaw * np.maximum(y, 0) ** 2
    return np.stack([look.width * np.cos(turn) * narrower, y], axis=1)


def lower_face(look: Look, top: float, spread: float) -> Points:
    """The face below a height, `spread` times as wide."""
    heights = np.linspace(top, 0.97, 7)
    widths = np.array([look.half_width(y) for y in heights.tolist()]) * spread
    right = np.stack([widths, heights], axis=1)
    return np.concatenate([right, [(0.0, 1.04)], (right * (-1, 1))[::-1]])


def mask_outline(look: Look) -> Points:
    """From cheek to cheek, over the ridge of the nose if it is worn well, down to the chin."""
    top, middle = look.mask_top, look.turned(0.0)
    sides = lower_face(look, min(top + 0.12, 0.9), 1.03)
    rise = 0.06 if look.label == WITH_MASK else 0.0
    ridge = [(middle - 0.28, top + 0.02), (middle, top - rise), (middle + 0.28, top + 0.02)]
    return np.concatenate([sides, ridge])


def nape(look: Look) -> list[Part]:
    """Hair at the back, and ears."""
    width = look.width
    parts: list[Part] = []
    if look.hat == "scarf":
        parts.append(Part(ellipse((0, 0.05), (width * 1.32, 1.3)), look.hat_colour, False))
    elif look.style == "long":
        parts.append(Part(box(-width * 1.2, -0.3, width * 1.2, 1.5), look.hair, False))
        parts.append(Part(ellipse((0, -0.25), (width * 1.2, 1.0)), look.hair, False))
    elif look.style == "curls":
        parts.append(Part(ellipse((0, -0.3), (width * 1.5, 1.15), 0.0, 13), look.hair, False))
    elif look.style != "bald":
        parts.append(Part(ellipse((0, -0.2), (width * 1.1, 0.98)), look.hair, False))
    if look.style == "bun":
        parts.append(Part(ellipse((0, -1.25), (0.35, 0.3)), look.hair, False))
    if look.style not in ("long", "curls") and look.hat != "scarf":
        for side in (-1, 1):
            ear = ellipse((side * width * 0.98, 0.02), (0.13, 0.22), corners=14)
            parts.append(Part(ear, scaled(look.skin, 0.9), False))
    return parts


def body(look: Look) -> list[Part]:
    """Legs, neck, shoulders; what the last part covers are clothes."""
    parts: list[Part] = []
    for left, right in ((-1.5, -0.15), (0.15, 1.5)):
        parts.append(Part(box(left, 5.5, right, 13.0), scaled(look.clothes, 0.5), False))
    neck = box(-look.width * 0.5, 0.6, look.width * 0.5, 1.6)
    parts.append(Part(neck, scaled(look.skin, 0.82), False))
    shoulders = np.array(
        [
            (-0.45, 1.25),
            (0.45, 1.25),
            (1.35, 1.6),
            (1.65, 2.1),
            (1.75, 6.2),
            (-1.75, 6.2),
            (-1.65, 2.1),
            (-1.35, 1.6),
        ]
    )
    parts.append(Part(shoulders, look.clothes, False))
    return parts


def in_front(look: Look) -> list[Part]:
    """The hair over the forehead, or a hat."""
    if look.hat:
        return _HATS[look.hat](look)
    hairline = {"bald": None, "fringe": -0.38, "curls": -0.5}.get(look.style, -0.62)
    return [] if hairline is None else [Part(_cap(look, hairline, 1.12), look.hair, False)]


def _cap(look: Look, edge: float, spread: float) -> Points:
    """The skull above a height, `spread` times as wide as the face; its edge bulges upwards."""
    turn = np.linspace(np.pi, 2 * np.pi, 15)
    dome = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (look.width * spread, 0.8) + (0, -0.4)
    back = np.linspace(0.92, -0.92, 7)
    lower = np.stack([back * look.width, edge - 0.12 * (1 - back**2)], axis=1)
    return np.concatenate([dome, lower])


def _peaked_cap(look: Look) -> list[Part]:
    brim = ellipse((look.turned(0.0) * 1.2, -0.56), (look.width * 1.05, 0.14))
    return [
        Part(_cap(look, -0.55, 1.12), look.hat_colour, False),
        Part(brim, scaled(look.hat_colour, 0.75), False),
    ]


def _beanie(look: Look) -> list[Part]:
    rim = box(-look.width * 1.08, -0.75, look.width * 1.08, -0.48)
    return [
        Part(_cap(look, -0.55, 1.15), look.hat_colour, False),
        Part(rim, scaled(look.hat_colour, 0.8), False),
    ]


def _helmet(look: Look) -> list[Part]:
    colour = mix(look.hat_colour, hsv(0.13, 0.9, 0.95), 0.7)
    rim = line((-look.width * 1.3, -0.55), (look.width * 1.3, -0.55), 0.14)
    return [Part(_cap(look, -0.5, 1.2), colour, False), Part(rim, scaled(colour, 0.85), False)]


def _headscarf(look: Look) -> list[Part]:
    return [Part(_cap(look, -0.6, 1.3), look.hat_colour, False)]


_HATS: dict[str, Callable[[Look], list[Part]]] = {
    "cap": _peaked_cap,
    "beanie": _beanie,
    "helmet": _helmet,
    "scarf": _headscarf,
}
