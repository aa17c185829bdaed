"""Image files: pixels upright and RGB, the size undecoded, an error in place of grey areas."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from detectors.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_EXIF_ORIENTATION = 0x0112
_EXIF_SIDEWAYS = (5, 6, 7, 8)
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def read_image(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a file as RGB, turned upright by its EXIF orientation (annotators saw it so).

    Raises:
        DataError: no such file, cut off, or not an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}): restore the file") from None
    if _is_cut_off(data):
        raise DataError(f"{path}: the JPEG is cut off after {len(data)} bytes: replace the file")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # no bytes, or a header that promises more than 2^30 pixels
        pixels = None
    if pixels is None:
        raise _unreadable(path, len(data))
    return pixels


def image_hw(path: Path | str) -> tuple[int, int]:
    """Height and width of what `read_image` will return, from the file's header.

    Raises:
        DataError: no such file, or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Pillow would decode a whole PNG to look for EXIF data at its end
            exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
            sideways = exif.get(_EXIF_ORIENTATION) in _EXIF_SIDEWAYS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        size = Path(path).stat().st_size if Path(path).is_file() else 0
        raise _unreadable(path, size) from None
    return (width, height) if sideways else (height, width)


def _unreadable(path: Path | str, size: int) -> DataError:
    return DataError(f"{path}: not a readable image ({size} bytes): replace or remove the file")


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG lacks its end; decoders fill what is missing with grey and only print.

    Inside compressed data 0xff is escaped, so the end must stand behind the last scan's start; a
    thumbnail's end stands before it.
    """
    if not data.startswith(_JPEG_START) or data.endswith(_JPEG_END):
        return False
    return data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)
