"""Videos: frames out of a file and images into one, never more than one at a time."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from detectors.errors import DataError

Image = UInt8[np.ndarray, "_ _ 3"]
"""RGB."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"}
)

_SLACK = 1.0
"""s, or a tenth of a shorter video, by which a file may end before it says: the length it names may
be an estimate, or that of its sound."""

_FFMPEG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"


class Video:
    """The frames of a file, RGB, upright and in order; to iterate again starts anew.

    `length` is the number of frames that the file promises, 0 if it promises none.

    Raises:
        DataError: no such file, or no video; while it is iterated: cut off.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        capture = self._opened()
        self.fps: float = capture.get(cv2.CAP_PROP_FPS)
        self.length = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        readable, _ = capture.read()
        capture.release()
        if not readable:
            raise self._no_video()
        if not self.fps > 0:  # nor is NaN
            raise DataError(self.path, f"has {self.fps} frames per second", "re-encode it")

    def __iter__(self) -> Iterator[Image]:
        capture = self._opened()
        count, end = 0, 0.0
        try:
            while True:
                readable, frame = capture.read()
                if not readable:
                    break
                count += 1
                end = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 + 1 / self.fps
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()
        self._check_end(count, max(end, count / self.fps))

    def _opened(self) -> cv2.VideoCapture:
        if not self.path.is_file():
            raise DataError(self.path, "is no file", "name a video")
        with _quiet():
            # absolute: FFmpeg takes what stands before a colon for a protocol
            capture = cv2.VideoCapture(str(self.path.absolute()), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise self._no_video()
        return capture

    def _no_video(self) -> DataError:
        what = f"not a readable video ({self.path.stat().st_size} bytes)"
        return DataError(self.path, what, "it may be cut off: replace it, or re-encode it")

    def _check_end(self, count: int, end: float) -> None:
        promised = self.length / self.fps
        if count < self.length and promised - end > min(_SLACK, promised / 10):
            what = f"the video is cut off: {count} of {self.length} frames can be read"
            raise DataError(self.path, what, "replace it, or re-encode what is left of it")


def write_video(images: Iterable[Image], path: str | os.PathLike[str], fps: float) -> None:
    """Writes RGB images of one size as MPEG-4 (.mp4); an odd last row or column is left out.

    Raises:
        DataError: the file cannot be written or is not whole in the end (a full disk), an image has
            another size, or there is none.
    """
    stream = iter(images)
    first = next(stream, None)
    if first is None:
        raise DataError(path, "would hold no image", "give one at least")
    writer = _writer(path, first.shape[:2], fps)
    count = 0
    try:
        for count, image in enumerate(chain([first], stream), start=1):
            if image.shape != first.shape:
                what = f"image {count} has {_size(image)} px, not {_size(first)}"
                raise DataError(path, what, "use images of one size")
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
    _check_written(path, count)


def _writer(path: str | os.PathLike[str], hw: tuple[int, ...], fps: float) -> cv2.VideoWriter:
    height, width = hw
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    with _quiet():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, (width, height))
    if not writer.isOpened():
        what = f"cannot be written as a video of {width}x{height} px at {fps:g} frames/s"
        raise DataError(path, what, "use an existing folder and a name in .mp4")
    return writer


def _check_written(path: str | os.PathLike[str], count: int) -> None:
    """OpenCV says nothing when the system refuses to write."""
    try:
        length = Video(path).length
    except DataError:
        length = 0
    if length != count:
        what = f"only {length} of {count} images could be written"
        raise DataError(path, what, "make room, or name another folder")


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """While a file is opened OpenCV and FFmpeg print nothing: a `DataError` says it in one line.

    FFmpeg's level, which is asked for when the process opens its first video, also holds later.
    """
    log: Any = cv2.utils.logging
    level, before = log.getLogLevel(), os.environ.get(_FFMPEG_LEVEL)
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    os.environ[_FFMPEG_LEVEL] = before or "-8"  # AV_LOG_QUIET
    try:
        yield
    finally:
        log.setLogLevel(level)
        if before is None:
            os.environ.pop(_FFMPEG_LEVEL)
