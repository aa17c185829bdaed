"""Boxes and points as numbers relative to anchors: what networks regress."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AnchorCoder:
    """Codes what lies near an anchor (centre p, size s, px) in units of the anchor.

    Box (centre c, size d): (c - p) / (s v0) and log(d / s) / v1. Point q: (q - p) / (s v0).
    `centre_variance` is v0, `size_variance` v1. Encoding and decoding are inverses.

    torchvision's BoxCoder does the same for boxes; it knows no points and is private.

    Paper: SSD (Liu et al. 2016), equation 2; the variances are its code's.
    """

    centre_variance: float = 0.1
    size_variance: float = 0.2

    def encode(
        self, boxes: Float[Tensor, "*b a 4"], anchors: Float[Tensor, "*#b a 4"]
    ) -> Float[Tensor, "*b a 4"]:
        """The codes of xyxy boxes (px), row by row; finite for boxes with an area only."""
        centres, sizes = _centres_and_sizes(boxes)
        anchor_centres, anchor_sizes = _centres_and_sizes(anchors)
        offsets = (centres - anchor_centres) / (anchor_sizes * self.centre_variance)
        return torch.cat([offsets, (sizes / anchor_sizes).log() / self.size_variance], dim=-1)

    def decode(
        self, codes: Float[Tensor, "*b a 4"], anchors: Float[Tensor, "*#b a 4"]
    ) -> Float[Tensor, "*b a 4"]:
        """The xyxy boxes, px."""
        anchor_centres, anchor_sizes = _centres_and_sizes(anchors)
        centres = anchor_centres + codes[..., :2] * self.centre_variance * anchor_sizes
        halves = anchor_sizes * (codes[..., 2:] * self.size_variance).exp() / 2
        return torch.cat([centres - halves, centres + halves], dim=-1)

    def encode_points(
        self, points: Float[Tensor, "*b a k 2"], anchors: Float[Tensor, "*#b a 4"]
    ) -> Float[Tensor, "*b a k 2"]:
        """The codes of the k points (x, y in px) of each anchor's object."""
        centres, sizes = _centres_and_sizes(anchors[..., None, :])
        return (points - centres) / (sizes * self.centre_variance)

    def decode_points(
        self, codes: Float[Tensor, "*b a k 2"], anchors: Float[Tensor, "*#b a 4"]
    ) -> Float[Tensor, "*b a k 2"]:
        """x and y in px."""
        centres, sizes = _centres_and_sizes(anchors[..., None, :])
        return centres + codes * self.centre_variance * sizes


def _centres_and_sizes(boxes: Float[Tensor, "*n 4"]) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


@dataclass(frozen=True, slots=True)
class CellCoder:
    """Codes a box by logits: its centre near the middle of a cell, its sides by those of an anchor.

    With s = sigmoid(code), centre = p + (2 s - 1) stride and size = d (2 s)², where p is the centre
    of the cell (and of its anchor) and d the anchor's size, px. So a centre lies less than a stride
    away, in the cell or in half of a neighbour, and a side is below four times the anchor's.
    Encoding and decoding are inverses within these limits; beyond them, the nearest is coded.

    Paper: Wang et al. 2021 (Scaled-YOLOv4), reference code; YOLOv7's.
    """

    margin: float = 1e-4
    """Codes stay finite: s keeps so far from 0 and 1."""

    def encode(
        self,
        boxes: Float[Tensor, "*n 4"],
        anchors: Float[Tensor, "*n 4"],
        strides: Float[Tensor, "*n"],
    ) -> Float[Tensor, "*n 4"]:
        """The codes of xyxy boxes (px), row by row."""
        centres, sizes = _centres_and_sizes(boxes)
        cells, anchor_sizes = _centres_and_sizes(anchors)
        shares = [
            ((centres - cells) / strides[..., None] + 1) / 2,
            (sizes / anchor_sizes).sqrt() / 2,
        ]
        return torch.cat(shares, dim=-1).logit(self.margin)

    def decode(
        self,
        codes: Float[Tensor, "*n 4"],
        anchors: Float[Tensor, "*n 4"],
        strides: Float[Tensor, "*n"],
    ) -> Float[Tensor, "*n 4"]:
        """The xyxy boxes, px."""
        doubled = 2 * codes.sigmoid()
        cells, anchor_sizes = _centres_and_sizes(anchors)
        centres = cells + (doubled[..., :2] - 1) * strides[..., None]
        halves = anchor_sizes * doubled[..., 2:].square() / 2
        return torch.cat([centres - halves, centres + halves], dim=-1)
