"""The whole shared language: what moves between data, detectors and callbacks.

Boxes are xyxy in pixels, continuous coordinates: the first pixel covers [0, 1), its centre is 0.5.
Legend of the shapes: b images, n ground truths, m detections, a priors, c classes, k keypoints.
Empty targets (n = 0) are legal everywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

IGNORE, NEGATIVE, POSITIVE = -1, 0, 1
"""Roles of a prior in a `Match`."""


@dataclass(slots=True, frozen=True)
class DatasetInfo:
    """What a dataset IS; stands in conf/datamodule/*.yaml, and sources verify it against the files.

    `class_names` are 0-based (background does not exist); `skeleton` and `flip_pairs` are pairs of
    keypoint indices; `oks_sigmas` has one COCO sigma per keypoint.
    """

    name: str
    class_names: Sequence[str]
    keypoint_names: Sequence[str] = ()
    skeleton: Sequence[Sequence[int]] = ()
    flip_pairs: Sequence[Sequence[int]] = ()
    oks_sigmas: Sequence[float] = ()


@dataclass(slots=True)
class Frame:
    """Where an input image comes from: `affine` maps original pixels to input pixels."""

    image_id: str
    original_hw: tuple[int, int]
    affine: Float[Tensor, "2 3"]

    def to(self, device: Any, non_blocking: bool = False) -> "Frame":
        return _map_tensors(self, lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Frame":
        return _map_tensors(self, torch.Tensor.pin_memory)


@dataclass(slots=True)
class Target:
    """The ground truth of one image, in the frame's input pixels (or original ones, at a source).

    `keypoints` are x, y in px and v (0 absent, 1 hidden, 2 visible). `crowd` and `difficult`
    objects are neither positive nor negative in training. `area` is the annotated object's, in
    ORIGINAL px².
    """

    boxes: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    crowd: Bool[Tensor, " n"]
    difficult: Bool[Tensor, " n"]
    area: Float[Tensor, " n"]
    frame: Frame
    keypoints: Float[Tensor, "n k 3"] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, mask: Tensor) -> "Target":
        return _select(self, mask)

    def to(self, device: Any, non_blocking: bool = False) -> "Target":
        return _map_tensors(self, lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Target":
        return _map_tensors(self, torch.Tensor.pin_memory)


@dataclass(slots=True)
class Detections:
    """What a detector found in one image, sorted by falling score, in the frame's input pixels."""

    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int[Tensor, " m"]
    frame: Frame
    keypoints: Float[Tensor, "m k 3"] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, mask: Tensor) -> "Detections":
        return _select(self, mask)

    def to(self, device: Any, non_blocking: bool = False) -> "Detections":
        return _map_tensors(self, lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Detections":
        return _map_tensors(self, torch.Tensor.pin_memory)

    def to_original(self) -> "Detections":
        """The same detections in original pixels, boxes clipped to the original image."""
        inverse = _invert(self.frame.affine.to(self.boxes))
        height, width = self.frame.original_hw
        corners = _apply(inverse, self.boxes.reshape(-1, 2, 2))  # (m, 2 corners, xy)
        limit = corners.new_tensor([width, height])
        low, high = corners.amin(dim=1).clamp(min=0), corners.amax(dim=1).clamp(min=0)
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = torch.cat([_apply(inverse, keypoints[..., :2]), keypoints[..., 2:]], dim=-1)
        return replace(
            self,
            boxes=torch.cat([low.minimum(limit), high.minimum(limit)], dim=1),
            keypoints=keypoints,
            frame=replace(self.frame, affine=torch.eye(2, 3, device=self.boxes.device)),
        )


@dataclass(slots=True)
class Batch:
    """Images as the network takes them (RGB, 0-255, never normalised) and their targets.

    `dropped` counts the objects that each augmentation step of these images lost.
    """

    images: UInt8[Tensor, "b 3 h w"]
    targets: list[Target]
    dropped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: Any, non_blocking: bool = False) -> "Batch":
        return Batch(
            self.images.to(device, non_blocking=non_blocking),
            [target.to(device, non_blocking=non_blocking) for target in self.targets],
            self.dropped,
        )

    def pin_memory(self) -> "Batch":
        targets = [target.pin_memory() for target in self.targets]
        return Batch(self.images.pin_memory(), targets, self.dropped)


@dataclass(slots=True)
class Match:
    """Which ground truth a prior answers for; `gt_index` counts only where `role` is POSITIVE."""

    gt_index: Int[Tensor, " a"]
    role: Int[Tensor, " a"]


@dataclass(slots=True)
class Losses:
    """Unweighted loss `terms` (they carry gradient) and `stats` (they do not)."""

    terms: dict[str, Float[Tensor, ""]]
    stats: dict[str, Float[Tensor, ""]]


Structure = TypeVar("Structure", Frame, Target, Detections)


def _map_tensors(structure: Structure, function: Callable[[Tensor], Tensor]) -> Structure:
    def convert(value: Any) -> Any:
        if isinstance(value, Tensor):
            return function(value)
        return _map_tensors(value, function) if isinstance(value, Frame) else value

    return replace(
        structure, **{f.name: convert(getattr(structure, f.name)) for f in fields(structure)}
    )


def _select(structure: Structure, mask: Tensor) -> Structure:
    values = {f.name: getattr(structure, f.name) for f in fields(structure)}
    rows = {name: value[mask] for name, value in values.items() if isinstance(value, Tensor)}
    return replace(structure, **rows)


def _invert(affine: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    linear = torch.linalg.inv(affine[:, :2].double())
    return torch.cat([linear, -linear @ affine[:, 2:].double()], dim=1).to(affine.dtype)


def _apply(affine: Float[Tensor, "2 3"], points: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    return points @ affine[:, :2].T + affine[:, 2]
