"""Head-tail reversals: how often a body is turned round between consecutive frames of a video.

At a usual frame rate no animal turns by more than 90 degrees from one frame to the next: in one of
the two, head and tail are exchanged. Needs no truth, with which `swap_rate` of `PCK` compares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from callbacks.metrics.points import BODY, body_ends, opposed
from detectors.structures import Detections


@dataclass(slots=True, frozen=True)
class Reversals:
    """Of a video, by its best-scored detections: those of one animal."""

    frames: list[int]
    """Positions of those whose body points more than 90° away from that of the frame before."""
    pairs: int
    """How many pairs of consecutive frames have a body each."""

    @property
    def share(self) -> float | None:
        """Of the pairs; None: there are none."""
        return len(self.frames) / self.pairs if self.pairs else None


def head_tail_reversals(frames: Sequence[Detections], body: Sequence[int] = BODY) -> Reversals:
    """What a video's detections, frame by frame and best first, say of the body's direction.

    `body`: positions of its two ends among the keypoints, as of `PCK`; what a detector says of a
    point's visibility does not count. A frame without detection interrupts: those beside it are no
    pair. A body that stays exchanged counts where it turns, not in every frame.
    """
    directions = _directions(frames, body)
    turned = opposed(directions[:-1], directions[1:])
    at = np.flatnonzero(turned == 1) + 1
    return Reversals(at.tolist(), int((~np.isnan(turned)).sum()))


def _directions(frames: Sequence[Detections], body: Sequence[int]) -> Float[np.ndarray, "frames 2"]:
    """From the first to the last end of the body, px; NaN: no detection, or no direction."""
    directions = np.full((len(frames), 2), np.nan)
    found = [index for index, detections in enumerate(frames) if len(detections)]
    if found:
        best = np.stack([_best_points(frames[index]) for index in found])  # (found, k, xy)
        ends = best[:, body_ends(body, best.shape[1])]
        directions[found] = ends[:, 1] - ends[:, 0]
    nowhere = ~np.isfinite(directions).all(axis=1) | ~directions.any(axis=1)
    directions[nowhere] = np.nan
    return directions


def _best_points(detections: Detections) -> Float[np.ndarray, "k 2"]:
    assert detections.keypoints is not None
    best = int(detections.scores.argmax())
    return detections.keypoints[best, :, :2].double().numpy()
