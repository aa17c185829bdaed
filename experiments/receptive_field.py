"""`lineup receptive-field detector=...`: what each layer sees, and which objects the anchors cover.

Takes the overrides of `lineup train`. Prints size, stride and offset of the layers' receptive
fields, and which of their cells stands in the middle of the image; of a detector with anchors in
cells (Faster R-CNN) also the share of the objects of `--split` that each anchor covers, and it
draws the anchors of one cell on an image.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
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
from experiments.anchor_picture import draw_anchors
from experiments.quiet import quiet_libraries

THRESHOLDS = (0.5, 0.7)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of the `objects` that anchors cover at each IoU threshold, wherever they stand.

    `shares` per stride of a level and anchor of its cells, and of all of them `together`.
    """

    objects: int
    shares: dict[int, list[list[float]]]
    together: list[float]


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
    fields = layer_fields(net, (height, width))
    console.print(field_table(fields, arguments.layers, height))
    anchors = getattr(net, "anchors", None)
    if not isinstance(anchors, CellAnchors):
        print("this detector has no anchors of several shapes in its cells")
        return
    strides = list(net.strides)
    with quiet_libraries():
        batches = images_of(config, arguments.split)
        first = next(iter(batches))
        covered = coverage(anchors, strides, batches)
    console.print(coverage_table(anchors, covered, arguments.split))
    at_half = {stride: [s[0] for s in shares] for stride, shares in covered.shares.items()}
    picture = draw_anchors(
        first.images[0], first.targets[0].boxes, anchors, at_half, largest_by_stride(fields)
    )
    cv2.imwrite(str(arguments.out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    print(f"anchors of the middle cell of each level: {arguments.out}")


def layer_fields(net: nn.Module, image_hw: tuple[int, int]) -> dict[str, Field]:
    """The receptive fields of the backbone's layers, and of an RPN right upon them."""
    backbone = net.backbone
    assert isinstance(backbone, nn.Module)
    device = next(backbone.parameters()).device
    images = torch.zeros(1, 3, *image_hw, device=device)
    parts: dict[str, nn.Module] = {"backbone": backbone.eval()}
    rpn = getattr(net, "rpn", None)
    if rpn is None or net.neck is not None:  # a neck's enlarged maps have no field of one size
        return fields_of(_named(parts), backbone, images)
    return fields_of(_named(parts | {"rpn": rpn}), lambda x: rpn(backbone(x)), images)


def largest_by_stride(fields: dict[str, Field]) -> dict[float, Field]:
    """What a cell of the last map of each stride sees; a shortcut, which runs last, sees less."""
    return {field.stride: field for field in sorted(fields.values(), key=lambda f: f.size)}


def _named(parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    return dict(nn.ModuleDict(parts).named_modules())


def images_of(config: DictConfig, split: str) -> Iterable[Batch]:
    """Batches of a split as the network sees them, not augmented."""
    source = config.datamodule.get(split)
    if source is None:
        raise ConfigError(f"the data has no {split} split: set datamodule.{split}")
    plain = config.datamodule.copy()
    plain.test = source
    datamodule: DetectionDataModule = build.instantiate(plain)
    return datamodule.test_dataloader()


def coverage(anchors: CellAnchors, strides: list[int], batches: Iterable[Batch]) -> Coverage:
    """An object is covered at a threshold if its best IoU reaches it. Anchors may cross the border.

    Crowd and difficult objects do not count.
    """
    best = torch.cat([_best(anchors, strides, batch) for batch in batches])  # (objects, anchors)
    levels = zip(strides, best.split(anchors.per_cell, dim=1), strict=True)
    shares = {stride: [_shares(one) for one in level.unbind(1)] for stride, level in levels}
    return Coverage(len(best), shares, _shares(best.amax(1)))


def field_table(fields: dict[str, Field], last: int, image_side: int) -> Table:
    """The last so many layers; 0: all of them."""
    heads = ("size", "stride", "offset", "cell at mid-height")
    title = "receptive fields along one axis, px"
    table = Table("layer", *heads, title=title, header_style="bold")
    middle = (image_side - 1) / 2
    for name, field in list(fields.items())[-last:]:
        numbers = (field.size, field.stride, field.offset, field.cell(middle))
        table.add_row(name, *(f"{number:.6g}" for number in numbers))
    return table


def coverage_table(anchors: CellAnchors, covered: Coverage, split: str) -> Table:
    """One row per anchor, and one for all."""
    heads = [f"IoU >= {threshold}" for threshold in THRESHOLDS]
    title = f"share of the {covered.objects} {split} objects that an anchor covers"
    table = Table("stride px", "anchor w x h px", *heads, title=title, header_style="bold")
    for stride, of_cell in covered.shares.items():
        boxes = anchors.of_cell(stride).tolist()
        for (x1, y1, x2, y2), shares in zip(boxes, of_cell, strict=True):
            table.add_row(f"{stride}", f"{x2 - x1:.0f} x {y2 - y1:.0f}", *map(_percent, shares))
    table.add_section()
    table.add_row("", "any of them", *map(_percent, covered.together))
    return table


def _best(anchors: CellAnchors, strides: list[int], batch: Batch) -> Float[Tensor, "n k"]:
    """Per object of a batch, the best IoU of each anchor over all places of an image."""
    boxes = torch.cat([t.boxes[~(t.crowd | t.difficult)] for t in batch.targets])
    height, width = batch.images.shape[-2:]
    columns = []
    for stride in strides:
        cells = (-(-height // stride), -(-width // stride))
        iou = box_iou(boxes, anchors([cells], [stride]))
        columns.append(iou.unflatten(1, (-1, anchors.per_cell)).amax(1))
    return torch.cat(columns, dim=1)


def _shares(best: Float[Tensor, " n"]) -> list[float]:
    """Per threshold; NaN without objects."""
    return [(best >= threshold).float().mean().item() for threshold in THRESHOLDS]


def _percent(share: float) -> str:
    return "n/a (0 objects)" if share != share else f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
