"""Source: the contract of an annotation format, index -> (image, Target in original pixels)."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from detectors.errors import DataError
from detectors.structures import DatasetInfo, Frame, Target

Image = UInt8[np.ndarray, "h w 3"]


class Source(ABC):
    """One split of one dataset: what stands in the files, in original pixels, verified when built.

    A source knows nothing of input sizes, augmentation, anchors or cells. It is read by several
    processes, so nothing in it changes after the constructor.
    """

    info: DatasetInfo
    ids: Sequence[str]
    """One name per image, unique in the split; predictions are matched to ground truth by it."""
    dropped: Sequence[DataError] = ()
    """What was wrong in the files and left out, where the configuration tolerates that."""

    @abstractmethod
    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels, RGB, upright."""

    @abstractmethod
    def target(self, index: int) -> Target:
        """The annotations in original pixels (`frame.affine` is the identity); decodes nothing."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Image, Target]:
        return self.image(index), self.target(index)

    def where(self, index: int) -> str:
        """What an error message calls this image: its file, where it has one."""
        return str(self.file(index) or self.ids[index])

    def file(self, index: int) -> Path | None:
        """The image's file, where there is one."""
        return None

    def fingerprint(self) -> str:
        """sha256 over class and image names, sizes and annotations; pixels are not read."""
        digest = hashlib.sha256(repr(list(self.info.class_names)).encode())
        for index in range(len(self)):
            target = self.target(index)
            file = self.file(index)
            # the file's size hardly survives a change of pixels
            size = 0 if file is None else file.stat().st_size
            image = (target.frame.image_id, target.frame.original_hw, size)
            digest.update(repr(image).encode())
            rows = (target.boxes, target.labels, target.crowd, target.difficult, target.area)
            for tensor in rows if target.keypoints is None else (*rows, target.keypoints):
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def original_target(
    image_id: str,
    original_hw: tuple[int, int],
    boxes: Float[np.ndarray, "n 4"],
    labels: Int[np.ndarray, " n"],
    difficult: Bool[np.ndarray, " n"] | None = None,
    crowd: Bool[np.ndarray, " n"] | None = None,
    area: Float[np.ndarray, " n"] | None = None,
    keypoints: Float[np.ndarray, "n k 3"] | None = None,
) -> Target:
    """A Target in original pixels; without `area` an object's area is its box's."""
    boxes = np.asarray(boxes, np.float32)
    if area is None:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    no = np.zeros(len(boxes), np.bool_)
    return Target(
        boxes=torch.from_numpy(boxes.copy()),
        labels=torch.from_numpy(np.asarray(labels, np.int64).copy()),
        crowd=torch.from_numpy((no if crowd is None else crowd).copy()),
        difficult=torch.from_numpy((no if difficult is None else difficult).copy()),
        area=torch.from_numpy(np.asarray(area, np.float32).copy()),
        frame=Frame(image_id, original_hw, torch.eye(2, 3)),
        keypoints=None
        if keypoints is None
        else torch.from_numpy(np.asarray(keypoints, np.float32).copy()),
    )
