"""What the checks and the counts look at: all images of all splits, with their annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.detection import DetectionDataModule
from datamodules.sources.source import Source
from detectors.errors import DataError
from detectors.structures import DatasetInfo, Target


@dataclass(slots=True, frozen=True)
class LabelledImage:
    """One image of one split; `target` is in original px, `where` is its name in a message."""

    split: str
    index: int
    where: str
    file: Path | None
    target: Target

    @property
    def image_id(self) -> str:
        """Its name in the split."""
        return self.target.frame.image_id

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width by the file's header, px."""
        return self.target.frame.original_hw


@dataclass(slots=True, frozen=True)
class Dataset:
    """The splits that could be opened, their images in the order train, val, test.

    `input_hw` is the height and width the images are letterboxed into, px; `unopened` says why a
    split could not be opened.
    """

    info: DatasetInfo
    input_hw: tuple[int, int]
    sources: Mapping[str, Source]
    images: Sequence[LabelledImage]
    unopened: Mapping[str, DataError] = field(default_factory=dict)

    def split(self, name: str) -> list[LabelledImage]:
        """The images of one split."""
        return [image for image in self.images if image.split == name]


def read_dataset(datamodule: DetectionDataModule, splits: Sequence[str] | None = None) -> Dataset:
    """The annotations of the splits (None: of all); no image is decoded.

    Raises:
        DataError: none of the splits can be opened.
    """
    sources: dict[str, Source] = {}
    unopened: dict[str, DataError] = {}
    for split in datamodule.splits if splits is None else splits:
        try:
            sources[split] = datamodule.source(split)
        except DataError as error:
            unopened[split] = error
    if not sources and unopened:
        raise next(iter(unopened.values()))
    images = [image for split, source in sources.items() for image in _images(split, source)]
    return Dataset(datamodule.info, datamodule.input_hw, sources, images, unopened)


def _images(split: str, source: Source) -> list[LabelledImage]:
    return [
        LabelledImage(split, i, source.where(i), source.file(i), source.target(i))
        for i in range(len(source))
    ]
