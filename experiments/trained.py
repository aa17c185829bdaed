"""What a run knows that predicting needs, read from its checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from callbacks.metrics.points import BODY
from datamodules.transforms import Pipeline
from detectors.detector import Detector
from detectors.structures import DatasetInfo
from experiments import build, checkpoints


@dataclass(slots=True, frozen=True)
class Trained:
    """A detector in eval mode, and the data it was trained for."""

    detector: Detector
    pipeline: Pipeline
    """Brings an image into the input as evaluation did."""
    info: DatasetInfo
    body: Sequence[int] = BODY
    """Positions of the two ends of the body among the keypoints."""


def read_trained(run_or_checkpoint: str | Path) -> Trained:
    """Of a run (the checkpoint it scored) or of a .ckpt file."""
    detector, config = checkpoints.load_detector(run_or_checkpoint)
    body = OmegaConf.select(config, "metrics.pck.body")
    return Trained(
        detector=detector,
        pipeline=Pipeline(*checkpoints.evaluation_framing(config)),
        info=build.instantiate(config.datamodule.info),
        body=BODY if body is None else list(body),
    )
