"""Where pictures go: a file, and the loggers that show pictures."""

import os

import cv2
import lightning as L
import numpy as np
from jaxtyping import UInt8
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from callbacks.files import replacing

Picture = UInt8[np.ndarray, "h w 3"]


def write_png(path: str | os.PathLike[str], picture: Picture) -> None:
    """Writes an RGB image; see `replacing`."""
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with replacing(path) as file:
        file.write(encoded.tobytes())


def log_picture(trainer: L.Trainer, key: str, picture: Picture) -> None:
    """Hands an RGB image to W&B and TensorBoard, if they are on."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [picture], step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(key, picture, trainer.global_step, dataformats="HWC")
