"""Image files: pixels upright and RGB, the size undecoded, an error in place of grey areas."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from detectors.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_EXIF_ORIENTATION = 0x0112
_EXIF_SIDEWAYS = (5, 6, 7, 8)
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_START, _PNG_EXIF, _PNG_END = b"\x89PNG", b"eXIf", b"IEND"
_TIFF_STARTS = (b"II*\0", b"MM\0*")


class UnreadableImage(DataError):
    """A file that is missing, cut off, or no image."""


def read_image(path: Path | str) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a file as RGB, turned upright by its EXIF orientation (annotators saw it so).

    Transparency is left out; of 16 bits, the upper 8 are kept.

    Raises:
        UnreadableImage: no such file, cut off, or not an image.
    """
    try:
        with open(path, "rb") as file:  # pathlib takes as long again as reading
            data = file.read()
    except OSError as error:
        what = f"cannot be opened ({error.strerror})"
        raise UnreadableImage(path, what, "restore the file") from None
    if _is_cut_off(data):
        kind = "PNG" if data.startswith(_PNG_START) else "JPEG"
        what = f"the {kind} is cut off after {len(data)} bytes"
        raise UnreadableImage(path, what, "replace the file")
    if data.startswith(_TIFF_STARTS):
        return _read_tiff(path, data)
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
        UnreadableImage: no such file, or not an image.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            width, height = image.size
            # Pillow has turned a TIFF's size already
            sideways = image.format != "TIFF" and _orientation(image, path) in _EXIF_SIDEWAYS
    except Exception:  # Pillow's parsers raise whatever comes up in damaged files
        size = Path(path).stat().st_size if Path(path).is_file() else 0
        raise _unreadable(path, size) from None
    return (width, height) if sideways else (height, width)


def _orientation(image: Image.Image, path: Path | str) -> int:
    """As OpenCV takes it: from EXIF, never XMP."""
    if image.format == "PNG" and "exif" not in image.info and _PNG_EXIF in Path(path).read_bytes():
        image.load()  # it stands behind the pixels
    exif = Image.Exif()
    exif.load(image.info.get("exif", b""))
    return exif.get(_EXIF_ORIENTATION, 1)


def _read_tiff(path: Path | str, data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Pillow's decoder: OpenCV's blackens what is transparent, and prints."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            mode, pixels = upright.mode, np.array(upright.convert("RGB"))
    except Exception:  # as in image_hw
        raise _unreadable(path, len(data)) from None
    if mode in ("I", "F"):
        what = "a TIFF of 32-bit numbers, whose range is unknown"
        raise UnreadableImage(path, what, "convert it to 8 or 16 bit")
    return pixels


def _unreadable(path: Path | str, size: int) -> UnreadableImage:
    what = f"not a readable image ({size} bytes)"
    return UnreadableImage(path, what, "replace or remove the file")


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; decoders fill what is missing with grey, or print.

    Inside compressed JPEG data 0xff is escaped, so the end must stand behind the last scan's start;
    a thumbnail's end stands before it.
    """
    if data.startswith(_PNG_START):
        return _PNG_END not in data
    if not data.startswith(_JPEG_START) or data.endswith(_JPEG_END):
        return False
    return data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)
