"""What one decoding of each image tells: whether it can be read, and two hashes to compare it by.

The perceptual hash has 64 bits: the signs of the 8x8 lowest DCT frequencies of a 32x32 grey copy,
relative to their median (pHash). On photographs, micrographs and aerial images, other JPEG quality,
half the size, noise or other light change at most 6 bits; unrelated images differ in 17 or more
(all but 1 pair in 1000).
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Int, UInt8, UInt64

from datamodules.inspect.dataset import Dataset, LabelledImage
from datamodules.sources.source import Source
from detectors.errors import DataError

FLAT = 2.0
"""Grey levels; an image whose grey copy deviates less from its mean shows nothing to compare."""

_THUMBNAIL, _FREQUENCIES = 32, 8
_BLOCK = 256
"""Rows of the distance matrix at a time: 40 MB for 20 000 images."""
_FAR = 255


@dataclass(slots=True, frozen=True)
class Look:
    """`content` is equal for equal files; `phash` is None for flat images; `error`: unreadable."""

    content: str | None
    phash: int | None
    error: DataError | None = None


def look_at_all(data: Dataset, workers: int | None = None) -> Iterator[Look]:
    """One look per image, in the order of `data.images`, decoded by threads ahead of the caller.

    Threads, because decoding and hashing release the lock: they are as fast as processes, and start
    at once. `workers`: None is one per core.
    """
    workers = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda image: look(image, data.sources[image.split]), data.images)


def look(image: LabelledImage, source: Source) -> Look:
    """Decodes one image."""
    try:
        pixels = source.image(image.index)
    except DataError as error:
        return Look(None, None, error)
    if pixels.shape[:2] != image.hw:
        (height, width), (h, w) = pixels.shape[:2], image.hw
        what = f"decodes to {width}x{height} px (w x h), but its header says {w}x{h}"
        return Look(None, None, DataError(image.where, what, "re-encode the image"))
    content = pixels.tobytes() if image.file is None else image.file.read_bytes()
    return Look(hashlib.sha256(content).hexdigest(), perceptual_hash(pixels))


def perceptual_hash(pixels: UInt8[np.ndarray, "h w 3"]) -> int | None:
    """64 bits that look-alikes share; None for a flat image."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    if small.std() < FLAT:
        return None
    low = cv2.dct(small.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES].ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def differing_bits(first: int, second: int) -> int:
    """The Hamming distance of two perceptual hashes."""
    return (first ^ second).bit_count()


def nearest_before(
    hashes: Sequence[int | None], groups: Sequence[str], *, same_group: bool
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Per image the most similar earlier one of the same group, or of the others: index and bits.

    255 bits: there is none. All pairs are compared, in blocks.
    """
    codes = np.array([code or 0 for code in hashes], np.uint64)
    comparable = np.array([code is not None for code in hashes], np.bool_)
    numbers = np.unique(np.asarray(groups, str), return_inverse=True)[1]
    index, bits = np.zeros(len(codes), np.int64), np.full(len(codes), _FAR, np.int64)
    for start in range(0, len(codes), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(codes)))
        distance = _distances(codes[rows], codes[: rows[-1] + 1])
        wanted = (numbers[rows, None] == numbers[None, : rows[-1] + 1]) == same_group
        wanted &= np.arange(rows[-1] + 1) < rows[:, None]
        wanted &= comparable[rows, None] & comparable[: rows[-1] + 1]
        distance[~wanted] = _FAR
        index[rows] = distance.argmin(axis=1)
        bits[rows] = distance.min(axis=1)
    return index, bits


def _distances(
    first: UInt64[np.ndarray, " n"], second: UInt64[np.ndarray, " m"]
) -> UInt8[np.ndarray, "n m"]:
    return np.bitwise_count(first[:, None] ^ second[None])
