"""Which detection answers for which object, by their boxes."""

import numpy as np
from jaxtyping import Bool, Int
from torchvision.ops import box_iou

from detectors.structures import Detections, Target


def match_boxes(
    detections: Detections, target: Target, min_iou: float
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Pairs of one image as two columns of indices, objects and detections, sorted by object.

    Greedy, as COCO does it: detections by falling score (the earlier at equal scores) each take the
    free object of their class that they overlap most (the later of equals), if the IoU is `min_iou`
    or more. Objects that are not scored (crowd, difficult, without points) take part as well: else
    their detections would go to a neighbour.
    """
    iou = box_iou(detections.boxes.double(), target.boxes.double())
    fits = (detections.labels[:, None] == target.labels[None]) & (iou >= min_iou)
    free = iou.where(fits, -1.0).numpy()  # (m, n)
    order = (-detections.scores).argsort(stable=True)
    last, pairs = len(target) - 1, []
    for found in order[fits.any(dim=1)[order]].tolist():
        best = last - int(free[found, ::-1].argmax())
        if free[found, best] >= 0:
            pairs.append((best, found))
            free[:, best] = -1.0
    objects, chosen = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    return objects, chosen


def judge(
    detections: Detections, target: Target, min_iou: float
) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Which detections of one image hit an object, and which are mistakes; some are neither.

    The rule of COCO. Hits are the pairs of `match_boxes` with the objects that are neither crowd
    nor difficult. A detection that hits none of them, and of whose own area a share of `min_iou` or
    more lies in a crowd or difficult object of its class, is neither: such an object may explain
    any number of detections.
    """
    hits = np.zeros(len(detections), np.bool_)
    ignored = target.crowd | target.difficult
    if not ignored.any():
        hits[match_boxes(detections, target, min_iou)[1]] = True
        return hits, ~hits
    hits[match_boxes(detections, target[~ignored], min_iou)[1]] = True
    return hits, ~hits & ~_inside(detections, target[ignored], min_iou)


def _inside(detections: Detections, regions: Target, min_share: float) -> Bool[np.ndarray, " m"]:
    boxes, others = detections.boxes.double().numpy(), regions.boxes.double().numpy()
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])  # (m, n, 2)
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)[:, None]
    same_class = (detections.labels[:, None] == regions.labels[None]).numpy()
    return (same_class & (area > 0) & (shared >= min_share * area)).any(axis=1)
