"""List of samples -> Batch, and the form a Batch takes on its way out of a worker."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import get_worker_info

from detectors.errors import LineupError
from detectors.structures import Batch, Frame, Target

Sample = tuple[UInt8[Tensor, "3 h w"], Target]
Packed = tuple[Tensor, list[dict[str, Any]]]
"""Images, and targets as numpy arrays: a tensor that leaves a worker costs a shared-memory file."""


def collate(samples: Sequence[Sample | LineupError]) -> Batch | Packed | LineupError:
    """Images stacked, targets listed (packed in a worker); or the first error among the samples.

    An error raised in a worker would reach the user as a page of traceback inside its message; so
    it travels as a value, and `EpochLoader` raises it.
    """
    read: list[Sample] = []
    for sample in samples:
        if isinstance(sample, LineupError):
            return sample
        read.append(sample)
    batch = Batch(torch.stack([image for image, _ in read]), [target for _, target in read])
    return batch if get_worker_info() is None else pack(batch)


def pack(batch: Batch) -> Packed:
    """The inverse of `unpack`."""
    return batch.images, [_pack_target(target) for target in batch.targets]


def unpack(packed: Packed) -> Batch:
    """The inverse of `pack`."""
    images, targets = packed
    return Batch(images, [_unpack_target(target) for target in targets])


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
