"""SimOTA image by image, object by object, as it is usually written.

The other side of `lineup benchmark families`, and the oracle of the tests. Not used in training.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from detectors.families.yolov7_raw import Level, YOLOv7Raw
from detectors.ops.coders import CellCoder
from detectors.structures import Target

MAX_RATIO, MOST, IOU_WEIGHT = 4.0, 10, 3.0


@torch.no_grad()
def plain_ota(raw: YOLOv7Raw, targets: Sequence[Target]) -> list[tuple[int, int, int]]:
    """(image, prior, object) of every positive prior, sorted."""
    return sorted(
        (image, prior, gt)
        for image, target in enumerate(targets)
        for prior, gt in _of_image(raw, image, target)
    )


def near_priors(levels: Sequence[Level], box: Sequence[float]) -> set[int]:
    """The candidates of one object: by the shape of the anchors, then by place."""
    found: set[int] = set()
    start = 0
    x1, y1, x2, y2 = box
    for level in levels:
        x, y = (x1 + x2) / 2 / level.stride, (y1 + y2) / 2 / level.stride
        cells = [(int(y), int(x))]
        cells += [(int(y), int(x) - 1)] if x % 1 < 0.5 and x > 1 else []
        cells += [(int(y), int(x) + 1)] if x % 1 > 0.5 and x < level.columns - 1 else []
        cells += [(int(y) - 1, int(x))] if y % 1 < 0.5 and y > 1 else []
        cells += [(int(y) + 1, int(x))] if y % 1 > 0.5 and y < level.rows - 1 else []
        for number, (width, height) in enumerate(level.sizes):
            ratios = ((x2 - x1) / width, (y2 - y1) / height)
            if max(max(r, 1 / r) if r > 0 else MAX_RATIO for r in ratios) >= MAX_RATIO:
                continue
            for row, column in cells:
                row, column = min(row, level.rows - 1), min(column, level.columns - 1)
                cell = row * level.columns + column
                found.add(start + cell * len(level.sizes) + number)
        start += len(level)
    return found


def _of_image(raw: YOLOv7Raw, image: int, target: Target) -> list[tuple[int, int]]:
    trained = [i for i in range(len(target)) if not (target.crowd[i] or target.difficult[i])]
    near = set().union(*(near_priors(raw.levels, target.boxes[i].tolist()) for i in trained))
    priors = torch.tensor(sorted(near), dtype=torch.long, device=raw.codes.device)
    if len(priors) == 0:
        return []
    boxes = CellCoder().decode(raw.codes[image, priors], raw.anchors[priors], raw.strides[priors])
    iou = box_iou(target.boxes[trained], boxes)
    cost = _class_cost(raw, image, priors, target.labels[trained]) - IOU_WEIGHT * (iou + 1e-8).log()
    matching = torch.zeros_like(cost)
    for gt in range(len(trained)):
        count = max(1, int(iou[gt].topk(min(MOST, len(priors))).values.sum().item()))
        matching[gt, cost[gt].topk(min(count, len(priors)), largest=False).indices] = 1
    several = matching.sum(0) > 1
    if several.any():
        cheapest = cost[:, several].argmin(0)
        matching[:, several] = 0
        matching[cheapest, several] = 1
    return [(int(priors[p]), trained[int(gt)]) for gt, p in matching.nonzero()]


def _class_cost(raw: YOLOv7Raw, image: int, priors: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of sqrt(class x objectness) with the one-hot class of each object."""
    probability = raw.objectness[image, priors].sigmoid()[:, None]
    classes = raw.class_logits.shape[2]
    if classes > 1:
        probability = probability * raw.class_logits[image, priors].sigmoid()
    root = probability.sqrt().clamp(1e-6, 1 - 1e-6)
    goal = F.one_hot(labels, classes).float()[:, None].expand(-1, len(priors), -1)
    said = root[None].expand(len(labels), -1, -1)
    return F.binary_cross_entropy(said, goal, reduction="none").sum(-1)
