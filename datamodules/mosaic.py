"""Mosaic and mixup: one sample made of many images of the source.

Ours, because albumentations' mosaic fails on points at the border and knows no source. Each source
image is warped once, straight into the input; one that is out of view is not even read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from datamodules import affine as maps
from datamodules.affine import Affine, scale_and_shift
from datamodules.framing import Size, fitting_scale
from datamodules.objects import Keep, Sample, joined, moved, read
from datamodules.paste import Paste
from datamodules.patch import Box, blank, fit
from datamodules.sources.source import Source
from detectors.errors import ConfigError


class Mosaic:
    """Composes a sample of several images, drawn from the whole source.

    2x2 or 3x3 images, each scaled as if letterboxed, meet on a canvas of twice the input's size:
    four at a random point from a quarter to three quarters of it, nine around one whose place is
    random. The canvas is scaled about its centre and shifted, and the input shows its middle.

    The sample's frame is that of the image asked for: its id, size and affine. The others' objects
    have no way back to their original pixels, and training needs none. `area` stays the original
    one of each object.

    Paper: YOLOv4 (Bochkovskiy et al. 2020), section 3.3; mixup: Zhang et al. 2018.
    Differs: the mosaic of nine is YOLOv7's, but its images are cut where they would overlap, so
    that none covers another's objects. An object counts as visible by the share of all of it, also
    where its image is cut. Objects are pasted before the colours change, not after.

    Args:
        epochs: of the whole training.
        close_last: so many epochs at the end go without, with single images.
        p: probability of a sample to be composed.
        nine: probability of 3x3 images in place of 2x2.
        scale: the canvas is scaled by a factor from [low, high].
        translate: largest shift of the canvas, share of the input's height and width.
        mixup: probability of blending with another mosaic; the objects of both stay.
        mixup_beta: the weight of the first one is drawn from Beta(b, b): large b means near 1/2.
        paste: pastes objects of one more image; None: nothing.
    """

    def __init__(
        self,
        epochs: int,
        close_last: int = 0,
        p: float = 1.0,
        nine: float = 0.2,
        scale: Sequence[float] = (0.1, 2.0),
        translate: float = 0.2,
        mixup: float = 0.15,
        mixup_beta: float = 8.0,
        paste: Paste | None = None,
    ) -> None:
        shares = {"p": p, "nine": nine, "translate": translate, "mixup": mixup}
        if bad := {name: share for name, share in shares.items() if not 0 <= share <= 1}:
            raise ConfigError(f"datamodule.mosaic with {bad}: set numbers from 0 to 1")
        if not 0 < scale[0] <= scale[1] or mixup_beta <= 0:
            raise ConfigError(
                f"datamodule.mosaic with scale={list(scale)}, mixup_beta={mixup_beta}: "
                "scale is [low, high] above 0, and so is mixup_beta"
            )
        self.first_closed = epochs - close_last
        self.p = p
        self.nine = nine
        self.scale = (float(scale[0]), float(scale[1]))
        self.translate = translate
        self.mixup = mixup
        self.mixup_beta = mixup_beta
        self.paste = paste

    def is_due(self, epoch: int, rng: np.random.Generator) -> bool:
        """Whether a sample of this epoch is to be composed."""
        return epoch < self.first_closed and rng.random() < self.p

    def __call__(
        self, source: Source, index: int, input_hw: Size, keep: Keep, rng: np.random.Generator
    ) -> Sample:
        """A sample around the image `index`."""
        sample = self._mosaic(source, index, input_hw, keep, rng)
        if rng.random() < self.mixup:
            other = self._mosaic(source, int(rng.integers(len(source))), input_hw, keep, rng)
            sample = _blended(sample, other, rng.beta(self.mixup_beta, self.mixup_beta))
        return sample if self.paste is None else self.paste(sample, source, keep, rng)

    def _mosaic(
        self, source: Source, index: int, input_hw: Size, keep: Keep, rng: np.random.Generator
    ) -> Sample:
        per_side = 3 if rng.random() < self.nine else 2
        others = rng.integers(len(source), size=per_side**2 - 1).tolist()
        originals = [source.target(number) for number in (index, *others)]
        cells = _cells(per_side, originals[0].frame.original_hw, input_hw, rng)
        view, picture, targets = self._view(input_hw, rng), blank(input_hw), []
        for number, cell, original in zip((index, *others), cells, originals, strict=True):
            hw = original.frame.original_hw
            wanted = maps.after(view, cell.to_canvas(hw, input_hw))
            patch = fit(hw, input_hw, wanted, maps.hulls(view, cell.box[None])[0])
            if not patch.is_empty:
                patch.paint(picture, read(source, number, original))
            targets.append(moved(original, patch.affine, patch.region, keep))
        target = joined(targets)
        return Sample(picture, target, {"mosaic": sum(map(len, originals)) - len(target)})

    def _view(self, input_hw: Size, rng: np.random.Generator) -> Affine:
        """From canvas px to input px."""
        size = np.array(input_hw[::-1], np.float64)
        zoom = rng.uniform(*self.scale)
        shift = rng.uniform(-self.translate, self.translate, 2) * size
        return scale_and_shift((zoom, zoom), size / 2 + shift - zoom * size)


@dataclass(slots=True)
class _Cell:
    """A cell of the canvas, xyxy px, and where the slack goes: 0 right and below, 1 left and above.

    Images touch the middle of the canvas: in the first column and row all slack is left and above.
    """

    box: Box
    slack_xy: Float[np.ndarray, " 2"]

    def to_canvas(self, original_hw: Size, input_hw: Size) -> Affine:
        """From original to canvas px; an image larger than its cell is cut there."""
        scale = fitting_scale(original_hw, input_hw)
        slack = self.box[2:] - self.box[:2] - scale * np.array(original_hw[::-1])
        return scale_and_shift((scale, scale), self.box[:2] + slack * self.slack_xy)


def _cells(per_side: int, first_hw: Size, input_hw: Size, rng: np.random.Generator) -> list[_Cell]:
    """All cells; the first one is in the middle, and of nine it fits its image (`first_hw`)."""
    size = np.array(input_hw[::-1], np.float64)
    if per_side == 2:
        cuts = [size * rng.uniform(0.5, 1.5, 2)]
    else:
        low = size * rng.random(2)
        cuts = [low, low + fitting_scale(first_hw, input_hw) * np.array(first_hw[::-1])]
    x, y = np.stack([np.zeros(2), *cuts, 2 * size], axis=1)  # the edges, per_side + 1 each
    slack = np.linspace(1.0, 0.0, per_side)
    cells = [
        _Cell(np.array([x[i], y[j], x[i + 1], y[j + 1]]), slack[[i, j]])
        for j in range(per_side)
        for i in range(per_side)
    ]
    return [cells.pop(len(cells) // 2), *cells]


def _blended(first: Sample, second: Sample, weight: float) -> Sample:
    """weight x first + (1 - weight) x second, with the objects of both."""
    image = cv2.addWeighted(first.image, weight, second.image, 1 - weight, 0)
    dropped = {step: first.dropped[step] + second.dropped[step] for step in first.dropped}
    return Sample(image, joined([first.target, second.target]), dropped)
