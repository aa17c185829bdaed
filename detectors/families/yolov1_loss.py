"""YOLOv1's raw output and the sum-squared loss on it, term by term."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detectors.checks import check_choice
from detectors.ops.boxes import paired_iou
from detectors.ops.grid import GridCoder, first_in_cell
from detectors.structures import Losses, Target


@dataclass(slots=True)
class YOLOv1Raw:
    """What the network says of every cell (row, column) of the S x S grid, all linear outputs.

    `boxes` are coded as `GridCoder` does: x, y in the cell, w, h in its `size_units`; k boxes per
    cell.
    """

    class_scores: Float[Tensor, "b s s c"]
    confidence: Float[Tensor, "b s s k"]
    boxes: Float[Tensor, "b s s k 4"]


@dataclass(slots=True)
class GridObjects:
    """The n objects of a batch on the grid.

    `cell` counts through the batch: image * S² + row * S + column. `code` is `GridCoder`'s.
    `held`: the object is the first of its cell and trains it. `ignored`: crowd or difficult.
    """

    cell: Int[Tensor, " n"]
    code: Float[Tensor, "n 4"]
    label: Int[Tensor, " n"]
    held: Bool[Tensor, " n"]
    ignored: Bool[Tensor, " n"]


def place_on_grid(targets: Sequence[Target], coder: GridCoder) -> GridObjects:
    """Assigns every object of the batch to the cell of its centre; an earlier object wins."""
    cells_per_image = coder.grid**2
    boxes = torch.cat([target.boxes for target in targets])
    images = torch.cat([torch.full_like(t.labels, i) for i, t in enumerate(targets)]).long()
    ignored = torch.cat([target.crowd | target.difficult for target in targets])
    cell_in_image, code = coder.encode(boxes)
    cell = images * cells_per_image + cell_in_image
    return GridObjects(
        cell=cell,
        code=code,
        label=torch.cat([target.labels for target in targets]),
        held=first_in_cell(cell, ~ignored, len(targets) * cells_per_image),
        ignored=ignored,
    )


class YOLOv1Loss:
    """Terms `xy`, `wh`, `object`, `no_object`, `class`, unweighted, each a sum of squares.

    - `confidence_target`: of the responsible box, its IoU with the object, without gradient (`iou`:
      paper, darknet), or 1 (`one`).
    - `no_object_scope`: the confidences pulled to 0, of every box that is not responsible, also in
      cells with an object (`all_non_responsible`: the formula, darknet), or in `empty_cells` only
      (the report's prose).
    - `reduction`: `sum` over the batch as the paper writes, or its `mean` per image. Neither
      depends on the number of objects, so data-parallel ranks with different numbers of objects
      agree.

    Responsible is the box with the highest IoU; where none overlaps the object, the one with the
    nearest code (darknet: smallest rmse). A cell whose only objects are crowd or difficult takes
    part in no term.

    Paper: Redmon et al. 2016, section 2.2, equation 3. Weights 5, 5, 1, 0.5, 1 stand in the
    configuration.
    Differs: the root of a predicted width or height is `signed_root`, since linear outputs may be
    negative.
    """

    def __init__(
        self,
        *,
        coder: GridCoder,
        confidence_target: str = "iou",
        no_object_scope: str = "all_non_responsible",
        reduction: str = "sum",
    ) -> None:
        check_choice("confidence_target", confidence_target, ("iou", "one"))
        check_choice("no_object_scope", no_object_scope, ("all_non_responsible", "empty_cells"))
        check_choice("reduction", reduction, ("sum", "mean"))
        self.coder = coder
        self.confidence_target = confidence_target
        self.no_object_scope = no_object_scope
        self.reduction = reduction

    def __call__(self, raw: YOLOv1Raw, targets: Sequence[Target]) -> Losses:
        """Stats: mean `iou` of the responsible boxes, and `objects_lost` to a taken cell."""
        objects = place_on_grid(targets, self.coder)
        code, held = objects.code.to(raw.boxes), objects.held.to(raw.boxes)
        confidence = raw.confidence.flatten(0, 2)  # (cells, k)
        boxes = raw.boxes.flatten(0, 2)[objects.cell]  # (n, k, 4)
        best, iou = self._responsible(boxes, code)
        box = _pick(boxes, best)
        goal = iou if self.confidence_target == "iou" else torch.ones_like(iou)
        classes = torch.arange(raw.class_scores.shape[-1], device=code.device)
        errors = {
            "xy": box[:, :2] - code[:, :2],
            "wh": signed_root(box[:, 2:]) - signed_root(code[:, 2:]),
            "object": (_pick(confidence[objects.cell], best) - goal)[:, None],
            "class": raw.class_scores.flatten(0, 2)[objects.cell]
            - (objects.label[:, None] == classes).to(code),
        }
        terms = {name: (error.square() * held[:, None]).sum() for name, error in errors.items()}
        background = self._background(objects, best, confidence)
        terms["no_object"] = (confidence.square() * background).sum()
        divisor = len(targets) if self.reduction == "mean" else 1
        stats = {
            "iou": (iou * held).sum() / held.sum().clamp(min=1),
            "objects_lost": (~objects.held & ~objects.ignored).sum().to(code),
        }
        return Losses(terms={name: term / divisor for name, term in terms.items()}, stats=stats)

    @torch.no_grad()
    def _responsible(
        self, boxes: Float[Tensor, "n k 4"], code: Float[Tensor, "n 4"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
        """Per object, which of its cell's k boxes is responsible, and that box's IoU."""
        wanted = code[:, None]
        iou = paired_iou(self.coder.to_corners(boxes), self.coder.to_corners(wanted))
        nearest = (boxes - wanted).square().sum(-1).argmin(1)
        best = torch.where(iou.amax(1) > 0, iou.argmax(1), nearest)
        return best, _pick(iou, best)

    def _background(
        self, objects: GridObjects, best: Int[Tensor, " n"], confidence: Float[Tensor, "cells k"]
    ) -> Bool[Tensor, "cells k"]:
        """The boxes whose confidence should be 0."""
        cells, boxes_per_cell = confidence.shape
        slot = objects.cell * boxes_per_cell + best
        responsible = _any(objects.held, slot, confidence.numel()).view_as(confidence)
        taken = _any(objects.held, objects.cell, cells)
        silent = _any(objects.ignored, objects.cell, cells) & ~taken
        if self.no_object_scope == "empty_cells":
            silent = silent | taken
        return ~responsible & ~silent[:, None]


def signed_root(x: Float[Tensor, "*n"], linear_below: float = 1e-3) -> Float[Tensor, "*n"]:
    """sign(x) * √|x|, linear where |x| < `linear_below`: the gradient stays finite (at most 32).

    Rising everywhere, so that a negative width is pushed back, where a clamp would leave it without
    gradient. The linear part is below half a pixel of a 448 px image in either of `GridCoder`'s
    units.
    """
    size = x.abs()
    root = x.sign() * size.clamp(min=linear_below).sqrt()
    return torch.where(size < linear_below, x / linear_below**0.5, root)


def _pick(values: Float[Tensor, "n k *rest"], index: Int[Tensor, " n"]) -> Float[Tensor, "n *rest"]:
    return values[torch.arange(len(values), device=values.device), index]


def _any(flags: Bool[Tensor, " n"], slots: Int[Tensor, " n"], size: int) -> Bool[Tensor, " size"]:
    """Per slot, whether any of its entries is flagged."""
    counts = torch.zeros(size, dtype=torch.int, device=flags.device)
    return counts.index_add(0, slots, flags.int()) > 0
