"""One image -> one sample: framing, then albumentations, and the objects follow.

Only the image and a few probe points go through albumentations. The affine map is read off the
probes, recorded in the Frame, and moves boxes and keypoints: they cannot disagree, and
albumentations, which raises on boxes that are off by rounding, never sees one.
"""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from datamodules import affine as maps
from datamodules.affine import Affine
from datamodules.framing import Framing, Letterbox
from datamodules.objects import Keep, Sample, moved
from datamodules.patch import blank, fit
from detectors.errors import ConfigError
from detectors.structures import Target


@contextmanager
def _no_update_check() -> Iterator[None]:
    """On import albumentations asks the network for its newest version, unless told not to."""
    name = "NO_ALBUMENTATIONS_UPDATE"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


with _no_update_check():
    import albumentations as A

_EXACT = 1e-3
"""px that albumentations' float32 may be off."""

_MAX_RESIDUAL = 0.05
"""px a probe may be off the fitted affine."""


class Pipeline:
    """(image, target in original px, rng) -> sample in input px.

    All randomness comes from `rng`: the same state gives the same sample in any process. `augment`
    holds albumentations transforms in the order they run (None: switched off); they see an image
    that has the input's size already, and their geometry must be affine, because a Frame records
    one affine.

    Args:
        input_hw: height and width of the result, px.
        framing: how the image comes to fill the input; None: `Letterbox()`.
        augment: name -> albumentations transform or composition.
        keep: which objects stay; None: `Keep()`.
        flip_pairs: keypoint indices that trade places in a mirrored image.
    """

    def __init__(
        self,
        input_hw: Sequence[int],
        framing: Framing | None = None,
        augment: Mapping[str, Any] | None = None,
        keep: Keep | None = None,
        flip_pairs: Sequence[Sequence[int]] = (),
    ) -> None:
        self.input_hw = (int(input_hw[0]), int(input_hw[1]))
        self.framing = framing or Letterbox()
        self.keep = keep or Keep()
        self.flip_pairs = [tuple(pair) for pair in flip_pairs]
        steps = {name: step for name, step in (augment or {}).items() if step is not None}
        for name, step in steps.items():
            _check_step(name, step)
        self._names = tuple(steps)
        height, width = self.input_hw
        self._view = np.array([0.0, 0.0, width, height])
        # a 3x3 grid: what bends the image moves one of them off the affine
        grid = np.meshgrid([0, width / 2, width], [0, height / 2, height])
        self._probes = np.stack(grid, axis=-1).reshape(-1, 2)
        self._solve = np.linalg.pinv(np.column_stack([self._probes, np.ones(9)])).T  # (9, 3)
        self._moves = any(map(_moves, steps.values()))
        points = A.KeypointParams("xy", remove_invisible=False) if self._moves else None
        self._compose = A.Compose(list(steps.values()), keypoint_params=points)

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], target: Target, rng: np.random.Generator
    ) -> Sample:
        """One sample; objects out of view are dropped with all that belongs to them."""
        return self.augmented(self.framed(image, target, rng), rng)

    def framed(
        self, image: UInt8[np.ndarray, "h w 3"], target: Target, rng: np.random.Generator
    ) -> Sample:
        """The image in the input's size, and its objects."""
        hw = (image.shape[0], image.shape[1])
        wanted = self.framing.affine(hw, self.input_hw, target.boxes.numpy(), rng)
        patch = fit(hw, self.input_hw, wanted)
        picture = blank(self.input_hw)
        patch.paint(picture, image)
        inside = moved(target, patch.affine, patch.region, self.keep)
        return Sample(picture, inside, {"framing": len(target) - len(inside)})

    def augmented(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample after the transforms of `augment`."""
        if not self._names:
            return sample
        # set_random_seed would start every transform at the same state: what is blurred with p=.1
        # would always be flipped with p=.5
        self._compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        data: dict[str, Any] = {"image": sample.image}
        if self._moves:
            data["keypoints"] = self._probes - 0.5
        out = self._compose(**data)
        self._check_image(out["image"])
        target = self._followed(sample.target, out["keypoints"]) if self._moves else sample.target
        dropped = sample.dropped | {"augment": len(sample.target) - len(target)}
        return Sample(out["image"], target, dropped)

    def _followed(self, target: Target, probes: Float[np.ndarray, "p 2"]) -> Target:
        """The objects moved as the probes were (pixel centres, as albumentations counts)."""
        seen = probes + 0.5
        if len(seen) != len(self._probes):  # some that bend the image lose points on the way
            raise self._bent(np.inf)
        if np.abs(seen - self._probes).max() < _EXACT:
            return target
        return moved(target, self._affine(seen), self._view, self.keep, self.flip_pairs)

    def _affine(self, seen: Float[np.ndarray, "p 2"]) -> Affine:
        """The affine that takes the probes where they were seen."""
        affine = seen.T @ self._solve  # (2, 3)
        residual = np.abs(maps.apply(affine, self._probes) - seen).max()
        if residual > _MAX_RESIDUAL:
            raise self._bent(residual)
        return affine

    def _bent(self, residual: float) -> ConfigError:
        return ConfigError(
            f"datamodule.augment bends the image by {residual:.2g} px, and a Frame records an "
            f"affine only: remove what is not affine from {', '.join(self._names)}"
        )

    def _check_image(self, image: np.ndarray) -> None:
        if image.shape != (*self.input_hw, 3) or image.dtype != np.uint8:
            raise ConfigError(
                f"datamodule.augment ({', '.join(self._names)}) makes {image.dtype} images of "
                f"shape {image.shape}, not uint8 of {(*self.input_hw, 3)}: remove what resizes "
                "or normalises"
            )


def _check_step(name: str, step: Any) -> None:
    if not isinstance(step, A.BasicTransform | A.BaseCompose):
        raise ConfigError(
            f"datamodule.augment.{name} is a {type(step).__name__}, "
            "not an albumentations transform: correct its _target_"
        )


def _moves(step: Any) -> bool:
    """Whether a transform, or one of a composition, may move pixels."""
    return isinstance(step, A.DualTransform) or any(map(_moves, getattr(step, "transforms", ())))
