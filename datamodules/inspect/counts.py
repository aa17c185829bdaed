"""What a dataset holds, in numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.inspect.dataset import Dataset, LabelledImage

ABSENT, HIDDEN, VISIBLE = 0, 1, 2
"""COCO's visibility of a keypoint."""


@dataclass(slots=True, frozen=True)
class Counts:
    """The numbers of one split.

    `per_image`: objects in an image -> images; `classes`: name -> objects, in the order of the
    dataset; `sizes`: (height, width) in px -> images; `bins`: size bin -> objects; `keypoints`:
    name -> objects where it is absent, hidden, visible.
    """

    split: str
    images: int
    objects: int
    per_image: Mapping[int, int]
    classes: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    bins: Mapping[str, int]
    crowd: int
    difficult: int
    keypoints: Mapping[str, tuple[int, int, int]]

    @property
    def empty(self) -> int:
        """Images without objects."""
        return self.per_image.get(0, 0)

    @property
    def mean_per_image(self) -> float:
        """Objects per image."""
        return self.objects / self.images


def count(data: Dataset, size_bins: Mapping[str, int]) -> list[Counts]:
    """Counts per split.

    `size_bins`: name -> the sqrt(area), in original px, from which it starts; rising, the first 0.
    """
    return [_count(split, data.split(split), data, size_bins) for split in data.sources]


def _count(
    split: str, images: Sequence[LabelledImage], data: Dataset, size_bins: Mapping[str, int]
) -> Counts:
    targets = [image.target for image in images]
    areas = np.concatenate([target.area.numpy() for target in targets])
    labels = Counter(np.concatenate([target.labels.numpy() for target in targets]).tolist())
    starts = np.fromiter(size_bins.values(), np.float64)
    bins = np.bincount(np.digitize(np.sqrt(areas), starts[1:]), minlength=len(starts))
    return Counts(
        split,
        images=len(images),
        objects=len(areas),
        per_image=Counter(len(target) for target in targets),
        classes={name: labels[label] for label, name in enumerate(data.info.class_names)},
        sizes=Counter(image.hw for image in images),
        bins=dict(zip(size_bins, bins.tolist(), strict=True)),
        crowd=sum(int(target.crowd.sum()) for target in targets),
        difficult=sum(int(target.difficult.sum()) for target in targets),
        keypoints=_visibilities(images, data.info.keypoint_names),
    )


def _visibilities(
    images: Sequence[LabelledImage], names: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """Keypoint -> how many objects lack it, hide it, show it."""
    rows = [i.target.keypoints[..., 2].numpy() for i in images if i.target.keypoints is not None]
    if not names or not rows:
        return {}
    levels = np.concatenate(rows).T  # (k, n)
    return {
        name: (int((v == ABSENT).sum()), int((v == HIDDEN).sum()), int((v == VISIBLE).sum()))
        for name, v in zip(names, levels, strict=True)
    }
