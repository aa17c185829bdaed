"""Synthetic scenes: labelled images without files, a pure function of (seed, index)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from datamodules.sources.source import Source, original_target
from datamodules.sources.synthetic_paint import Style, Thing, paint
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Target

SMALLEST = 8
"""px, the shorter side of a box."""
_TRIES = 20
_SUBPIXEL_BITS = 6
_HASHED_SCENES = 8


@dataclass(slots=True, frozen=True)
class Preset:
    """What stands in a scene.

    `side` is the longer side of an object as a share of the image's shorter one; `hidden` the
    largest share of an object that others may cover.
    """

    shapes: tuple[str, ...]
    count: tuple[int, int]
    side: tuple[float, float]
    hidden: float
    style: Style


PRESETS = {
    "easy": Preset(
        shapes=("ball",),
        count=(1, 2),
        side=(0.25, 0.6),
        hidden=0.05,
        style=Style(ground=(0.15, 0.48), clutter=(0, 0), blur=(0.4, 0.7), noise=(3.0, 8.0)),
    ),
    "varied": Preset(
        shapes=("disc", "square", "triangle", "star", "ring", "cross"),
        count=(0, 6),
        side=(0.0, 0.5),
        hidden=0.35,
        style=Style(ground=(0.2, 0.8), clutter=(2, 8), blur=(0.4, 1.1), noise=(2.0, 10.0)),
    ),
}


@dataclass(slots=True)
class Layout:
    """Things and the pixels each was drawn with, then painted over by later ones.

    `visible` says what a pixel shows: 0 the background, k the k-th thing, counted from 1.
    """

    things: list[Thing]
    drawn: list[int]
    visible: UInt8[np.ndarray, "h w"]
    boxes: Float[np.ndarray, "n 4"]


class SyntheticScenes(Source):
    """Scene `index` of stream `seed`; splits differ in their seed, each is another dataset.

    Boxes are tight around, and areas count, the pixels an object shows.

    Args:
        info: its class names must be the preset's shapes.
        preset: `easy` (a ball or two on a plain noisy ground) or `varied` (up to six objects of six
            shapes from 8 px to half the image; clutter, occlusion, uneven light, blur, noise; some
            scenes are empty).
        length: number of scenes.
        image_hw: height and width, px.
        seed: of the stream, not of the run: all runs must see the same data.
    """

    def __init__(
        self, info: DatasetInfo, preset: str, length: int, image_hw: Sequence[int], seed: int
    ) -> None:
        if preset not in PRESETS:
            raise ConfigError(f"the preset '{preset}' is unknown: choose from {', '.join(PRESETS)}")
        self.info = info
        self.preset = PRESETS[preset]
        if tuple(info.class_names) != self.preset.shapes:
            raise ConfigError(
                f"preset '{preset}' draws {', '.join(self.preset.shapes)}, "
                f"but datamodule.info.class_names is {', '.join(info.class_names)}: make them equal"
            )
        self.image_hw = (int(image_hw[0]), int(image_hw[1]))
        if min(self.image_hw) < 4 * SMALLEST:
            raise ConfigError(
                f"image_hw={list(self.image_hw)} is too small: use {4 * SMALLEST} px or more"
            )
        self.seed = seed
        self.ids: Sequence[str] = [f"{preset}-{seed}-{index:06d}" for index in range(length)]

    def layout(self, index: int) -> Layout:
        """What stands where, without painting it."""
        rng = np.random.default_rng([self.seed, index, 0])
        layout = Layout([], [], np.zeros(self.image_hw, np.uint8), np.zeros((0, 4), np.float32))
        for _ in range(rng.integers(*self.preset.count, endpoint=True)):
            for _ in range(_TRIES):
                placed = self._placed(layout, self._random_thing(rng))
                if placed is not None:
                    layout = placed
                    break
        return layout

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The painted scene."""
        rng = np.random.default_rng([self.seed, index, 1])
        layout = self.layout(index)
        return paint(layout.things, layout.visible, self.preset.style, rng)

    def target(self, index: int) -> Target:
        """As `Source.target`; costs the layout, a fraction of the painting."""
        layout = self.layout(index)
        labels = np.array([self.preset.shapes.index(t.shape) for t in layout.things], np.int64)
        area = np.bincount(layout.visible.ravel(), minlength=len(labels) + 1)[1:].astype(np.float32)
        return original_target(self.ids[index], self.image_hw, layout.boxes, labels, area=area)

    def fingerprint(self) -> str:
        """sha256 over what defines the stream, and its first scenes in case the recipe changes."""
        digest = hashlib.sha256(repr((self.preset, self.seed, self.image_hw, len(self))).encode())
        for index in range(min(_HASHED_SCENES, len(self))):
            digest.update(self.image(index).tobytes())
        return digest.hexdigest()

    def _random_thing(self, rng: np.random.Generator) -> Thing:
        height, width = self.image_hw
        low, high = (share * min(height, width) for share in self.preset.side)
        low = max(low, SMALLEST + 1)
        side = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        x, y = rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)
        return Thing(str(rng.choice(self.preset.shapes)), (x, y), side, rng.uniform(0, 2 * np.pi))

    def _placed(self, layout: Layout, thing: Thing) -> Layout | None:
        """The layout with one more thing on top, or None if too much of another would vanish."""
        mask = draw_mask(thing, self.image_hw)
        visible = np.where(mask, np.uint8(len(layout.things) + 1), layout.visible)
        drawn = [*layout.drawn, int(np.count_nonzero(mask))]
        shown = np.bincount(visible.ravel(), minlength=len(drawn) + 1)[1:]
        boxes = np.array([_tight_box(visible == k + 1) for k in range(len(drawn))], np.float32)
        sides = boxes[:, 2:] - boxes[:, :2]
        if (shown < (1 - self.preset.hidden) * np.array(drawn)).any() or sides.min() < SMALLEST:
            return None
        return Layout([*layout.things, thing], drawn, visible, boxes)


