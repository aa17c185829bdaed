"""Augmentation: the one adapter around albumentations.

Only the image and a few probe points go through albumentations. The affine map is read off the
probes, recorded in the Frame, and moves boxes and keypoints: they cannot disagree, and
albumentations, which raises on boxes that are off by rounding, never sees one.
"""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

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
    from albumentations.core.type_definitions import Targets

FILL = 114
"""Grey level outside the image."""

_CORNERS = [0, 1, 2, 1, 2, 3, 0, 3]
"""The four corners of a box in its xyxy."""

_MAX_RESIDUAL = 0.05
"""px a probe may be off the fitted affine; albumentations' float32 stays below 1e-3."""


class Letterbox(A.DualTransform):
    """Fits the whole image into `input_hw`, centred, aspect ratio kept, in one interpolation.

    With jitter the size is multiplied by a factor from `scale` and the centre moves by up to
    `translate` of the input's height and width; evaluation uses none.
    """

    _targets = (Targets.IMAGE, Targets.KEYPOINTS)

    def __init__(
        self,
        input_hw: Sequence[int],
        scale: Sequence[float] = (1.0, 1.0),
        translate: float = 0.0,
    ) -> None:
        super().__init__(p=1.0)
        low, high = scale
        if not (0 < low <= high and 0 <= translate < 1):
            raise ConfigError(
                f"letterbox with scale={list(scale)}, translate={translate}: "
                "scale is [low, high] above 0, translate a share from 0 to below 1"
            )
        self.input_hw = (int(input_hw[0]), int(input_hw[1]))
        self.scale = (float(low), float(high))
        self.translate = float(translate)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: Any) -> dict[str, Any]:
        """The affine of this sample, between pixel centres as OpenCV and albumentations count."""
        zoom = self.py_random.uniform(*self.scale)
        dx, dy = (self.py_random.uniform(-self.translate, self.translate) for _ in range(2))
        height, width = self.input_hw
        offset = dx * width, dy * height
        matrix = letterbox_affine(params["shape"][:2], self.input_hw, zoom, offset)
        return {"matrix": _between_centres(matrix)}

    def apply(self, img: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """The warped image."""
        height, width = self.input_hw
        return cv2.warpAffine(
            img,
            params["matrix"],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(FILL,) * 3,
        )

    def apply_to_keypoints(self, keypoints: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """The moved points, 0 being the centre of the first pixel."""
        matrix = params["matrix"]
        xy = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return np.column_stack([xy, keypoints[:, 2:]]).astype(np.float32)


class Pipeline:
    """(image, target in original px, seed) -> (uint8 CHW tensor, target in input px).

    The same seed gives the same sample in any process. `augment` holds albumentations transforms in
    the order they run (None: switched off); its geometry must be affine, because a Frame records
    one affine. Unless one of them is a `Letterbox`, a plain one runs first.

    Args:
        input_hw: height and width of the result, px.
        augment: name -> albumentations transform or composition.
        min_visibility: objects of which a smaller share of the box stays in view are dropped.
        min_side: px; objects with a shorter side in the input are dropped.
        flip_pairs: keypoint indices that trade places in a mirrored image.
    """

    def __init__(
        self,
        input_hw: Sequence[int],
        augment: Mapping[str, Any] | None = None,
        min_visibility: float = 0.1,
        min_side: float = 1.0,
        flip_pairs: Sequence[Sequence[int]] = (),
    ) -> None:
        self.input_hw = (int(input_hw[0]), int(input_hw[1]))
        self.min_visibility = min_visibility
        self.min_side = min_side
        self.flip_pairs = [tuple(pair) for pair in flip_pairs]
        steps = {name: step for name, step in (augment or {}).items() if step is not None}
        for name, step in steps.items():
            self._check_step(name, step)
        if not any(isinstance(step, Letterbox) for step in steps.values()):
            steps = {"letterbox": Letterbox(self.input_hw), **steps}
        self._names = tuple(steps)
        self._compose = A.Compose(
            list(steps.values()), keypoint_params=A.KeypointParams("xy", remove_invisible=False)
        )

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], target: Target, seed: int
    ) -> tuple[UInt8[Tensor, "3 h2 w2"], Target]:
        """One sample; boxes out of view are dropped with all that belongs to them."""
        # set_random_seed would start every transform at the same state: what is blurred with p=.1
        # would always be flipped with p=.5
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        size = np.array(image.shape[1::-1], np.float64)
        out = self._compose(image=image, keypoints=_PROBES * size - 0.5)
        affine = self._affine(np.asarray(out["keypoints"], np.float64) + 0.5, size)
        return self._chw(out["image"]), self._moved(target, affine)

    def _affine(
        self, moved: Float[np.ndarray, "p 2"], size: Float[np.ndarray, " 2"]
    ) -> Float[np.ndarray, "2 3"]:
        if len(moved) != len(_PROBES):  # some that bend the image lose points on the way
            raise self._bent(np.inf)
        solution = _PROBES_INVERSE @ moved  # (3, 2): per width, per height, origin
        residual = np.abs(_PROBES_DESIGN @ solution - moved).max()
        if residual > _MAX_RESIDUAL:
            raise self._bent(residual)
        return np.column_stack([solution[:2].T / size, solution[2]])

    def _bent(self, residual: float) -> ConfigError:
        return ConfigError(
            f"datamodule.augment bends the image by {residual:.2g} px, and a Frame records an "
            f"affine only: remove what is not affine from {', '.join(self._names)}"
        )

    def _moved(self, target: Target, affine: Float[np.ndarray, "2 3"]) -> Target:
        # numpy: on so few numbers torch would take three times as long
        size = np.array(self.input_hw[::-1])
        low, high = _hulls(affine, target.boxes.numpy())
        low_in, high_in = np.clip(low, 0, size), np.clip(high, 0, size)
        sides = high_in - low_in
        visible = sides.prod(axis=1) / np.maximum((high - low).prod(axis=1), 1e-9)
        keep = (visible >= self.min_visibility) & (sides >= self.min_side).all(axis=1)
        boxes = np.concatenate([low_in, high_in], axis=1).astype(np.float32)
        inside = replace(
            target,
            boxes=torch.from_numpy(boxes),
            keypoints=self._moved_keypoints(target.keypoints, affine),
            frame=replace(target.frame, affine=_after(affine, target.frame.affine)),
        )
        return inside if keep.all() else inside[torch.from_numpy(keep)]

    def _moved_keypoints(
        self, keypoints: Float[Tensor, "n k 3"] | None, affine: Float[np.ndarray, "2 3"]
    ) -> Float[Tensor, "n k 3"] | None:
        """Moved, mirrored by name, and absent (0, 0, 0) where out of view."""
        if keypoints is None:
            return None
        xy, visibility = _apply(affine, keypoints[..., :2].numpy()), keypoints[..., 2:].numpy()
        inside = ((xy >= 0) & (xy < self.input_hw[::-1])).all(axis=-1, keepdims=True)
        moved = np.concatenate([xy, visibility], axis=-1) * (inside & (visibility > 0))
        if np.linalg.det(affine[:, :2]) < 0:
            order = list(range(moved.shape[1]))
            for left, right in self.flip_pairs:
                order[left], order[right] = right, left
            moved = moved[:, order]
        return torch.from_numpy(moved.astype(np.float32))

    def _chw(self, image: np.ndarray) -> UInt8[Tensor, "3 h w"]:
        if image.shape != (*self.input_hw, 3) or image.dtype != np.uint8:
            raise ConfigError(
                f"datamodule.augment ({', '.join(self._names)}) makes {image.dtype} images of "
                f"shape {image.shape}, not uint8 of {(*self.input_hw, 3)}: remove what resizes "
                "or normalises"
            )
        planes = np.empty((3, *self.input_hw), np.uint8)
        cv2.split(image, list(planes))  # four times as fast as a transposed copy
        return torch.from_numpy(planes)

    def _check_step(self, name: str, step: Any) -> None:
        if not isinstance(step, A.BasicTransform | A.BaseCompose):
            raise ConfigError(
                f"datamodule.augment.{name} is a {type(step).__name__}, "
                "not an albumentations transform: correct its _target_"
            )
        if isinstance(step, Letterbox) and step.input_hw != self.input_hw:
            raise ConfigError(
                f"datamodule.augment.{name}.input_hw is {list(step.input_hw)} but "
                f"datamodule.input_hw is {list(self.input_hw)}: set both with protocol.input_hw"
            )


