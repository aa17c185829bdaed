"""Which detection answers for which object, by their boxes."""

import numpy as np
from jaxtyping import Int
from torchvision.ops import box_iou

from detectors.structures import Detections, Target


def match_boxes(
    detections: Detections, target: Target, min_iou: float
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Pairs of one image as two columns of indices, objects and detections, sorted by object.

    Greedy, as COCO does it: detections by falling score (the earlier at equal scores) each take the
    free object of their class that they overlap most, if the IoU is `min_iou` or more. Objects that
    are not scored (crowd, difficult, without points) take part as well: else their detections would
    go to a neighbour.
    """
    iou = box_iou(detections.boxes.double(), target.boxes.double())
    same_class = detections.labels[:, None] == target.labels[None]
    free = iou.where(same_class & (iou >= min_iou), -1.0).numpy()  # (m, n)
    pairs = []
    for found in (-detections.scores).argsort(stable=True).tolist() if len(target) else ():
        best = int(free[found].argmax())
        if free[found, best] >= 0:
            pairs.append((best, found))
            free[:, best] = -1.0
    objects, chosen = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    return objects, chosen
