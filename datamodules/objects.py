"""The objects of an image on its way to the network: how they move, and which of them stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from datamodules import affine as maps
from datamodules.affine import Affine
from datamodules.sources.source import Source
from detectors.errors import ConfigError, DataError
from detectors.structures import Frame, Target

Boxes = Float[np.ndarray, "n 4"]

OUTLINES = {"box": maps.hulls, "ellipse": maps.ellipse_hulls}

_ROUNDING = 1e-3
"""px a point may lie outside and still count as on the border; a flip in float32 is that exact."""


@dataclass(slots=True)
class Sample:
    """One input image, RGB, with its target in input px, and the objects each step dropped."""

    image: UInt8[np.ndarray, "h w 3"]
    target: Target
    dropped: dict[str, int]


class Keep:
    """Which objects stay in a sample, once moved and cut at the edge of what is seen, and how.

    Args:
        min_visibility: share of the moved box's area that is seen, 0-1.
        min_side: of what is seen of the box, input px; nothing without area stays.
        max_aspect: longer / shorter side of what is seen; None: any.
        centre_inside: the centre of the whole box must be seen.
        outline: what fills the box of an object, `box` or `ellipse`. Turned by other than right
            angles, an ellipse has the smaller box, which fits animals better: a box around a box
            grows by up to 41 %.
    """

    def __init__(
        self,
        min_visibility: float = 0.1,
        min_side: float = 1.0,
        max_aspect: float | None = None,
        centre_inside: bool = False,
        outline: str = "box",
    ) -> None:
        if outline not in OUTLINES:
            raise ConfigError(
                f"datamodule.keep.outline={outline} is unknown: choose {', '.join(OUTLINES)}"
            )
        if not 0 <= min_visibility <= 1 or min_side < 0 or (max_aspect or 1) < 1:
            raise ConfigError(
                f"datamodule.keep with min_visibility={min_visibility}, min_side={min_side}, "
                f"max_aspect={max_aspect}: a share of 0-1, px from 0 on, and a ratio from 1 on"
            )
        self.min_visibility = min_visibility
        self.min_side = min_side
        self.max_aspect = max_aspect
        self.centre_inside = centre_inside
        self.hulls = OUTLINES[outline]
        """From an affine map and boxes to the boxes afterwards."""

    def __call__(self, whole: Boxes, seen: Boxes) -> Bool[np.ndarray, " n"]:
        """`whole` and `seen` are the moved boxes before and after the cut, xyxy in input px."""
        (width, height), (whole_width, whole_height) = _sides(seen), _sides(whole)
        shorter = np.minimum(width, height)
        stays = (shorter > 0) & (shorter >= self.min_side)
        stays &= width * height >= self.min_visibility * whole_width * whole_height
        if self.max_aspect is not None:
            stays &= np.maximum(width, height) <= self.max_aspect * shorter
        if self.centre_inside:
            centres = (whole[:, :2] + whole[:, 2:]) / 2
            stays &= ((centres >= seen[:, :2]) & (centres <= seen[:, 2:])).all(axis=1)
        return stays


def moved(
    target: Target,
    affine: Affine,
    region: Float[np.ndarray, " 4"],
    keep: Keep,
    flip_pairs: Sequence[Sequence[int]] = (),
) -> Target:
    """The objects mapped by `affine` and cut to `region` (xyxy, px); those that do not stay go.

    Keypoints outside `region` become absent (0, 0, 0); in a mirrored image `flip_pairs` trade
    places. The frame records the map; `area` stays that of the original object.
    """
    # numpy throughout: on so few numbers torch takes many times as long
    whole = keep.hulls(affine, target.boxes.numpy())
    seen = np.minimum(np.maximum(whole, region[[0, 1, 0, 1]]), region[[2, 3, 2, 3]])
    stays = keep(whole, seen)
    frame, total = target.frame, maps.after(affine, target.frame.affine.numpy())
    result = replace(
        target,
        boxes=_tensor(seen),
        keypoints=_moved_keypoints(target.keypoints, affine, region, flip_pairs),
        frame=Frame(frame.image_id, frame.original_hw, _tensor(total)),
    )
    return result if stays.all() else _selected(result, stays)


def joined(targets: Sequence[Target]) -> Target:
    """The objects of all; the frame is that of the first."""
    keypoints = [t.keypoints for t in targets if t.keypoints is not None]
    return Target(
        boxes=torch.cat([t.boxes for t in targets]),
        labels=torch.cat([t.labels for t in targets]),
        crowd=torch.cat([t.crowd for t in targets]),
        difficult=torch.cat([t.difficult for t in targets]),
        area=torch.cat([t.area for t in targets]),
        frame=targets[0].frame,
        keypoints=torch.cat(keypoints) if keypoints else None,
    )


def read(source: Source, index: int, target: Target) -> UInt8[np.ndarray, "h w 3"]:
    """The image that `target` annotates.

    Raises:
        DataError: unreadable, or of another size than when its header was read.
    """
    image = source.image(index)
    (height, width), (h, w) = image.shape[:2], target.frame.original_hw
    if (height, width) != (h, w):
        raise DataError(
            source.where(index),
            f"decodes to {width}x{height} px (w x h) but its header says {w}x{h}",
            "re-encode the image",
        )
    return image


def _moved_keypoints(
    keypoints: Float[Tensor, "n k 3"] | None,
    affine: Affine,
    region: Float[np.ndarray, " 4"],
    flip_pairs: Sequence[Sequence[int]],
) -> Float[Tensor, "n k 3"] | None:
    if keypoints is None:
        return None
    xy, visibility = maps.apply(affine, keypoints[..., :2].numpy()), keypoints[..., 2:].numpy()
    low, high = region[:2], region[2:]
    inside = ((xy >= low - _ROUNDING) & (xy <= high + _ROUNDING)).all(axis=-1, keepdims=True)
    points = np.concatenate([np.clip(xy, low, high), visibility], axis=-1)
    points *= inside & (visibility > 0)
    if np.linalg.det(affine[:, :2]) < 0:
        order = list(range(points.shape[1]))
        for left, right in flip_pairs:
            order[left], order[right] = right, left
        points = points[:, order]
    return _tensor(points)


def _sides(boxes: Boxes) -> Float[np.ndarray, "2 n"]:
    """Widths and heights."""
    return (boxes[:, 2:] - boxes[:, :2]).T


def _selected(target: Target, stays: Bool[np.ndarray, " n"]) -> Target:
    """`target[stays]`, in a tenth of the time."""
    columns = ("boxes", "labels", "crowd", "difficult", "area", "keypoints")
    values = {name: getattr(target, name) for name in columns}
    rows = {k: torch.from_numpy(v.numpy()[stays]) for k, v in values.items() if v is not None}
    return replace(target, **rows)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
