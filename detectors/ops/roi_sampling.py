"""Features of regions of interest: RoIAlign whose result is differentiable in the boxes, too."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def sample_rois(
    features: Float[Tensor, "b c h w"],
    boxes: Float[Tensor, "r 4"],
    image: Int[Tensor, " r"],
    size: int,
    scale: float,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Float[Tensor, "r c size size"]:
    """`size` x `size` bins per box, each the mean of `sampling_ratio`² bilinear samples.

    The same numbers as torchvision's `roi_align`, which has no gradient for the boxes. `boxes` are
    xyxy in px of the input, `image` is the row of `features` each belongs to, `scale` is 1 /
    stride, and `aligned` shifts by half a cell of the map.

    Paper: He et al. 2017, section 3 (RoIAlign); Ren et al. 2015, section 3.2 (iii) asks for the
    gradient.
    """
    corners = boxes * scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1.0)  # at least one cell
    count = size * sampling_ratio
    steps = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count
    x, y = (corners[:, None, :2] + extent[:, None] * steps[:, None]).unbind(-1)  # (r, count) each
    height, width = features.shape[-2:]
    grid = torch.stack(
        torch.broadcast_tensors(_unit(x, width)[:, None, :], _unit(y, height)[:, :, None]), dim=-1
    )  # (r, count, count, xy)
    seen = _near(y, height)[:, None, :, None] & _near(x, width)[:, None, None, :]
    owned = [(image == row).nonzero()[:, 0] for row in range(len(features))]
    parts = [  # one call per image: no copy of its map for every box
        F.avg_pool2d(_sample(features[row], grid[mine]) * seen[mine], sampling_ratio)
        for row, mine in enumerate(owned)
    ]
    return torch.cat(parts)[torch.cat(owned).argsort()]


def _near(position: Tensor, cells: int) -> Tensor:
    """More than a cell outside of the map there is nothing."""
    return (position >= -1) & (position <= cells)


def _unit(position: Tensor, cells: int) -> Tensor:
    """Cell centres 0 to `cells` - 1 as -1 to 1, as `grid_sample` counts."""
    return position * (2 / max(cells - 1, 1)) - 1


def _sample(features: Float[Tensor, "c h w"], grid: Float[Tensor, "r n n 2"]) -> Tensor:
    """Bilinear samples (r, c, n, n) of one map; beyond its outer cells' centres, these cells."""
    flat = F.grid_sample(
        features[None], grid.flatten(0, 1)[None], padding_mode="border", align_corners=True
    )
    return flat[0].unflatten(1, (len(grid), grid.shape[1])).transpose(0, 1)
