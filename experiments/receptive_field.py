"""`lineup receptive-field detector=...`: what each layer sees, and which objects the anchors cover.

Takes the overrides of `lineup train`. Prints size, stride and offset of the layers' receptive
fields; of a detector with anchors in cells (Faster R-CNN) also the share of the objects of
`--split` that each anchor covers, and it draws the anchors of one cell on an image.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.ops import box_iou

from datamodules.detection import DetectionDataModule
from detectors.errors import ConfigError
from detectors.ops.cell_anchors import CellAnchors
from detectors.ops.receptive_field import Field, fields_of
from detectors.structures import Batch
from experiments import build
from experiments.quiet import quiet_libraries

THRESHOLDS = (0.5, 0.7)
COLOURS = ((230, 60, 60), (60, 200, 60), (70, 110, 255), (240, 180, 30), (200, 70, 220))


@dataclass
class Coverage:
    """Of one anchor of a cell, wherever it stands: the share of the objects, per IoU threshold."""

    stride: int
    box: list[float]
    shares: list[float]


def main() -> None:
    """Reads the command line, prints the tables, and draws the anchors."""
    parser = argparse.ArgumentParser("lineup receptive-field", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="key=value, as of lineup train")
    parser.add_argument("--split", choices=["train", "val", "test"], default="train")
    parser.add_argument("--layers", type=int, default=12, help="the last so many; 0: all")
    parser.add_argument("--out", type=Path, default=Path("anchors.png"), help="picture of anchors")
    arguments = parser.parse_intermixed_args()
    config = build.compose(arguments.overrides)
    console = Console()
    height, width = config.protocol.input_hw
    with torch.device("meta"):  # shapes without weights
        net = build.instantiate(config.detector.net)
    console.print(field_table(layer_fields(net, (height, width)), arguments.layers))
    anchors = getattr(net, "anchors", None)
    if not isinstance(anchors, CellAnchors):
        print("this detector has no anchors of several shapes in its cells")
        return
    strides = list(net.strides)
    with quiet_libraries():
        batches = images_of(config, arguments.split)
        first = next(iter(batches))
        covered, total = coverage(anchors, strides, batches)
    console.print(coverage_table(covered, total, arguments.split))
    picture = draw(first.images[0].permute(1, 2, 0).numpy(), anchors, strides)
    cv2.imwrite(str(arguments.out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    print(f"anchors of the middle cell of each level: {arguments.out}")


def layer_fields(net: nn.Module, image_hw: tuple[int, int]) -> dict[str, Field]:
    """The receptive fields of the backbone's layers."""
    backbone = net.backbone
    assert isinstance(backbone, nn.Module)
    device = next(backbone.parameters()).device
    images = torch.zeros(1, 3, *image_hw, device=device)
    return fields_of(dict(backbone.named_modules()), backbone.eval(), images)


def images_of(config: DictConfig, split: str) -> Iterable[Batch]:
    """Batches of a split as the network sees them, not augmented."""
    source = config.datamodule.get(split)
    if source is None:
        raise ConfigError(f"the data has no {split} split: set datamodule.{split}")
    plain = config.datamodule.copy()
    plain.test = source
    datamodule: DetectionDataModule = build.instantiate(plain)
    return datamodule.test_dataloader()


def coverage(
    anchors: CellAnchors, strides: list[int], batches: Iterable[Batch]
) -> tuple[list[Coverage], Coverage]:
    """Per anchor, and of all together, the share of the objects that one of its places covers.

    An object is covered at a threshold if its best IoU reaches it. Anchors may cross the border.
    """
    best = torch.cat([_best(anchors, strides, batch) for batch in batches])  # (objects, anchors)
    boxes = [(s, box) for s in strides for box in anchors.of_cell(s).tolist()]
    shares = [[_share(column, t) for t in THRESHOLDS] for column in best.unbind(1)]
    rows = [Coverage(s, box, share) for (s, box), share in zip(boxes, shares, strict=True)]
    together = best.amax(1)
    return rows, Coverage(0, [], [_share(together, t) for t in THRESHOLDS])


def field_table(fields: dict[str, Field], last: int) -> Table:
    """The last so many layers; 0: all of them."""
    table = Table("layer", "size px", "stride px", "offset px", header_style="bold")
    for name, field in list(fields.items())[-last:]:
        table.add_row(name, *(f"{v:g}" for v in (field.size, field.stride, field.offset)))
    return table


def coverage_table(rows: list[Coverage], total: Coverage, split: str) -> Table:
    """One row per anchor, and one for all."""
    heads = [f"{split} objects at IoU {threshold}" for threshold in THRESHOLDS]
    table = Table("stride px", "anchor w x h px", *heads, header_style="bold")
    for row in rows:
        x1, y1, x2, y2 = row.box
        table.add_row(f"{row.stride}", f"{x2 - x1:.0f} x {y2 - y1:.0f}", *map(_percent, row.shares))
    table.add_section()
    table.add_row("", "any of them", *map(_percent, total.shares))
    return table


def draw(image: np.ndarray, anchors: CellAnchors, strides: list[int]) -> np.ndarray:
    """The image with the anchors of the middle cell of each level, a colour per level."""
    picture = np.ascontiguousarray(image)
    for level, stride in enumerate(strides):
        middle = [side // 2 // stride * stride for side in (image.shape[1], image.shape[0])]
        for box in anchors.of_cell(stride).tolist():
            x1, y1, x2, y2 = (round(v + middle[i % 2]) for i, v in enumerate(box))
            cv2.rectangle(picture, (x1, y1), (x2, y2), COLOURS[level % len(COLOURS)], 1)
    return picture


def _best(anchors: CellAnchors, strides: list[int], batch: Batch) -> Float[Tensor, "n k"]:
    """Per object of a batch, the best IoU of each anchor over all places of an image."""
    boxes = torch.cat([target.boxes for target in batch.targets])
    height, width = batch.images.shape[-2:]
    columns = []
    for stride in strides:
        cells = (-(-height // stride), -(-width // stride))
        iou = box_iou(boxes, anchors([cells], [stride]))
        columns.append(iou.unflatten(1, (-1, anchors.per_cell)).amax(1))
    return torch.cat(columns, dim=1)


def _share(best: Float[Tensor, " n"], threshold: float) -> float:
    return (best >= threshold).float().mean().item() if len(best) else float("nan")


def _percent(share: float) -> str:
    return "n/a (0 objects)" if share != share else f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
