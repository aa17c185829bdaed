"""The checks that compare pictures: unreadable ones, repeated ones, frames of one video."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from datamodules.inspect.dataset import Dataset, LabelledImage
from datamodules.inspect.files import in_two_splits
from datamodules.inspect.finding import Found
from datamodules.inspect.look import Look, differing_bits, nearest_before
from datamodules.sources.images import UnreadableImage
from datamodules.splits import natural

LOOK_ALIKE = 6
"""Bits; see `look`. Images that differ in so few show the same."""
NEIGHBOURS = 12
"""Bits; neighbours by name that differ in so few are frames of one video."""
UNAVOIDABLE = 0.1
"""Share of divided neighbours up to which a split looks like one in blocks."""

Looks = Sequence[Look]
"""One per image of the dataset, in its order."""


def unreadable_images(data: Dataset, looks: Looks) -> Iterator[Found]:
    """The first epoch ends at this image; decoders fill what is cut off with grey."""
    dropped = [e for source in data.sources.values() for e in source.dropped]
    unread = [look.error for look in looks if look.error is not None]
    for error in [e for e in dropped if isinstance(e, UnreadableImage)] + unread:
        yield Found("error", error.where, error.what, error.remedy)


def same_image_in_two_splits(data: Dataset, looks: Looks) -> Iterator[Found]:
    """What was trained on is scored again: the score of val or test is too good to be true."""
    yield from in_two_splits(data.images, [look.content for look in looks])


def similar_images_in_two_splits(data: Dataset, looks: Looks) -> Iterator[Found]:
    """The same scene again, re-encoded or a moment later: the score of val or test is too good."""
    for image, twin, bits in _alike(data, looks, same_split=False):
        yield Found(
            "warning",
            image.where,
            f"in {image.split}, looks like {twin.where} in {twin.split} ({bits} of 64 bits differ)",
            "keep what belongs together in one split",
        )


def repeated_images(data: Dataset, looks: Looks) -> Iterator[Found]:
    """It weighs double in the loss and in the score, and two labellings of it may disagree."""
    first: dict[tuple[str, str], LabelledImage] = {}
    for image, look in zip(data.images, looks, strict=True):
        if look.content is None:
            continue
        twin = first.setdefault((image.split, look.content), image)
        if twin is not image:
            what = f"the same image as {twin.where}, both in {image.split}"
            yield Found("note", image.where, what, "remove one of the two")


def similar_images_in_one_split(data: Dataset, looks: Looks) -> Iterator[Found]:
    """The split is smaller than it seems: such images teach, and score, the same thing."""
    for image, twin, bits in _alike(data, looks, same_split=True):
        what = f"in {image.split}, looks like {twin.where} ({bits} of 64 bits differ)"
        yield Found("note", image.where, what, "thin out the video, or remove one of the two")


def video_frames_in_two_splits(data: Dataset, looks: Looks) -> Iterator[Found]:
    """A frame differs from the next by noise: val then repeats train, and its score is too good.

    Frames are neighbours by name and number that look alike. Where blocks of a video meet, one pair
    of them cannot be helped.
    """
    for stem, frames in _numbered(data, looks).items():
        pairs = list(pairwise(frames))
        divided = [
            (a, b) for (a, x), (b, y) in pairs if a.split != b.split and _is_next_frame(x, y)
        ]
        if divided:
            before, after = divided[0]
            yield Found(
                "warning" if len(divided) > UNAVOIDABLE * len(pairs) else "note",
                stem,
                f"{len(divided)} of {len(pairs)} neighbouring frames are in two splits, the first: "
                f"{before.image_id} ({before.split}) and {after.image_id} ({after.split})",
                "split by whole videos, or in blocks: GeneratedSplit with `group` and `block`",
            )


def _alike(
    data: Dataset, looks: Looks, *, same_split: bool
) -> Iterator[tuple[LabelledImage, LabelledImage, int]]:
    """Images, the most similar earlier one, and the bits between them; equal files aside."""
    splits = [image.split for image in data.images]
    hashes = [look.phash for look in looks]
    nearest, bits = nearest_before(hashes, splits, same_group=same_split)
    for i, j, distance in zip(range(len(hashes)), nearest.tolist(), bits.tolist(), strict=True):
        if distance <= LOOK_ALIKE and looks[i].content != looks[j].content:
            yield data.images[i], data.images[j], distance


def _numbered(data: Dataset, looks: Looks) -> dict[str, list[tuple[LabelledImage, Look]]]:
    """Images by their name without its last number, in the order of the numbers."""
    groups: dict[str, list[tuple[LabelledImage, Look]]] = {}
    for image, look in zip(data.images, looks, strict=True):
        if match := re.fullmatch(r"(.*?)\d+(\D*)", image.image_id):
            groups.setdefault("*".join(match.groups()), []).append((image, look))
    return {
        stem: sorted(group, key=lambda pair: natural(pair[0].image_id))
        for stem, group in groups.items()
    }


def _is_next_frame(first: Look, second: Look) -> bool:
    """Of equal files the check for them tells."""
    if first.phash is None or second.phash is None or first.content == second.content:
        return False
    return differing_bits(first.phash, second.phash) <= NEIGHBOURS
