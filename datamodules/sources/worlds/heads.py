"""Heads with faces: skin, hair, hats, glasses, and masks worn well, badly or not at all."""

from dataclasses import dataclass, field

import numpy as np

from datamodules.sources.worlds import canvas as draw
from datamodules.sources.worlds.canvas import Canvas
from datamodules.sources.worlds.colours import Colour, grey, mix, scaled
from datamodules.sources.worlds.geometry import Points, ellipse, line, rotated
from datamodules.sources.worlds.looks import (
    WITHOUT_MASK,
    Look,
    body,
    face_outline,
    in_front,
    lower_face,
    mask_outline,
    nape,
)
from datamodules.sources.worlds.stage import Part, Thing

_BROW, _EYE, _NOSE, _MOUTH = -0.34, -0.13, 0.25, 0.55
"""Heights of the features in the face, before it nods."""


@dataclass(slots=True)
class Head(Thing):
    """Parts: `behind` of them, the face, the mask if there is one, hair and hat in front.

    Face and mask make the box.
    """

    look: Look = field(kw_only=True)
    centre: tuple[float, float] = field(kw_only=True)
    half: float = field(kw_only=True)
    """of the face's height, px"""
    roll: float = field(kw_only=True)
    behind: int = field(kw_only=True)

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Far to near; features and folds only where there are pixels for them."""
        light = float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.25, 0.05))
        for part in self.parts[: self.behind]:
            draw.fill(canvas, part.points, part.colour)
        self._paint_body(canvas, rng)
        face, *others = self.parts[self.behind :]
        draw.fill(canvas, face.points, face.colour)
        draw.round_off(canvas, face.points, 0.3, self.half * 0.5)
        if self.look.beard:
            self._glaze(canvas, lower_face(self.look, 0.32, 1.0), self.look.hair, self.look.beard)
        if self.half > 5:
            self._paint_features(canvas, rng)
        if self.look.label != WITHOUT_MASK:
            mask, *others = others
            self._paint_mask(canvas, mask, rng)
        draw.shade(canvas, face.points, light)
        for part in others:
            draw.fill(canvas, part.points, part.colour)
            draw.roughen(
                canvas, part.points, rng, max(self.half / 9, 1.5), 0.03 if self.look.hat else 0.12
            )
        if self.look.glasses and self.half > 5:
            self._paint_glasses(canvas)

    def _paint_body(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Light on the clothes, and the shadow of the chin."""
        clothes = self.parts[self.behind - 1].points
        draw.shade(canvas, clothes, (float(rng.uniform(-0.3, 0.3)), -0.15))
        draw.roughen(canvas, clothes, rng, self.half * 0.9, 0.05, stretch=0.5)
        self._glaze(canvas, ellipse((0, 1.05), (self.look.width * 0.55, 0.2)), (0, 0, 0), 0.35)

    def _paint_features(self, canvas: Canvas, rng: np.random.Generator) -> None:
        look, down = self.look, self.look.nod
        dark = mix(look.hair, (30, 20, 15), 0.5)
        apart, size = rng.uniform(0.36, 0.44), rng.uniform(0.09, 0.13)
        for side in (-1, 1):
            x = look.turned(side * apart * look.width * 1.1)
            flat = max(float(np.cos(look.yaw)), 0.5)
            self._fill(
                canvas, ellipse((x, _EYE + down), (size * 1.4 * flat, size * 0.7)), (240, 238, 232)
            )
            self._fill(canvas, ellipse((x, _EYE + down), (size * 0.65, size * 0.7), 0, 12), dark)
            brow = line(
                (x - 0.17, _BROW + down + 0.03 * side), (x + 0.17, _BROW + down), 0.07, 0.05
            )
            self._fill(canvas, brow, dark)
        tip = look.turned(0.0) * 1.15
        nose = np.array(
            [(tip * 0.6, _EYE + 0.1), (tip + 0.14, _NOSE + 0.04), (tip - 0.14, _NOSE + 0.04)]
        )
        self._glaze(canvas, nose + np.array((0, down)), scaled(look.skin, 0.6), 0.35)
        for side in (-1, 1):
            hole = ellipse((tip + side * 0.07, _NOSE + down), (0.035, 0.025), 0, 8)
            self._fill(canvas, hole, scaled(look.skin, 0.4))
        lips = mix(look.skin, (150, 40, 45), rng.uniform(0.35, 0.9))
        mouth = ellipse(
            (tip * 0.8, _MOUTH + down), (rng.uniform(0.18, 0.28), 0.05 + 0.1 * look.mouth)
        )
        self._fill(canvas, mouth, lips)
        if look.mouth > 0.3:
            inner = ellipse((tip * 0.8, _MOUTH + down), (0.15, 0.05 * look.mouth))
            self._fill(canvas, inner, grey(0.95) if look.mouth > 0.6 else (60, 15, 20))

    def _paint_mask(self, canvas: Canvas, mask: Part, rng: np.random.Generator) -> None:
        look = self.look
        top, bottom = look.mask_top, 1.0
        for side in (-1, 1):
            ear = (side * look.width, 0.02)
            for y in (top + 0.1, min(top + 0.45, 0.9)):
                cheek = (side * look.half_width(y) * 0.95, y)
                self._fill(canvas, line(cheek, ear, 0.035), scaled(look.mask_colour, 0.85))
        draw.fill(canvas, mask.points, mask.colour)
        middle = look.turned(0.0)
        folds = {"pleats": (0.3, 0.5, 0.7), "stripes": (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)}
        for at in folds.get(look.mask_pattern, ()):
            y = top + at * (bottom - top)
            reach = look.half_width(min(y, 0.95)) * 0.9
            bent = np.array([(-reach, y - 0.03), (middle, y + 0.03), (reach, y - 0.03)])
            under = np.concatenate([bent, bent[::-1] + np.array((0, 0.05))])
            factor = 0.82 if look.mask_pattern == "pleats" else 0.6
            self._glaze(canvas, under, scaled(look.mask_colour, factor), 0.7)
        if look.mask_pattern == "valve":
            place = (middle + 0.2, (top + bottom) / 2)
            self._fill(canvas, ellipse(place, (0.12, 0.12)), scaled(look.mask_colour, 0.75))
        draw.round_off(canvas, mask.points, 0.3, self.half * 0.3)
        draw.shade(canvas, mask.points, (float(rng.uniform(-0.2, 0.2)), 0.0))

    def _paint_glasses(self, canvas: Canvas) -> None:
        look = self.look
        y, frame = _EYE + look.nod, grey(0.1)
        middles = [look.turned(side * 0.44 * look.width) for side in (-1, 1)]
        self._fill(canvas, line((middles[0], y), (middles[1], y), 0.05), frame)
        for x in middles:
            lens = ellipse((x, y + 0.03), (0.23, 0.19), corners=16)
            if look.glasses == "dark":
                self._fill(canvas, lens, frame)
                continue
            ring = np.concatenate([lens, lens[:1], lens[:1] * 0 + (x + 0.19, y + 0.03)])
            inner = ellipse((x, y + 0.03), (0.19, 0.15), corners=16)
            self._fill(canvas, np.concatenate([ring[:17], inner[:1], inner[::-1]]), frame)
            self._glaze(canvas, inner, grey(1.0), 0.15)

    def _fill(self, canvas: Canvas, points: Points, colour: Colour) -> None:
        (part,) = _placed([Part(points, colour)], self.centre, self.half, self.roll)
        draw.fill(canvas, part.points, colour)

    def _glaze(self, canvas: Canvas, points: Points, colour: Colour, opacity: float) -> None:
        (part,) = _placed([Part(points, colour)], self.centre, self.half, self.roll)
        draw.glaze(canvas, part.points, colour, opacity, self.half * 0.04)


