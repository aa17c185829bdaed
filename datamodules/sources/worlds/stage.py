"""Scenes made of flat parts, far to near: what of each thing can be seen, and their picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8

from datamodules.sources.worlds.canvas import Canvas, coverage, fill, local_window
from datamodules.sources.worlds.colours import Colour
from datamodules.sources.worlds.geometry import Number, Points
from datamodules.sources.worlds.lens import Lens
from datamodules.sources.worlds.world import SMALLEST, Layout, tight_box

_OWN, _HALF = 255, 128


@dataclass(slots=True, frozen=True)
class Part:
    """A flat piece of a thing. Not `owned`: it covers, but is not what the box goes around."""

    points: Points
    colour: Colour
    owned: bool = True


@dataclass(slots=True)
class Thing:
    """Something in a scene. `label` None: scenery, which may cover objects and is no object.

    `keypoints` are x, y in px. Subclasses add what only the picture needs to know.
    """

    parts: list[Part]
    label: int | None = None
    keypoints: Float[np.ndarray, "k 2"] = field(default_factory=lambda: np.zeros((0, 2)))

    def paint(self, canvas: Canvas, rng: np.random.Generator) -> None:
        """Draws it on top of what is there."""
        for part in self.parts:
            fill(canvas, part.points, part.colour)


def paint_things(
    layout: Layout[Thing], lens: Lens, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The things far to near, through a lens."""
    canvas = np.zeros((*layout.visible.shape, 3), np.uint8)
    for thing in layout.things:
        thing.paint(canvas, rng)
    return lens.develop(canvas, rng)


def settle(
    things: Sequence[Thing],
    image_hw: tuple[int, int],
    hidden: float,
    smallest: tuple[Number, Number] = (SMALLEST, SMALLEST),
) -> Layout[Thing]:
    """The layout of things far to near, without the objects that do not show enough.

    An object shows enough if at most the share `hidden` of it is covered or out of the picture, its
    visible box has sides of `smallest` px or more (the shorter and the longer), and all its
    keypoints lie in that box. Without those that leave the others show as much as before, or more.
    """
    layout = lay_out(things, image_hw)
    enough = _shows_enough(layout, hidden, smallest)
    if enough.all():
        return layout
    kept = iter(enough.tolist())
    return lay_out([thing for thing in things if thing.label is None or next(kept)], image_hw)


def lay_out(things: Sequence[Thing], image_hw: tuple[int, int]) -> Layout[Thing]:
    """Things far to near, as they stand; the visible pixels of a wholly covered object are none."""
    visible = np.zeros(image_hw, np.uint8)
    drawn: list[int] = []
    objects = [thing for thing in things if thing.label is not None]
    for thing in things:
        if thing.label is not None:
            drawn.append(_stamp(visible, thing.parts, len(drawn) + 1))
        elif drawn:
            _cover(visible, thing.parts)
    boxes = [tight_box(visible == number) for number in range(1, len(objects) + 1)]
    return Layout(
        things=things,
        labels=[thing.label for thing in objects if thing.label is not None],
        drawn=drawn,
        visible=visible,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        keypoints=_keypoints(objects, visible),
    )


def _cover(visible: np.ndarray, parts: Sequence[Part]) -> None:
    """Enters scenery into the map."""
    if not parts:
        return
    corners = np.concatenate([part.points for part in parts])
    window = local_window(corners, (visible.shape[0], visible.shape[1]))
    if window is None or not visible[window].any():
        return
    mask = coverage(parts[0].points, window)
    for part in parts[1:]:
        fill(mask, part.points, (_OWN,), (window[1].start, window[0].start))
    visible[window][mask >= _HALF] = 0


def _stamp(visible: np.ndarray, parts: Sequence[Part], number: int) -> int:
    """Enters an object into the map; returns how many pixels it has, inside the picture or not."""
    corners = np.concatenate([part.points for part in parts if part.owned])
    left, top = (np.floor(corners.min(axis=0)).astype(int) - 2).tolist()
    right, bottom = (np.ceil(corners.max(axis=0)).astype(int) + 2).tolist()
    own = np.zeros((bottom - top, right - left), np.uint8)
    for part in parts:
        fill(own, part.points, (_OWN if part.owned else 0,), (left, top))
    # what covers without being owned hides others as well
    _cover(visible, [part for part in parts if not part.owned])
    height, width = visible.shape
    rows = slice(max(-top, 0), max(height - top, 0))
    columns = slice(max(-left, 0), max(width - left, 0))
    window = visible[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    window[own[rows, columns] >= _HALF] = number
    return int(np.count_nonzero(own >= _HALF))


def _shows_enough(
    layout: Layout, hidden: float, smallest: tuple[Number, Number]
) -> Bool[np.ndarray, " n"]:
    enough = layout.areas() >= (1 - hidden) * np.maximum(layout.drawn, 1)
    sides = np.sort(layout.boxes[:, 2:] - layout.boxes[:, :2], axis=1)
    enough &= (sides >= smallest).all(axis=1)
    if layout.keypoints is not None:
        low, high = layout.boxes[:, None, :2], layout.boxes[:, None, 2:]
        inside = (layout.keypoints[..., :2] >= low) & (layout.keypoints[..., :2] <= high)
        enough &= inside.all(axis=(1, 2))
    return enough


def _keypoints(objects: Sequence[Thing], visible: np.ndarray) -> Float[np.ndarray, "n k 3"] | None:
    """x, y, v; a point is visible (2) where its pixel shows its own object, else hidden (1)."""
    if not objects or not len(objects[0].keypoints):
        return None
    points = np.stack([thing.keypoints for thing in objects])
    height, width = visible.shape
    columns, rows = np.floor(points).astype(int).transpose(2, 0, 1)
    seen = visible[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    own = seen == np.arange(1, len(objects) + 1)[:, None]
    return np.concatenate([points, np.where(own, 2.0, 1.0)[..., None]], axis=2)
