"""What of a split can be used: the source of a corrected copy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from datamodules.inspect.annotations import SAME_BOX_IOU, duplicates
from datamodules.inspect.dataset import Dataset
from datamodules.inspect.look import Look
from datamodules.sources.source import Source
from detectors.errors import DataError
from detectors.structures import Target


class Corrected(Source):
    """The readable images of a split, each object once.

    What is impossible in the files, the source left out already (`mistakes=drop_all`), and it
    clipped its boxes.

    Args:
        source: the split as it stands in the files.
        readable: indices of its images that can be decoded.
    """

    def __init__(self, source: Source, readable: Sequence[int]) -> None:
        self.info = source.info
        self.ids = [source.ids[index] for index in readable]
        self._source, self._readable = source, list(readable)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """As the source."""
        return self._source.image(self._readable[index])

    def target(self, index: int) -> Target:
        """As the source, less the repetitions of a box with the same class."""
        target = self._source.target(self._readable[index])
        keep = torch.ones(len(target), dtype=torch.bool)
        for first, second, overlap in duplicates(target):
            if overlap > SAME_BOX_IOU and target.labels[first] == target.labels[second]:
                keep[second] = False
        return target[keep]

    def file(self, index: int) -> Path | None:
        """As the source."""
        return self._source.file(self._readable[index])


def corrected(data: Dataset, looks: Sequence[Look]) -> dict[str, Corrected]:
    """Split -> its usable part; a split without a readable image is left out.

    Raises:
        DataError: there is no readable image at all.
    """
    readable: dict[str, list[int]] = {}
    for image, look in zip(data.images, looks, strict=True):
        if look.error is None:
            readable.setdefault(image.split, []).append(image.index)
    if not readable:
        raise DataError(data.info.name, "holds no readable image", "restore the files")
    return {split: Corrected(data.sources[split], kept) for split, kept in readable.items()}
