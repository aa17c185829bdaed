"""Samples -> Batch, and the form a Batch takes on its way out of a worker."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import get_worker_info

from datamodules.objects import Sample
from datamodules.slots import Order, Slots
from detectors.errors import LineupError
from detectors.structures import Batch, Frame, Target

Packed = tuple[Tensor | int, list[dict[str, Any]], dict[str, int]]
"""Images or the slot they are in, targets as numpy arrays (a tensor that leaves a worker costs a
shared-memory file), and the dropped objects."""


def collate(order: Order[Callable[[], Sample]], slots: Slots) -> Batch | Packed | LineupError:
    """A Batch (packed in a worker); or the error that making one of the samples raised.

    An error raised in a worker would reach the user as a page of traceback inside its message; so
    it travels as a value, and `EpochLoader` raises it.
    """
    slot = order.slot
    try:
        batch = stack(order.parts, None if slot is None else slots.images[slot])
    except LineupError as error:
        return error
    return batch if get_worker_info() is None else pack(batch, slot)


def stack(
    makers: Sequence[Callable[[], Sample]], memory: UInt8[np.ndarray, "b 3 h w"] | None = None
) -> Batch:
    """The images as planes (in `memory`), the targets listed, the dropped objects summed by step.

    The samples are made here, so that only one image at a time is there twice: its memory is used
    again for the next, and stays in the processor's cache.
    """
    images: Any = None if memory is None else memory[: len(makers)]
    targets: list[Target] = []
    dropped: Counter[str] = Counter()
    for number, make in enumerate(makers):
        sample = make()
        if images is None:
            # numpy asks for large pages, torch does not: a tenth of the time for a fresh batch
            images = np.empty((len(makers), 3, *sample.image.shape[:2]), np.uint8)
        cv2.split(sample.image, list(images[number]))  # four times as fast as a transposed copy
        targets.append(sample.target)
        dropped.update(sample.dropped)
    return Batch(torch.from_numpy(images), targets, dict(dropped))


def pack(batch: Batch, slot: int | None = None) -> Packed:
    """The inverse of `unpack`; with the slot that the images are in, if any."""
    images = batch.images if slot is None else slot
    return images, [_pack_target(target) for target in batch.targets], batch.dropped


def unpack(packed: Packed, slots: Slots) -> Batch:
    """The inverse of `pack`."""
    where, targets, dropped = packed
    images = slots.receive(where, len(targets)) if isinstance(where, int) else where
    return Batch(images, [_unpack_target(target) for target in targets], dropped)


def _pack_target(target: Target) -> dict[str, Any]:
    frame = target.frame
    arrays = {
        name: getattr(target, name) for name in ("boxes", "labels", "crowd", "difficult", "area")
    }
    arrays |= {"keypoints": target.keypoints, "affine": frame.affine}
    packed: dict[str, Any] = {k: None if v is None else v.numpy() for k, v in arrays.items()}
    return packed | {"image_id": frame.image_id, "original_hw": frame.original_hw}


def _unpack_target(packed: dict[str, Any]) -> Target:
    image_id, original_hw = packed.pop("image_id"), packed.pop("original_hw")
    tensors: dict[str, Any] = {
        k: None if v is None else torch.from_numpy(v) for k, v in packed.items()
    }
    return Target(frame=Frame(image_id, original_hw, tensors.pop("affine")), **tensors)
