"""Detections of images that nobody has annotated: files, arrays, or the frames of a video."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from datamodules.collate import stack
from datamodules.objects import Sample
from datamodules.sources.images import read_image
from datamodules.transforms import Pipeline
from detectors.detector import Detector
from detectors.structures import Batch, Detections, Frame, Target

Image = str | Path | np.ndarray
"""A path, or uint8 RGB pixels (h, w, 3)."""

Seen = tuple[np.ndarray, Detections]
"""The pixels of an image, and what was found in it, in ORIGINAL pixels, by falling score."""


def detect(
    detector: Detector, pipeline: Pipeline, images: Iterable[Image], batch_size: int = 8
) -> Iterator[Seen]:
    """The images in order, each with its detections; they are read a batch at a time.

    The detector must be in eval mode. `pipeline` brings the images into its input.
    """
    for pixels, batch in _batches(pipeline, images, batch_size):
        yield from zip(pixels, _detections(detector, batch), strict=True)


@torch.no_grad()
def _detections(detector: Detector, batch: Batch) -> list[Detections]:
    batch = batch.to(next(detector.parameters()).device)
    frames = [target.frame for target in batch.targets]
    found = detector.decode(detector(batch.images), frames)
    return [detections.to_original().to("cpu") for detections in found]


def _batches(
    pipeline: Pipeline, images: Iterable[Image], size: int
) -> Iterator[tuple[list[np.ndarray], Batch]]:
    stream = iter(images)
    while some := list(islice(stream, size)):
        names = [Path(image).stem if isinstance(image, str | Path) else "" for image in some]
        pixels = [
            read_image(image) if isinstance(image, str | Path) else np.asarray(image)
            for image in some
        ]
        pairs = zip(names, pixels, strict=True)
        yield pixels, stack([partial(_sample, pipeline, *pair) for pair in pairs])


def _sample(pipeline: Pipeline, name: str, pixels: np.ndarray) -> Sample:
    target = _nothing(Frame(name, (pixels.shape[0], pixels.shape[1]), torch.eye(2, 3)))
    return pipeline(pixels, target, np.random.default_rng(0))


def _nothing(frame: Frame) -> Target:
    flags = torch.zeros(0, dtype=torch.bool)
    labels = torch.zeros(0, dtype=torch.long)
    return Target(torch.zeros(0, 4), labels, flags, flags, torch.zeros(0), frame)
