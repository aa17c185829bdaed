"""Framing: how an image of any size comes to fill the input."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from datamodules.affine import Affine, after, scale_and_shift
from detectors.errors import ConfigError

Size = tuple[int, int]
"""Height and width, px."""


class Framing(ABC):
    """Chooses the map from original to input px; it only scales and shifts, alike on both axes."""

    @abstractmethod
    def affine(
        self,
        original_hw: Size,
        input_hw: Size,
        boxes: Float[np.ndarray, "n 4"],
        rng: np.random.Generator,
    ) -> Affine:
        """The map; `boxes` are the image's objects, xyxy in original px."""


class Letterbox(Framing):
    """Fits the whole image into the input, centred, aspect ratio kept.

    With jitter the size is multiplied by a factor from `scale`, and the centre moves by up to
    `translate` of the input's height and width.
    """

    def __init__(self, scale: Sequence[float] = (1.0, 1.0), translate: float = 0.0) -> None:
        low, high = scale
        if not (0 < low <= high and 0 <= translate < 1):
            raise ConfigError(
                f"datamodule.framing: letterbox with scale={list(scale)}, translate={translate}: "
                "scale is [low, high] above 0, translate a share from 0 to below 1"
            )
        self.scale = (float(low), float(high))
        self.translate = float(translate)

    def affine(
        self,
        original_hw: Size,
        input_hw: Size,
        boxes: Float[np.ndarray, "n 4"],
        rng: np.random.Generator,
    ) -> Affine:
        """As `Framing`."""
        zoom = rng.uniform(*self.scale)
        dy, dx = rng.uniform(-self.translate, self.translate, 2) * input_hw
        return letterbox_affine(original_hw, input_hw, zoom, (dx, dy))


class ShortSide(Framing):
    """Scales the short side to `short` px, the long side to at most `long`; padded right and below.

    What would not fit into the input is scaled to fit. Two numbers and an input of long x long give
    the images of the paper: Faster R-CNN (Ren et al. 2015), section 3.3: 600, and 1000 in its code.
    """

    def __init__(self, short: int, long: int) -> None:
        if not 0 < short <= long:
            raise ConfigError(
                f"datamodule.framing: short={short}, long={long}: 0 < short <= long, in px"
            )
        self.short = short
        self.long = long

    def affine(
        self,
        original_hw: Size,
        input_hw: Size,
        boxes: Float[np.ndarray, "n 4"],
        rng: np.random.Generator,
    ) -> Affine:
        """As `Framing`."""
        wanted = min(self.short / min(original_hw), self.long / max(original_hw))
        scale = min(wanted, fitting_scale(original_hw, input_hw))
        return scale_and_shift((scale, scale), (0.0, 0.0))


class SquareCrop(Framing):
    """A random square of the image with at least one object fully inside, scaled to the input.

    Its side is one of `scales` x the image's short side. If `tries` squares hold no whole object,
    the image is letterboxed. Combine it with `Keep(centre_inside=True)`.

    Paper: RetinaFace (Deng et al. 2019), section 4.1; numbers of the PyTorch reference, which pads
    at the right and below where we letterbox.
    """

    def __init__(
        self, scales: Sequence[float] = (0.3, 0.45, 0.6, 0.8, 1.0), tries: int = 250
    ) -> None:
        if not scales or not all(0 < scale <= 1 for scale in scales) or tries < 0:
            raise ConfigError(
                f"datamodule.framing: square crop with scales={list(scales)}, tries={tries}: "
                "scales are shares of the short side, above 0 and up to 1; tries 0 or more"
            )
        self.scales = tuple(scales)
        self.tries = tries

    def affine(
        self,
        original_hw: Size,
        input_hw: Size,
        boxes: Float[np.ndarray, "n 4"],
        rng: np.random.Generator,
    ) -> Affine:
        """As `Framing`."""
        found = boxes.tolist()
        for _ in range(self.tries if found else 0):
            left, top, side = self._square(original_hw, rng)
            if any(_is_inside(box, left, top, side) for box in found):
                to_input = letterbox_affine((side, side), input_hw)
                return after(to_input, scale_and_shift((1.0, 1.0), (-left, -top)))
        return letterbox_affine(original_hw, input_hw)

    def _square(self, hw: Size, rng: np.random.Generator) -> tuple[float, float, float]:
        """Left, top and side, px."""
        side = min(hw) * self.scales[rng.integers(len(self.scales))]
        return rng.random() * (hw[1] - side), rng.random() * (hw[0] - side), side


def letterbox_affine(
    original_hw: Sequence[int | float],
    input_hw: Sequence[int],
    zoom: float = 1.0,
    offset_xy: Sequence[float] = (0.0, 0.0),
) -> Affine:
    """x' = s (x - centre) + centre' + offset in continuous px, with s = zoom min(H'/H, W'/W)."""
    (height, width), (new_height, new_width) = original_hw, input_hw
    scale = zoom * fitting_scale(original_hw, input_hw)
    x = new_width / 2 + offset_xy[0] - scale * width / 2
    y = new_height / 2 + offset_xy[1] - scale * height / 2
    return scale_and_shift((scale, scale), (x, y))


def fitting_scale(original_hw: Sequence[int | float], input_hw: Sequence[int]) -> float:
    """The largest scale at which the whole image fits."""
    return min(input_hw[0] / original_hw[0], input_hw[1] / original_hw[1])


def _is_inside(box: Sequence[float], left: float, top: float, side: float) -> bool:
    x1, y1, x2, y2 = box
    return left <= x1 and top <= y1 and x2 <= left + side and y2 <= top + side
