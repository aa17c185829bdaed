"""Random animals with three points, and detectors that find them more or less."""

from dataclasses import replace

import torch

from detectors.structures import DatasetInfo, Detections, Target
from tests.callbacks.toy import truth

INFO = DatasetInfo(
    "animals",
    ["mouse", "rat", "never seen"],
    keypoint_names=["head", "body", "tail"],
    skeleton=[[0, 1], [1, 2]],
    oks_sigmas=[0.026, 0.07, 0.107],
)


def animal(head: tuple[float, float], tail: tuple[float, float], v: tuple = (2, 2, 2)) -> Target:
    """One mouse on a line from head to tail, its box 10 px wider on every side."""
    ends = torch.tensor([head, tail])
    points = torch.stack([ends[0], ends.mean(dim=0), ends[1]])
    box = torch.cat([ends.amin(dim=0) - 10, ends.amax(dim=0) + 10])
    target = truth("a", box[None], hw=(512, 512))
    target.keypoints = torch.cat([points, torch.tensor(v)[:, None]], dim=1)[None]
    return target


def as_found(target: Target, score: float = 0.9) -> Detections:
    """A detector that knows the answer."""
    scores = torch.full((len(target),), score)
    return Detections(target.boxes, scores, target.labels, target.frame, target.keypoints)


def all_found(targets: list[Target]) -> list[Detections]:
    """A detector that knows the answer, and is silent where points are unknown."""
    return [as_found(t)[(t.keypoints[..., 2] > 0).any(dim=1)] for t in targets]  # pyright: ignore


def nothing_found(target: Target) -> Detections:
    return as_found(target)[torch.zeros(len(target), dtype=torch.bool)]


def random_animals(seed: int, count: int = 12) -> tuple[list[Detections], list[Target]]:
    """Absent, hidden and visible points; crowd, difficult, pointless and missed objects; false
    detections, wrong classes and equal scores.
    """
    random = torch.Generator().manual_seed(seed)
    targets = [_random_target(str(index), random) for index in range(count)]
    return [_around(target, random) for target in targets], targets


def _random_target(image_id: str, random: torch.Generator) -> Target:
    n = int(torch.randint(0, 6, (1,), generator=random))
    corner = 300 * torch.rand(n, 2, generator=random)
    size = 8 + 200 * torch.rand(n, 2, generator=random) ** 2
    labels = torch.randint(0, 2, (n,), generator=random)
    target = truth(image_id, torch.cat([corner, corner + size], dim=1), labels, (512, 512))
    target.crowd = torch.rand(n, generator=random) < 0.1
    target.difficult = torch.rand(n, generator=random) < 0.1
    target.area = target.area * (0.3 + 0.7 * torch.rand(n, generator=random))  # of a mask, say
    xy = corner[:, None] + size[:, None] * torch.rand(n, 3, 2, generator=random)
    v = torch.randint(0, 3, (n, 3, 1), generator=random).float()
    v[torch.rand(n, generator=random) < 0.15] = 0.0
    target.keypoints = torch.cat([xy * (v > 0), v], dim=-1)
    return target


def _around(target: Target, random: torch.Generator) -> Detections:
    repeats = int(torch.randint(0, 4, (1,), generator=random))
    assert target.keypoints is not None
    boxes, points = target.boxes.repeat(repeats, 1), target.keypoints.repeat(repeats, 1, 1)
    size = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes + 0.05 * size.repeat(1, 2) * torch.randn(boxes.shape, generator=random)
    off = 0.04 * size[:, None] * torch.randn((len(boxes), 3, 2), generator=random)
    points = torch.cat(
        [points[..., :2] + off, torch.rand(len(boxes), 3, 1, generator=random)], dim=-1
    )
    labels = target.labels.repeat(repeats)
    labels = torch.where(torch.rand(len(labels), generator=random) < 0.15, 1 - labels, labels)
    scores = (20 * torch.rand(len(labels), generator=random)).round() / 20
    order = scores.argsort(descending=True, stable=True)
    return Detections(boxes, scores, labels, target.frame, points)[order]


def without_points(found: list[Detections]) -> list[Detections]:
    return [replace(each, keypoints=None) for each in found]
