"""`lineup data preview`: what the network will see, each sample beside the image it is made of."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from callbacks.draw import Picture, contact_sheet, draw_detections
from callbacks.files import replacing
from datamodules.detection import DetectionDataModule
from detectors.structures import DatasetInfo, Target
from experiments.data import open_data

PAIRS_PER_ROW, CELL = 3, 400
"""Of the sheet: pairs, and px of the square each picture gets."""

Sample = tuple[np.ndarray, Target]
"""RGB (h, w, 3), and its annotations in px of that image."""


def main(arguments: Sequence[str]) -> int:
    """Draws the first samples of an epoch and writes them as a PNG."""
    options = _parser().parse_intermixed_args(arguments)
    batch = f"datamodule.batch_size={options.count}"
    settings = ["datamodule.num_workers=0", f"seed={options.seed}", batch]
    datamodule = open_data(options.words, settings)
    shown = list(islice(samples(datamodule, options.split), options.count))
    sheet = before_and_after(datamodule, options.split, shown)
    file = options.out or Path(f"{datamodule.info.name}_{options.split}.png")
    encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1]
    with replacing(file) as out:
        out.write(encoded.tobytes())
    print(f"{len(shown)} images of {options.split}, before and after: {file}")
    return 0


def before_and_after(
    datamodule: DetectionDataModule, split: str, shown: Sequence[Sample]
) -> Picture:
    """A sheet of pairs: the image as it stands in the files, and the sample made of it."""
    source = datamodule.source(split)
    place = {image_id: index for index, image_id in enumerate(source.ids)}
    pictures: list[Picture] = []
    captions: list[str] = []
    for after, target in shown:
        image_id = target.frame.image_id
        before, annotated = source[place[image_id]]
        pictures += [
            _drawn(before, annotated, datamodule.info),
            _drawn(after, target, datamodule.info),
        ]
        captions += [image_id, f"{after.shape[1]}x{after.shape[0]} px, objects: {len(target)}"]
    columns = 2 * min(PAIRS_PER_ROW, len(shown))
    return contact_sheet(pictures, captions, columns, CELL)


def samples(datamodule: DetectionDataModule, split: str) -> Iterator[Sample]:
    """What the loader of the split yields, image by image."""
    loaders = {
        "train": datamodule.train_dataloader,
        "val": datamodule.val_dataloader,
        "test": datamodule.test_dataloader,
    }
    for batch in loaders[split]():
        yield from zip(batch.images.permute(0, 2, 3, 1).numpy(), batch.targets, strict=True)


def _drawn(image: np.ndarray, target: Target, info: DatasetInfo) -> Picture:
    image, target = _shrunk(image, target, CELL)
    return draw_detections(image, target, None, info)


def _shrunk(image: np.ndarray, target: Target, side: int) -> Sample:
    """At most `side` px long: lines and texts drawn on a larger picture vanish in its cell."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image, target
    points = target.keypoints
    if points is not None:
        points = points * torch.tensor([factor, factor, 1.0])
    smaller = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return smaller, replace(target, boxes=target.boxes * factor, keypoints=points)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lineup data preview", description=__doc__)
    parser.add_argument("words", nargs="+", metavar="FOLDER | key=value")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--count", type=int, default=9, help="images")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the augmentation")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="default: NAME_SPLIT.png")
    return parser
