"""Paste-in: objects of another image of the source, pasted where there is room."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from datamodules.affine import Affine, hulls, scale_and_shift
from datamodules.framing import fitting_scale
from datamodules.objects import Keep, Sample, joined, moved, read
from datamodules.patch import Box, fit
from datamodules.sources.source import Source
from detectors.errors import ConfigError
from detectors.structures import Target


class Paste:
    """Pastes the boxes of up to `count` objects of one other image at random places.

    An object finds its place at the first try or not at all. Visible keypoints of an object that is
    partly covered become hidden.

    Differs: YOLOv7's code cuts along masks, and scales to a ladder of sizes.

    Args:
        p: probability of a sample to get some.
        count: objects that are tried, at most.
        scale: the size an object has in its letterboxed image is multiplied by a factor from
            [low, high]; by less where it would not fit.
        cover: largest share of another object's box that a pasted one may cover.
    """

    def __init__(
        self,
        p: float = 0.15,
        count: int = 8,
        scale: Sequence[float] = (0.5, 1.5),
        cover: float = 0.3,
    ) -> None:
        low, high = scale
        if not (0 <= p <= 1 and count >= 0 and 0 < low <= high and 0 <= cover <= 1):
            raise ConfigError(
                f"datamodule.mosaic.paste with p={p}, count={count}, scale={list(scale)}, "
                f"cover={cover}: p and cover are shares of 0-1, scale is [low, high] above 0"
            )
        self.p = p
        self.count = count
        self.scale = (float(low), float(high))
        self.cover = cover

    def __call__(
        self, sample: Sample, source: Source, keep: Keep, rng: np.random.Generator
    ) -> Sample:
        """The sample, painted on, with the pasted objects; `dropped` counts those without room."""
        tried = pasted = 0
        if rng.random() < self.p:
            index = int(rng.integers(len(source)))
            target = source.target(index)
            candidates = (~target.crowd).nonzero()  # (n, 1)
            chosen = rng.permutation(len(candidates))[: self.count].tolist()
            image = read(source, index, target) if chosen else sample.image
            for number in chosen:
                thing = target[candidates[number]]
                sample, found_room = self._pasted(sample, image, thing, keep, rng)
                tried, pasted = tried + 1, pasted + found_room
        return replace(sample, dropped=sample.dropped | {"paste": tried - pasted})

    def _pasted(
        self,
        sample: Sample,
        image: np.ndarray,
        thing: Target,
        keep: Keep,
        rng: np.random.Generator,
    ) -> tuple[Sample, bool]:
        """The sample with one more object, if there is room for it, and whether there is."""
        wanted, input_hw = self._affine(thing, sample.image.shape[:2], rng), sample.image.shape[:2]
        patch = fit(image.shape[:2], input_hw, wanted, hulls(wanted, thing.boxes.numpy())[0])
        new = moved(thing, patch.affine, patch.region, keep)
        if len(new) == 0 or not self._has_room(patch.region, sample.target):
            return sample, False
        patch.paint(sample.image, image)
        target = joined([_partly_hidden(sample.target, patch.region), new])
        return replace(sample, target=target), True

    def _affine(self, thing: Target, input_hw: Sequence[int], rng: np.random.Generator) -> Affine:
        """To a random size and a random place inside the input."""
        box = thing.boxes.numpy()[0].astype(np.float64)
        room, sides = np.array(input_hw[::-1], np.float64), box[2:] - box[:2]
        scale = fitting_scale(thing.frame.original_hw, input_hw) * rng.uniform(*self.scale)
        scale = min(scale, (room / sides).min())
        shift = rng.random(2) * (room - scale * sides) - scale * box[:2]
        return scale_and_shift((scale, scale), shift)

    def _has_room(self, region: Box, target: Target) -> bool:
        boxes = target.boxes.numpy()
        overlap = np.minimum(boxes[:, 2:], region[2:]) - np.maximum(boxes[:, :2], region[:2])
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return bool((overlap.clip(0).prod(axis=1) <= self.cover * areas).all())


def _partly_hidden(target: Target, region: Box) -> Target:
    """Visible keypoints inside `region` become hidden (1)."""
    if target.keypoints is None:
        return target
    corners = torch.from_numpy(region.astype(np.float32))
    xy, visibility = target.keypoints[..., :2], target.keypoints[..., 2:]
    covered = ((xy >= corners[:2]) & (xy <= corners[2:])).all(dim=-1, keepdim=True)
    seen = torch.where(covered, visibility.clamp(max=1), visibility)
    return replace(target, keypoints=torch.cat([xy, seen], dim=-1))
