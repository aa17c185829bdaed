"""The checks of what a source could not use: it was opened with `mistakes=drop_all`."""

from collections.abc import Iterator

from datamodules.inspect.dataset import Dataset
from datamodules.inspect.finding import Found
from datamodules.sources.checks import InvalidBox, InvalidPoint, UnknownClass, UnpairedFile
from datamodules.sources.images import UnreadableImage
from detectors.errors import DataError

_SPECIAL = (InvalidBox, InvalidPoint, UnknownClass, UnpairedFile, UnreadableImage)


def splits_that_cannot_be_opened(data: Dataset) -> Iterator[Found]:
    """Training and scoring end at the first of these, before they start."""
    for split, error in data.unopened.items():
        yield Found("error", f"{split}: {error.where}", error.what, error.remedy)


def impossible_boxes(data: Dataset) -> Iterator[Found]:
    """A box without area or outside the image makes the loss infinite, or teaches background."""
    yield from _left_out(data, InvalidBox)


def impossible_points(data: Dataset) -> Iterator[Found]:
    """A point that no image can hold pulls every other one towards it."""
    yield from _left_out(data, InvalidPoint)


def unknown_classes(data: Dataset) -> Iterator[Found]:
    """Objects of a class that nobody declared would be trained as background."""
    yield from _left_out(data, UnknownClass)


def images_or_labels_alone(data: Dataset) -> Iterator[Found]:
    """An image whose labels are lost looks like an image without objects, and teaches misses."""
    yield from _left_out(data, UnpairedFile)


def unusable_annotations(data: Dataset) -> Iterator[Found]:
    """What cannot be read cannot be trained on; training ends there unless it is told to go on."""
    yield from (
        Found("error", e.where, e.what, e.remedy)
        for e in _dropped(data)
        if not isinstance(e, _SPECIAL)
    )


ALL = (
    splits_that_cannot_be_opened,
    images_or_labels_alone,
    unusable_annotations,
    unknown_classes,
    impossible_boxes,
    impossible_points,
)


def _left_out(data: Dataset, kind: type[DataError]) -> Iterator[Found]:
    yield from (
        Found("error", e.where, e.what, e.remedy) for e in _dropped(data) if isinstance(e, kind)
    )


def _dropped(data: Dataset) -> Iterator[DataError]:
    for source in data.sources.values():
        yield from source.dropped
