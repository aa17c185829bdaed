"""List of samples -> Batch."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from detectors.errors import LineupError
from detectors.structures import Batch, Target

Sample = tuple[UInt8[Tensor, "3 h w"], Target]


def collate(samples: Sequence[Sample | LineupError]) -> Batch | LineupError:
    """Images stacked, targets listed; or the first error among the samples.

    An error raised in a worker would reach the user as a page of traceback inside its message; so
    it travels as a value, and `EpochLoader` raises it.
    """
    read: list[Sample] = []
    for sample in samples:
        if isinstance(sample, LineupError):
            return sample
        read.append(sample)
    return Batch(torch.stack([image for image, _ in read]), [target for _, target in read])
