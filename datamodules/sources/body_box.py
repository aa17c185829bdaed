"""Body boxes for animals that only have labelled parts, as in DeepLabCut's tables.

The body length is the greatest distance between two labelled parts of an animal.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from datamodules.sources.checks import Box, InvalidBox
from datamodules.sources.images import image_hw, read_image
from detectors.errors import ConfigError

Points = Float[np.ndarray, "p 2"]
"""x, y in continuous px."""


class BodyBox(ABC):
    """Derives the box of one animal, with all its parts inside."""

    @abstractmethod
    def __call__(self, parts: Points, image: Path) -> Box:
        """The box, xyxy in continuous px, inside the image.

        Args:
            parts: the animal's labelled parts, inside the image; at least two.
            image: its file.

        Raises:
            InvalidBox: the rule finds no box.
        """


class PointsBox(BodyBox):
    """The box of the parts with a margin. It reads no pixels, and cuts off a bent back.

    Args:
        margin: on every side, in body lengths.
    """

    def __init__(self, margin: float = 0.15) -> None:
        if margin < 0:
            raise ConfigError(f"box margin={margin}: 0 or more body lengths, so that parts fit in")
        self.margin = margin

    def __call__(self, parts: Points, image: Path) -> Box:
        """As `BodyBox`."""
        return _around(parts, self.margin * _body_length(parts), image_hw(image))


class ThresholdBox(BodyBox):
    """The animal's own extent, found by its brightness around the parts; decodes the image.

    The animal is what passes the threshold and hangs together with pixels between the parts.
    Animals that touch are one, as far as `reach` goes: choose `PointsBox` for groups.

    Args:
        level: grey level, 0 to 255.
        dark: the animal is darker than the level; False: brighter.
        reach: body lengths; what lies further outside of the box of the parts is not the animal,
            so that a wall or a shadow it touches does little harm.
        opening: px; what is thinner (the tail, lines on the floor) is not the animal.
        margin: on every side, px; fur and paws fade into the floor.
    """

    def __init__(
        self,
        level: float,
        dark: bool = True,
        reach: float = 0.3,
        opening: int = 9,
        margin: float = 3.0,
    ) -> None:
        if not 0 <= level <= 255 or min(reach, margin) < 0 or opening < 1:
            raise ConfigError(
                f"box level={level}, reach={reach}, opening={opening}, margin={margin}: "
                "the level is 0 to 255, the opening 1 px or more, the others 0 or more"
            )
        self.level = level
        self.dark = dark
        self.reach = reach
        self.opening = opening
        self.margin = margin

    def __call__(self, parts: Points, image: Path) -> Box:
        """As `BodyBox`."""
        grey = cv2.cvtColor(read_image(image), cv2.COLOR_RGB2GRAY)
        hw = grey.shape[0], grey.shape[1]
        near = _pixels(_around(parts, self.reach * _body_length(parts), hw))
        between = _pixels(_around(parts, 0.0, hw))
        _, component, stats, _ = cv2.connectedComponentsWithStats(self._animal(grey, near))
        found = np.setdiff1d(component[between], [0])
        if len(found) == 0:
            side = "darker" if self.dark else "brighter"
            raise InvalidBox(
                image,
                f"nothing {side} than grey level {self.level:g} between the labelled parts",
                "change the box's level, or choose PointsBox",
            )
        low, size = stats[found, :2].astype(np.float64), stats[found, 2:4]
        return _around(np.concatenate([parts, low, low + size]), self.margin, hw)

    def _animal(
        self, grey: UInt8[np.ndarray, "h w"], near: tuple[slice, slice]
    ) -> UInt8[np.ndarray, "h w"]:
        """1 where a pixel near the parts passes the threshold and the opening."""
        animal = np.zeros_like(grey)
        animal[near] = grey[near] < self.level if self.dark else grey[near] > self.level
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self.opening, self.opening))
        return cv2.morphologyEx(animal, cv2.MORPH_OPEN, disc).astype(np.uint8)


def _body_length(parts: Points) -> float:
    return float(np.linalg.norm(parts[:, None] - parts[None], axis=-1).max())


def _around(points: Points, margin: float, hw: tuple[int, int]) -> Box:
    """The box of the points, grown on every side by `margin` px, clipped to the image."""
    limit = np.array(hw[::-1], np.float64)
    low = np.clip(points.min(axis=0) - margin, 0, limit)
    high = np.clip(points.max(axis=0) + margin, 0, limit)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _pixels(box: Box) -> tuple[slice, slice]:
    """Rows and columns of all pixels that the box touches; at least one of each."""
    x1, y1 = (int(np.floor(value)) for value in box[:2])
    x2, y2 = (int(np.ceil(value)) for value in box[2:])
    return slice(y1, max(y2, y1 + 1)), slice(x1, max(x2, x1 + 1))
