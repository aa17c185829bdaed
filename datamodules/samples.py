"""Samples: one split of a source as a map-style dataset of (epoch, index)."""

from collections.abc import Callable
from functools import partial

import numpy as np
from torch.utils.data import Dataset

from datamodules.mosaic import Mosaic
from datamodules.objects import Sample, read
from datamodules.sampler import sample_rng
from datamodules.slots import Order
from datamodules.sources.source import Source
from datamodules.transforms import Pipeline


class Samples(Dataset[Sample]):
    """(epoch, index) -> sample."""

    def __init__(
        self, source: Source, pipeline: Pipeline, seed: int, mosaic: Mosaic | None = None
    ) -> None:
        self.source = source
        self.pipeline = pipeline
        self.seed = seed
        self.mosaic = mosaic

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        rng = sample_rng(self.seed, epoch, index)
        return self.pipeline.augmented(self._framed(epoch, index, rng), rng)

    def __getitems__(self, order: Order[tuple[int, int]]) -> Order[Callable[[], Sample]]:
        """A batch, for DataLoader: `collate` makes the samples one by one."""
        return Order(order.slot, [partial(self.__getitem__, key) for key in order.parts])

    def _framed(self, epoch: int, index: int, rng: np.random.Generator) -> Sample:
        if self.mosaic is not None and self.mosaic.is_due(epoch, rng):
            pipeline = self.pipeline
            return self.mosaic(self.source, index, pipeline.input_hw, pipeline.keep, rng)
        target = self.source.target(index)
        return self.pipeline.framed(read(self.source, index, target), target, rng)
