"""Which priors answer for which objects: YOLOv7's two ways, for the whole batch at once."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detectors.families.yolov7_raw import Level, Objects, YOLOv7Raw
from detectors.ops.boxes import paired_iou
from detectors.ops.coders import CellCoder
from detectors.ops.grid import first_in_cell

LARGEST = 1 << 24
"""Pairs of objects and candidates that are compared at once; above it, image by image."""


@dataclass(slots=True)
class Assignment:
    """Slots of the l levels, m of each: `prior` answers for the object `gt` where `positive`.

    `gt` counts within the padded objects of the image.
    """

    prior: Int[Tensor, "b l m"]
    gt: Int[Tensor, "b l m"]
    positive: Bool[Tensor, "b l m"]


@dataclass(frozen=True, slots=True)
class AnchorRatio:
    """Every prior near an object whose anchor has about its shape is positive for it.

    1. The anchors whose width and height differ from the object's by a factor below `max_ratio`,
       on every level;
    2. each in the cell of the object's centre, in the neighbour on the nearer side (left if the
       centre lies in the left half), and in the one above or below likewise, where there is one.

    A prior may answer for several objects.

    Paper: Wang et al. 2022, reference code (ComputeLoss), as in YOLOv5.
    Differs: where a centre lies on the border of two cells, the reference counts its cell twice.
    """

    max_ratio: float = 4.0

    def __call__(self, raw: YOLOv7Raw, objects: Objects) -> Assignment:
        """Crowd and difficult objects, and padding, have no positive prior."""
        prior, near = self.candidates(raw.levels, objects)
        gt = torch.arange(prior.shape[1], device=prior.device)[:, None, None].expand_as(prior)
        positive = near & objects.trained[:, :, None, None]
        return Assignment(*(_by_level(x) for x in (prior, gt, positive)))

    def candidates(
        self, levels: list[Level], objects: Objects
    ) -> tuple[Int[Tensor, "b g l m"], Bool[Tensor, "b g l m"]]:
        """The priors of every object, and which of them satisfy both rules."""
        prior, near, start = [], [], 0
        for level in levels:
            of_level = self._on_level(level, objects.boxes)
            prior.append(of_level[0] + start)
            near.append(of_level[1])
            start += len(level)
        return torch.stack(prior, dim=2), torch.stack(near, dim=2)

    def _on_level(
        self, level: Level, boxes: Float[Tensor, "b g 4"]
    ) -> tuple[Int[Tensor, "b g m"], Bool[Tensor, "b g m"]]:
        centre = (boxes[..., :2] + boxes[..., 2:]) / (2 * level.stride)  # in cells
        x, y = centre.unbind(-1)
        column, beside, has_beside = _cell_and_neighbour(x, level.columns)
        row, above, has_above = _cell_and_neighbour(y, level.rows)
        places = torch.stack(  # (b, g, places)
            [p * level.columns + q for p, q in ((row, column), (row, beside), (above, column))], -1
        )
        exists = torch.stack([torch.ones_like(has_beside), has_beside, has_above], -1)
        width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
        fits = torch.stack(
            [self._fits(width, w) & self._fits(height, h) for w, h in level.sizes], -1
        )
        shape = torch.arange(len(level.sizes), device=boxes.device)
        prior = places[..., None, :] * len(level.sizes) + shape[:, None]  # (b, g, anchors, places)
        return prior.flatten(-2), (fits[..., :, None] & exists[..., None, :]).flatten(-2)

    def _fits(self, side: Tensor, anchor: float) -> Tensor:
        return (side < anchor * self.max_ratio) & (side > anchor / self.max_ratio)


@dataclass(frozen=True, slots=True)
class OTA:
    """Of the candidates of `AnchorRatio`, each object takes those that suit it best now (SimOTA).

    1. The cost of a candidate for an object: `iou_weight` times -log IoU of the predicted box, and
       the binary cross-entropy of sqrt(class probability x objectness) against its class.
    2. An object takes as many of the cheapest as the sum of its `most` highest IoUs says, at least
       one.
    3. A candidate that several take belongs to the object for which it costs least.

    With one class, whose logits are not trained, the class probability is 1.

    Paper: OTA (Ge et al. 2021); SimOTA: YOLOX (Ge et al. 2021), section 2.
    Differs: YOLOv7's code lists a prior once for every object that proposes it; here each prior of
    an image is one candidate. It gets pixels by one side of the image; here x has the width.
    """

    candidates: AnchorRatio
    coder: CellCoder = field(default_factory=CellCoder)
    most: int = 10
    iou_weight: float = 3.0

    @torch.no_grad()
    def __call__(self, raw: YOLOv7Raw, objects: Objects) -> Assignment:
        """A prior answers for one object at most."""
        prior, near = self.candidates.candidates(raw.levels, objects)
        prior = _by_level(prior)
        eligible = _once_per_image(
            prior, _by_level(near & objects.trained[:, :, None, None]), len(raw.anchors)
        )
        gt, positive = torch.zeros_like(prior), torch.zeros_like(eligible)
        for rows in _parts(objects, per_object=near[0, 0].numel()):
            some = objects.images(rows)
            slots = slice(some.boxes.shape[1] * near.shape[3])
            part = rows, slice(None), slots
            gt[part], positive[part] = self._share_out(
                raw.images(rows), some, prior[part], eligible[part]
            )
        return Assignment(prior, gt, positive)

    def _share_out(
        self,
        raw: YOLOv7Raw,
        objects: Objects,
        prior: Int[Tensor, "b l m"],
        eligible: Bool[Tensor, "b l m"],
    ) -> tuple[Int[Tensor, "b l m"], Bool[Tensor, "b l m"]]:
        """The object of every slot, and whether it has one."""
        shape, prior = prior.shape, prior.flatten(1)
        possible = eligible.flatten(1)[:, None] & objects.trained[..., None]  # (b, g, slots)
        codes = raw.codes.gather(1, prior[..., None].expand(-1, -1, 4))
        boxes = self.coder.decode(codes, raw.anchors[prior], raw.strides[prior])
        overlap = paired_iou(objects.boxes[:, :, None], boxes[:, None]) * possible
        cost = self._class_cost(raw, prior, objects.labels)
        cost = cost - self.iou_weight * (overlap + 1e-8).log()
        cost = cost.masked_fill(~possible, torch.inf)
        most = min(self.most, cost.shape[2])
        count = overlap.topk(most, dim=2).values.sum(2, keepdim=True).int().clamp(min=1)
        value, cheapest = cost.topk(most, dim=2, largest=False)
        rank = torch.arange(most, device=cost.device)
        taken = (rank < count) & value.isfinite()
        taken = torch.zeros_like(possible).scatter(2, cheapest, taken)
        claims = taken.sum(1)
        owner = torch.where(claims > 1, cost.argmin(1), taken.int().argmax(1))
        return owner.view(shape), (claims > 0).view(shape)

    def _class_cost(
        self, raw: YOLOv7Raw, prior: Int[Tensor, "b s"], labels: Int[Tensor, "b g"]
    ) -> Float[Tensor, "b g s"]:
        """The cross-entropy over all classes: one sum of the others, and a correction for one."""
        classes = raw.class_logits.shape[2]
        probability = raw.objectness.gather(1, prior).sigmoid()[..., None]
        if classes > 1:
            rows = prior[..., None].expand(-1, -1, classes)
            probability = probability * raw.class_logits.gather(1, rows).sigmoid()
        root = probability.sqrt().clamp(1e-6, 1 - 1e-6)
        wrong, right = -(1 - root).log(), -root.log()  # (b, s, c)
        correction = (right - wrong).transpose(1, 2)
        index = labels[..., None].expand(-1, -1, prior.shape[1])
        return wrong.sum(2)[:, None] + correction.gather(1, index)


def _cell_and_neighbour(x: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Along one axis: the cell of x, its neighbour on the nearer side, and whether there is one."""
    cell, within = x.floor(), x % 1
    low, high = (within < 0.5) & (x > 1), (within > 0.5) & (x < cells - 1)
    neighbour = cell + high.to(cell) - low.to(cell)
    cell, neighbour = (place.clamp(0, cells - 1).long() for place in (cell, neighbour))
    return cell, neighbour, low | high


def _by_level(x: Tensor) -> Tensor:
    """(b, g, l, m) -> (b, l, g m)."""
    return x.transpose(1, 2).flatten(2)


def _once_per_image(
    prior: Int[Tensor, "b l m"], eligible: Bool[Tensor, "b l m"], priors: int
) -> Bool[Tensor, "b l m"]:
    """The first eligible slot of every prior of an image."""
    image = torch.arange(len(prior), device=prior.device)[:, None, None]
    rows = (prior + image * priors).flatten()
    return first_in_cell(rows, eligible.flatten(), len(prior) * priors).view(prior.shape)


def _parts(objects: Objects, per_object: int) -> Iterator[slice]:
    """The batch, or its images one by one where all their pairs would take too much memory."""
    images, padded = objects.trained.shape
    if images * padded**2 * per_object <= LARGEST:
        yield slice(0, images)
    else:
        yield from (slice(row, row + 1) for row in range(images))
