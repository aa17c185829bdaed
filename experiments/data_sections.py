"""What `lineup data stats` shows, once for the text and once for the page: rows, split by split."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from datamodules.inspect.counts import Counts

MOST_ROWS = 15
"""Rows of objects per image, above which neighbouring numbers share a row; also image sizes."""


@dataclass(slots=True, frozen=True)
class Section:
    """Counts of one kind: label and a number per split; `totals` are what 100 % would be."""

    title: str
    unit: str
    totals: Sequence[int]
    rows: Sequence[tuple[str, Sequence[int]]]


def totals(counts: Sequence[Counts]) -> list[list[str]]:
    """Label, and a text per split."""
    return [
        ["images", *(f"{c.images}" for c in counts)],
        ["images without objects", *(f"{c.empty}" for c in counts)],
        ["objects", *(f"{c.objects}" for c in counts)],
        ["objects per image, mean", *(f"{c.mean_per_image:.2f}" for c in counts)],
        ["objects per image, most", *(f"{max(c.per_image)}" for c in counts)],
        ["crowd", *(f"{c.crowd}" for c in counts)],
        ["difficult", *(f"{c.difficult}" for c in counts)],
    ]


def sections(counts: Sequence[Counts], size_bins: Mapping[str, int]) -> list[Section]:
    """Classes, object sizes, objects per image, image sizes; keypoints where there are some."""
    objects, images = [c.objects for c in counts], [c.images for c in counts]
    names = {name: [c.classes[name] for c in counts] for name in counts[0].classes}
    found = [
        Section("classes", "objects", objects, list(names.items())),
        Section("object size", "objects by sqrt(area)", objects, _bins(counts, size_bins)),
        Section("objects per image", "images", images, _per_image(counts)),
        Section("image size", "images by width x height, px", images, _sizes(counts)),
    ]
    if counts[0].keypoints:
        found.append(Section("keypoints", "objects", objects, _keypoints(counts)))
    return found


def _bins(counts: Sequence[Counts], size_bins: Mapping[str, int]) -> list[tuple[str, list[int]]]:
    edges = pairwise([*size_bins.values(), math.inf])
    return [
        (f"{name} ({_interval(low, high)} px)", [c.bins[name] for c in counts])
        for name, (low, high) in zip(size_bins, edges, strict=True)
    ]


def _interval(low: float, high: float) -> str:
    return f"from {low:g}" if high == math.inf else f"{low:g} to {high:g}"


def _per_image(counts: Sequence[Counts]) -> list[tuple[str, list[int]]]:
    """Every number of objects on its own, or ranges of equal width."""
    most = max(max(c.per_image) for c in counts)
    width = math.ceil((most + 1) / MOST_ROWS)
    rows: list[tuple[str, list[int]]] = []
    for low in range(0, most + 1, width):
        label = f"{low}" if width == 1 else f"{low} to {low + width - 1}"
        within = range(low, low + width)
        rows.append((label, [sum(c.per_image.get(n, 0) for n in within) for c in counts]))
    return rows


def _sizes(counts: Sequence[Counts]) -> list[tuple[str, list[int]]]:
    """The most frequent ones, and all others together."""
    everywhere = sum((Counter(c.sizes) for c in counts), Counter())
    common = [hw for hw, _ in everywhere.most_common(MOST_ROWS)]
    rows = [(f"{hw[1]}x{hw[0]}", [c.sizes.get(hw, 0) for c in counts]) for hw in common]
    if len(everywhere) > len(common):
        others = [c.images - sum(c.sizes.get(hw, 0) for hw in common) for c in counts]
        rows.append((f"{len(everywhere) - len(common)} other sizes", others))
    return rows


def _keypoints(counts: Sequence[Counts]) -> list[tuple[str, list[int]]]:
    return [
        (f"{name} {how}", [c.keypoints[name][level] for c in counts])
        for name in counts[0].keypoints
        for level, how in enumerate(("absent", "hidden", "visible"))
    ]