def letterbox_affine(
    original_hw: Sequence[int],
    input_hw: Sequence[int],
    zoom: float = 1.0,
    offset_xy: Sequence[float] = (0.0, 0.0),
) -> Float[np.ndarray, "2 3"]:
    """x' = s (x - centre) + centre' + offset in continuous px, with s = zoom min(H'/H, W'/W)."""
    (height, width), (new_height, new_width) = original_hw, input_hw
    scale = zoom * min(new_height / height, new_width / width)
    x = new_width / 2 + offset_xy[0] - scale * width / 2
    y = new_height / 2 + offset_xy[1] - scale * height / 2
    return np.array([[scale, 0.0, x], [0.0, scale, y]])


def _between_centres(matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The same map where coordinates count pixel centres: x - 1/2 -> x' - 1/2."""
    shift = matrix[:, :2].sum(axis=1) / 2 + matrix[:, 2] - 0.5
    return np.column_stack([matrix[:, :2], shift])


def _probe_grid() -> Float[np.ndarray, "p 2"]:
    """A 3x3 grid over the unit square: what bends the image moves one of them off the affine."""
    steps = np.array([0.0, 0.5, 1.0])
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


_PROBES = _probe_grid()
_PROBES_DESIGN = np.column_stack([_PROBES, np.ones(len(_PROBES))])
_PROBES_INVERSE = np.linalg.pinv(_PROBES_DESIGN)


def _apply(
    affine: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n 2"]:
    return points @ affine[:, :2].T + affine[:, 2]


def _after(second: Float[np.ndarray, "2 3"], first: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    """The composition: `first`, then `second`."""
    before = first.numpy().astype(np.float64)
    linear, shift = second[:, :2] @ before[:, :2], _apply(second, before[:, 2])
    return torch.from_numpy(np.column_stack([linear, shift]).astype(np.float32))


def _hulls(
    affine: Float[np.ndarray, "2 3"], boxes: Float[np.ndarray, "n 4"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"]]:
    """Low and high corners of the upright boxes around the moved ones."""
    moved = _apply(affine, boxes[:, _CORNERS].reshape(-1, 4, 2))
    return moved.min(axis=1), moved.max(axis=1)
