"""The Python face for notebooks and scripts.

from experiments import api

run = "runs/yolov1-darknet24-..."
detector = api.load(run)
input_hw, framing = api.load_framing(run)  # images as its evaluation saw them
for found in api.predict(detector, ["a.jpg", "b.jpg"], input_hw, framing):
    print(found.boxes, found.scores, found.labels)
"""

from collections.abc import Sequence
from pathlib import Path

from datamodules.detection import DetectionDataModule
from datamodules.framing import Framing
from datamodules.transforms import Pipeline
from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.structures import Detections
from experiments import build, checkpoints
from experiments.inference import Image, detect


def build_detector(*overrides: str) -> Detector:
    """A detector with fresh weights: `build_detector("backbone=resnet152", "scale=nano")`."""
    return build.instantiate(build.compose(overrides).detector.net)


def build_datamodule(*overrides: str) -> DetectionDataModule:
    """The data of a configuration: `build_datamodule("datamodule=voc", "datamodule.root=VOC")`."""
    return build.instantiate(build.compose(overrides).datamodule)


def load(run_or_checkpoint: str | Path) -> Detector:
    """The trained detector of a run (the checkpoint it scored) or a .ckpt file, in eval mode."""
    return checkpoints.load_detector(run_or_checkpoint)[0]


def load_framing(run_or_checkpoint: str | Path) -> tuple[tuple[int, int], Framing]:
    """Input height and width, px, and the framing with which a run was evaluated: for `predict`."""
    _, content = checkpoints.read(run_or_checkpoint)
    return checkpoints.evaluation_framing(checkpoints.config_of(content))


def predict(
    detector: Detector,
    images: Sequence[Image],
    input_hw: tuple[int, int] | None = None,
    framing: Framing | None = None,
    batch_size: int = 8,
) -> list[Detections]:
    """Detections per image, in ORIGINAL pixels, sorted by falling score.

    Args:
        images: paths, or uint8 RGB arrays (h, w, 3).
        input_hw: height and width, px, that images are brought into; default: the detector's own.
        framing: how; default: `Letterbox()`. A trained detector does best with what `load_framing`
            says of its run.
    """
    size = input_hw or detector.input_hw
    if size is None:
        raise ConfigError(
            f"{type(detector).__name__} takes any size: pass input_hw=(height, width), "
            "or both values of api.load_framing(RUN)"
        )
    was_training = detector.training
    detector.eval()
    try:
        seen = detect(detector, Pipeline(size, framing), images, batch_size)
        return [found for _, found in seen]
    finally:
        detector.train(was_training)
