"""A film of a rod that is turned round, and a detector that sees where it is."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from callbacks.metrics.points import BODY
from datamodules.transforms import Pipeline
from detectors.detector import Detector
from detectors.structures import DatasetInfo, Detections, Frame, Losses, Target
from experiments import build
from experiments.trained import Trained

HW = (96, 128)
RED, BLUE = (230, 20, 20), (20, 20, 230)
INFO = DatasetInfo("rods", ["rod"], keypoint_names=["front", "rear"], skeleton=[[0, 1]])


class Rods(Detector[Tensor]):
    """Sees a rod from the red to the blue disc of an image, if there are both."""

    num_classes = 1

    def __init__(self, points: bool = True) -> None:
        super().__init__()
        self.points = points
        self.somewhere = nn.Parameter(torch.zeros(1))
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return images.float()

    def loss(self, raw: Tensor, targets: Sequence[Target]) -> Losses:
        raise NotImplementedError

    def decode(self, raw: Tensor, frames: Sequence[Frame]) -> list[Detections]:
        return [self._rod(image, frame) for image, frame in zip(raw, frames, strict=True)]

    def _rod(self, image: Tensor, frame: Frame) -> Detections:
        red, _, blue = image
        discs = [torch.nonzero(mask).float() for mask in (red - blue > 120, blue - red > 120)]
        if not all(map(len, discs)):
            return self._found(torch.zeros(0, 2, 2), frame)
        return self._found(
            torch.stack([disc.mean(dim=0).flip(0) + 0.5 for disc in discs])[None], frame
        )

    def _found(self, ends: Tensor, frame: Frame) -> Detections:
        """`ends`: (m, 2, xy)."""
        boxes = torch.cat([ends.amin(dim=1) - 8, ends.amax(dim=1) + 8], dim=1)
        keypoints = torch.cat([ends, torch.full((*ends.shape[:2], 1), 2.0)], dim=2)
        scores = torch.full((len(ends),), 0.8)
        labels = torch.zeros(len(ends)).long()
        return Detections(boxes, scores, labels, frame, keypoints if self.points else None)


def trained(detector: Rods | None = None, info: DatasetInfo = INFO) -> Trained:
    return Trained((detector or Rods()).eval(), Pipeline((64, 64)), info, BODY)


def rod(front: tuple[int, int] | None, rear: tuple[int, int] = (64, 48)) -> np.ndarray:
    image = np.full((*HW, 3), 120, np.uint8)
    if front is not None:
        cv2.circle(image, front, 10, RED, -1)
        cv2.circle(image, rear, 10, BLUE, -1)
    return image


LEFT, RIGHT = rod((30, 48)), rod((98, 48))
FILM = [LEFT] * 5 + [RIGHT] * 5 + [rod(None)] * 3 + [LEFT] * 9 + [RIGHT]
"""One reversal at frame 5, one at frame 22; the one across the gap is no pair."""


def fresh_checkpoint(path: Path, *overrides: str) -> Path:
    """Of a detector that has learnt nothing, built from a configuration with these overrides."""
    config = build.compose(overrides)
    net = build.instantiate(config.detector.net)
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    content = {"config": OmegaConf.to_container(config, resolve=True)}
    torch.save({"lineup": content, "state_dict": weights}, path)
    return path
