"""The Python face for notebooks and scripts.

from experiments import api

detector = api.load("runs/yolov1-darknet24-...")
for found in api.predict(detector, ["a.jpg", "b.jpg"]):
    print(found.boxes, found.scores, found.labels)
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from datamodules.collate import stack
from datamodules.detection import DetectionDataModule
from datamodules.objects import Sample
from datamodules.sources.images import read_image
from datamodules.transforms import Pipeline
from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.structures import Detections, Frame, Target
from experiments import build, checkpoints

Image = str | Path | np.ndarray


def build_detector(*overrides: str) -> Detector:
    """A detector with fresh weights: `build_detector("backbone=resnet152", "scale=nano")`."""
    return build.instantiate(build.compose(overrides).detector.net)


def build_datamodule(*overrides: str) -> DetectionDataModule:
    """The data of a configuration: `build_datamodule("datamodule=voc", "datamodule.root=VOC")`."""
    return build.instantiate(build.compose(overrides).datamodule)


def load(run_or_checkpoint: str | Path) -> Detector:
    """The trained detector of a run (the checkpoint it scored) or a .ckpt file, in eval mode."""
    return checkpoints.load_detector(run_or_checkpoint)[0]


@torch.no_grad()
def predict(
    detector: Detector,
    images: Sequence[Image],
    input_hw: tuple[int, int] | None = None,
    batch_size: int = 8,
) -> list[Detections]:
    """Detections per image, in ORIGINAL pixels, sorted by falling score.

    Args:
        images: paths, or uint8 RGB arrays (h, w, 3).
        input_hw: the size images are letterboxed into; default: the detector's own.
    """
    size = input_hw or detector.input_hw
    if size is None:
        raise ConfigError(
            f"{type(detector).__name__} takes any size: pass input_hw=(height, width)"
        )
    pipeline = Pipeline(input_hw=size)
    device = next(detector.parameters()).device
    was_training = detector.training
    detector.eval()
    found: list[Detections] = []
    for start in range(0, len(images), batch_size):
        some = images[start : start + batch_size]
        batch = stack([partial(_sample, image, pipeline) for image in some]).to(device)
        raw, frames = detector(batch.images), [target.frame for target in batch.targets]
        found += [d.to_original().to("cpu") for d in detector.decode(raw, frames)]
    detector.train(was_training)
    return found


def _sample(image: Image, pipeline: Pipeline) -> Sample:
    named = isinstance(image, str | Path)
    pixels = read_image(image) if named else np.asarray(image)
    name = Path(image).stem if named else ""
    target = _nothing(Frame(name, (pixels.shape[0], pixels.shape[1]), torch.eye(2, 3)))
    return pipeline(pixels, target, np.random.default_rng(0))


def _nothing(frame: Frame) -> Target:
    flags = torch.zeros(0, dtype=torch.bool)
    labels = torch.zeros(0, dtype=torch.long)
    return Target(torch.zeros(0, 4), labels, flags, flags, torch.zeros(0), frame)