def draw_mask(thing: Thing, image_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The pixels of a thing that nothing covers."""
    points = [contour * thing.side + thing.centre_xy for contour in unit_contours(thing)]
    # OpenCV counts from pixel centres, in fixed point
    fixed = [np.rint((p - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for p in points]
    mask = np.zeros(image_hw, np.uint8)
    cv2.fillPoly(mask, fixed, (1,), lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    return mask.astype(np.bool_)


def unit_contours(thing: Thing) -> list[Float[np.ndarray, "p 2"]]:
    """The turned outlines, centred on 0, the longer side of the upright box around them being 1."""
    contours = [_polygon(*outline, thing.angle) for outline in _OUTLINES[thing.shape]]
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    return [(contour - (low + high) / 2) / (high - low).max() for contour in contours]


def _polygon(corners: int, radii: Sequence[float], angle: float) -> Float[np.ndarray, "p 2"]:
    """A star-shaped polygon whose corners take the radii in turn."""
    turn = angle + np.arange(corners) * 2 * np.pi / corners
    radius = np.resize(radii, corners)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


def _tight_box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, x + width, y + height


_CIRCLE = (72, (1.0,))
_OUTLINES: dict[str, list[tuple[int, tuple[float, ...]]]] = {
    "ball": [_CIRCLE],
    "disc": [_CIRCLE],
    "ring": [_CIRCLE, (72, (0.55,))],
    "square": [(4, (1.0,))],
    "triangle": [(3, (1.0,))],
    "star": [(10, (1.0, 0.42))],
    # 12 corners: the outer two of an arm, then the inner one between two arms
    "cross": [(12, (1.0, 0.45, 1.0))],
}
"""Per shape its outlines as (corners, radii in turn); a second outline is a hole."""
