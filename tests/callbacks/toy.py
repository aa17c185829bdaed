"""The smallest detector and data that Lightning can train: one convolution, painted squares."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from callbacks.csv_log import CsvLog
from detectors.detector import Detector
from detectors.lit import LitDetector
from detectors.structures import (
    Batch,
    DatasetInfo,
    Detections,
    Frame,
    Losses,
    Target,
)

SIZE = 32
INFO = DatasetInfo("toy", ["square", "bar"])


@dataclass
class ToyRaw:
    boxes: Float[Tensor, "b 4"]
    scores: Float[Tensor, " b"]


class ToyDetector(Detector[ToyRaw]):
    """One box per image, from channel means; BatchNorm gives it integer and floating buffers."""

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.out = nn.Linear(3, 5)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ToyRaw:
        values = self.out(self.norm(images.float().mean(dim=(2, 3)) / 255))
        corner, size = values[:, :2].sigmoid() * SIZE / 2, values[:, 2:4].sigmoid() * SIZE / 2
        return ToyRaw(torch.cat([corner, corner + size], dim=1), values[:, 4].sigmoid())

    def loss(self, raw: ToyRaw, targets: Sequence[Target]) -> Losses:
        wanted = torch.stack([t.boxes.sum(dim=0) / max(len(t), 1) for t in targets])
        found = torch.stack([raw.scores.new_tensor(float(len(t) > 0)) for t in targets])
        return Losses(
            {
                "box": ((raw.boxes - wanted) / SIZE).square().mean(),
                "score": (raw.scores - found).square().mean(),
            },
            {},
        )

    def decode(self, raw: ToyRaw, frames: Sequence[Frame]) -> list[Detections]:
        return [
            Detections(raw.boxes[i : i + 1], raw.scores[i : i + 1], torch.zeros(1).long(), frame)
            for i, frame in enumerate(frames)
        ]


def toy_module(net: Detector | None = None, lr: float = 0.05, scheduler: Any = None) -> LitDetector:
    return LitDetector(
        net or ToyDetector(),
        partial(torch.optim.SGD, lr=lr, momentum=0.9),
        {"box": 1.0, "score": 1.0},
        scheduler,
    )


class ToyData(L.LightningDataModule):
    """`count` images whose originals are 40 x 50 px, scaled and shifted into 32 x 32."""

    info = INFO

    def __init__(self, count: int = 8, batch_size: int = 4, empty: Sequence[int] = ()) -> None:
        super().__init__()
        self.samples: Any = [_sample(i, i in empty) for i in range(count)]
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.samples, self.batch_size, collate_fn=_collate)

    def val_dataloader(self) -> DataLoader:
        sampler = None
        if self.trainer is not None and self.trainer.world_size > 1:
            sampler = DistributedSampler(self.samples, shuffle=False)  # pads by repeating
        return DataLoader(self.samples, self.batch_size, collate_fn=_collate, sampler=sampler)

    test_dataloader = val_dataloader

    def ground_truth(self, split: str) -> dict[str, Target]:
        return {target.frame.image_id: original for _, target, original in self.samples}

    def split_hash(self, split: str) -> str:
        return hashlib.sha256(split.encode()).hexdigest()

    def fingerprint(self, split: str) -> str:
        return hashlib.sha256(f"{split} {len(self.samples)}".encode()).hexdigest()


def _sample(index: int, empty: bool) -> tuple[Tensor, Target, Target]:
    random = torch.Generator().manual_seed(index)
    affine = torch.tensor([[0.64, 0.0, 0.0], [0.0, 0.64, 3.2]])
    box = torch.tensor([[4.0, 6.0, 24.0, 30.0]]) + 3 * torch.rand(1, 4, generator=random)
    box = box[:0] if empty else box
    image = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    moved = box * 0.64 + torch.tensor([0, 3.2, 0, 3.2])
    original = truth(f"toy/{index:03d}.png", box, hw=(40, 50))
    target = truth(f"toy/{index:03d}.png", moved, hw=(40, 50))
    target.frame.affine = affine
    return image, target, original


def _collate(samples: list[tuple[Tensor, Target, Target]]) -> Batch:
    images, targets, _ = zip(*samples, strict=True)
    return Batch(torch.stack(images), list(targets))


def truth(
    image_id: str, boxes: Tensor, labels: Tensor | None = None, hw: tuple[int, int] = (100, 100)
) -> Target:
    """Ordinary objects; class 0 unless told."""
    flags = torch.zeros(len(boxes), dtype=torch.bool)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    labels = torch.zeros(len(boxes)).long() if labels is None else labels
    frame = Frame(image_id, hw, torch.eye(2, 3))
    return Target(boxes, labels, flags, flags.clone(), area, frame)


def trainer(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    """A quiet CPU trainer with a logger, as our runs have."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
        "logger": CsvLog(str(folder)),
    }
    return L.Trainer(callbacks=list(callbacks), **(settings | options))
