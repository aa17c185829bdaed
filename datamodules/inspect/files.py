"""The checks of names and files: which images stand where; they need no pixel."""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from datamodules.inspect.dataset import Dataset, LabelledImage
from datamodules.inspect.finding import Found
from datamodules.sources.images import IMAGE_SUFFIXES

FEWEST_PICTURES = 3
"""Fewer are no pictures cut into tiles, but two cameras or years whose images are numbered."""


def files_in_two_splits(data: Dataset) -> Iterator[Found]:
    """What was trained on is scored again: the score of val or test is too good to be true."""
    yield from in_two_splits(data.images, [_identity(image) for image in data.images])


def images_in_no_split(data: Dataset) -> Iterator[Found]:
    """They are neither trained on nor scored: fine where a list leaves them out on purpose."""
    used = {image.file for image in data.images if image.file is not None}
    told = {Path(e.where.split(": ")[0]).stem for s in data.sources.values() for e in s.dropped}
    for folder in sorted({file.parent for file in used}):
        there = {path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
        unused = sorted(path for path in there - used if path.stem not in told)
        if unused:
            yield Found(
                "note",
                str(folder),
                f"{len(unused)} images belong to no split, the first: {unused[0].name}",
                "name them in a list of the split, if they should be used",
            )


def images_cut_from_one_picture(data: Dataset) -> Iterator[Found]:
    """Tiles of one picture share light, ground and often objects: the score of val is too good.

    Told by names: `picture_3_5` (row, column) and Roboflow's copies `picture.rf.3fa...`.
    """
    pictures: dict[str, Counter[str]] = {}
    for image in data.images:
        if picture := picture_of(image.image_id):
            pictures.setdefault(picture, Counter())[image.split] += 1
    if len(pictures) < FEWEST_PICTURES:
        return
    for picture, splits in pictures.items():
        if len(splits) > 1:
            counts = ", ".join(f"{n} in {split}" for split, n in splits.items())
            yield Found(
                "warning",
                f"{picture}*",
                f"images cut from one picture are divided: {counts}",
                "keep them together: GeneratedSplit with `group`, or split the list by picture",
            )


def in_two_splits(
    images: Sequence[LabelledImage], keys: Sequence[Hashable | None]
) -> Iterator[Found]:
    """Images of equal key in different splits; an image without a key is like no other."""
    first: dict[tuple[Hashable, str], LabelledImage] = {}
    splits = list(dict.fromkeys(image.split for image in images))
    for image, key in zip(images, keys, strict=True):
        if key is None:
            continue
        for split in splits[: splits.index(image.split)]:
            if twin := first.get((key, split)):
                yield Found(
                    "error" if split == "train" else "warning",
                    image.where,
                    f"the image is in {image.split} and in {split} ({twin.where})",
                    f"remove it from one of the two, usually from {split}",
                )
        first.setdefault((key, image.split), image)


def picture_of(image_id: str) -> str | None:
    """The picture that the name of an image says it was cut or copied from, if it says so."""
    copy = re.fullmatch(r"(.+)\.rf\.[0-9a-zA-Z]{8,}", image_id)
    tile = re.fullmatch(r"(.*?[^\W\d_].*?)(?:[_-]+\d+){2,}", image_id)
    match = copy or tile
    return match.group(1) if match else None


def _identity(image: LabelledImage) -> Hashable | None:
    """Device and inode: links of either kind, and other spellings of a path, are the same file."""
    if image.file is None:
        return None
    status = image.file.stat()
    return status.st_dev, status.st_ino
