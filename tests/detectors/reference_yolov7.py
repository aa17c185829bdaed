"""YOLOv7's loss as its code computes it: level by level, object by object, in cells.

Written from the description in words, with Python loops, to compare ours with.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss

from detectors.families.yolov7_raw import Level, YOLOv7Raw
from detectors.structures import Target

Positive = tuple[int, int, int, int, int]
"""Image, object, row, column, anchor."""


def positives(level: Level, targets: list[Target]) -> list[Positive]:
    """Rule of ComputeLoss: shape within a factor of 4, own cell and up to two neighbours."""
    found = []
    for image, target in enumerate(targets):
        for number, box in enumerate(target.boxes.tolist()):
            x1, y1, x2, y2 = (side / level.stride for side in box)
            x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            places = [(0.0, 0.0)]
            places += [(0.5, 0.0)] if x % 1 < 0.5 and x > 1 else []
            places += [(0.0, 0.5)] if y % 1 < 0.5 and y > 1 else []
            right, below = level.columns - x, level.rows - y
            places += [(-0.5, 0.0)] if right % 1 < 0.5 and right > 1 else []
            places += [(0.0, -0.5)] if below % 1 < 0.5 and below > 1 else []
            for anchor, (aw, ah) in enumerate(level.sizes):
                rw, rh = w * level.stride / aw, h * level.stride / ah
                if max(rw, 1 / rw, rh, 1 / rh) < 4:
                    for dx, dy in places:
                        row = min(max(int(y - dy), 0), level.rows - 1)
                        column = min(max(int(x - dx), 0), level.columns - 1)
                        found.append((image, number, row, column, anchor))
    return found


def loss_by_hand(
    raw: YOLOv7Raw, targets: list[Target], level_weights: tuple[float, ...] = (4.0, 1.0, 0.4)
) -> dict[str, Tensor]:
    """Terms of ComputeLoss before gains and the factor of the batch."""
    classes = raw.class_logits.shape[2]
    terms = {name: raw.codes.new_zeros(()) for name in ("box", "objectness", "class")}
    start = 0
    for level, weight in zip(raw.levels, level_weights, strict=True):
        grid = (len(targets), level.rows, level.columns, len(level.sizes))
        part = slice(start, start + len(level))
        codes = raw.codes[:, part].reshape(*grid, 4)
        objectness = raw.objectness[:, part].reshape(grid)
        logits = raw.class_logits[:, part].reshape(*grid, classes)
        goal = torch.zeros_like(objectness)
        boxes, wrong = [], []
        for image, number, row, column, anchor in positives(level, targets):
            s = codes[image, row, column, anchor].sigmoid()
            anchor_wh = torch.tensor(level.sizes[anchor]) / level.stride
            said = _corners(2 * s[:2] - 0.5, (2 * s[2:]) ** 2 * anchor_wh)
            x1, y1, x2, y2 = (targets[image].boxes[number] / level.stride).unbind()
            centre = torch.stack([(x1 + x2) / 2 - column, (y1 + y2) / 2 - row])
            wanted = _corners(centre, torch.stack([x2 - x1, y2 - y1]))
            error = complete_box_iou_loss(said[None], wanted[None])[0]
            boxes.append(error)
            goal[image, row, column, anchor] = (1 - error).detach().clamp(min=0)
            label = F.one_hot(targets[image].labels[number], classes).float()
            said_class = logits[image, row, column, anchor]
            wrong.append(F.binary_cross_entropy_with_logits(said_class, label))
        if boxes:
            terms["box"] = terms["box"] + torch.stack(boxes).mean()
            if classes > 1:
                terms["class"] = terms["class"] + torch.stack(wrong).mean()
        bce = F.binary_cross_entropy_with_logits(objectness, goal)
        terms["objectness"] = terms["objectness"] + weight * bce
        start += len(level)
    return terms


def _corners(centre: Tensor, size: Tensor) -> Tensor:
    """In one place for all boxes of a cell: the loss does not see where it is."""
    moved = centre + 100  # torchvision's wants positive corners
    return torch.cat([moved - size / 2, moved + size / 2])