def head(look: Look, centre: tuple[float, float], half: float, roll: float) -> Head:
    """A person whose face's middle is at `centre`; `half` its height, px; `roll`, rad."""
    hair, clothed = nape(look), body(look)
    front = [Part(face_outline(look), look.skin)]
    if look.label != WITHOUT_MASK:
        front.append(Part(mask_outline(look), look.mask_colour))
    front += in_front(look)
    upright = _placed(clothed, centre, half, 0.0)
    return Head(
        [*_placed(hair, centre, half, roll), *upright, *_placed(front, centre, half, roll)],
        look.label,
        look=look,
        centre=centre,
        half=half,
        roll=roll,
        behind=len(hair) + len(clothed),
    )


def back_of_head(look: Look, centre: tuple[float, float], half: float, roll: float) -> Thing:
    """Somebody who looks away: hair where the face would be; no object."""
    colour, wide = (look.hat_colour, 1.35) if look.hat else (look.hair, 1.1)
    skull = Part(ellipse((0, -0.1), (look.width * wide, 1.12), corners=28), colour, False)
    clothed = _placed(body(look), centre, half, 0.0)
    return Thing([*clothed, *_placed([*nape(look), skull], centre, half, roll)])


def _placed(parts: list[Part], centre: tuple[float, float], half: float, roll: float) -> list[Part]:
    """From face units to px."""
    corners = np.concatenate([part.points for part in parts])
    ends = np.cumsum([len(part.points) for part in parts]).tolist()
    placed = rotated(corners * half, roll) + centre
    starts = [0, *ends[:-1]]
    return [
        Part(placed[start:end], part.colour, part.owned)
        for part, start, end in zip(parts, starts, ends, strict=True)
    ]
