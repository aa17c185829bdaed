"""Videos: a source's images one after the other in a file."""

import os

import cv2

from datamodules.sources.source import Source
from detectors.errors import DataError


def write_video(source: Source, path: str | os.PathLike[str], fps: float) -> None:
    """Writes the images, which must be of one size, as MPEG-4 (.mp4); their truth is not in it.

    Raises:
        DataError: the file cannot be written, or an image has another size.
    """
    height, width = source.target(0).frame.original_hw
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not writer.isOpened():
        raise DataError(path, "cannot be written", "use an existing folder and a name in .mp4")
    try:
        for index in range(len(source)):
            image = source.image(index)
            if image.shape[:2] != (height, width):
                size = f"{image.shape[1]}x{image.shape[0]} px, not {width}x{height}"
                raise DataError(source.where(index), f"has {size}", "use images of one size")
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
