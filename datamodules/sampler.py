"""Order and randomness as pure functions of seed, epoch, index, rank: what makes resuming exact."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int
from torch.utils.data import DataLoader, Sampler

from datamodules.collate import unpack
from datamodules.slots import Orders
from detectors.errors import LineupError


def epoch_order(
    length: int, seed: int, epoch: int, rank: int = 0, world_size: int = 1, shuffle: bool = True
) -> Int[np.ndarray, " m"]:
    """The indices one rank reads in one epoch.

    Every rank gets ceil(length / world_size): the order starts over where it runs out, so that
    ranks take equally many steps. What is read twice is scored once, by its image_id.
    """
    order = np.arange(length)
    if shuffle:
        order = np.random.default_rng([seed, epoch]).permutation(length)
    per_rank = -(-length // world_size)
    return np.resize(order, per_rank * world_size)[rank::world_size]


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The randomness of one sample's augmentation, whichever process prepares it."""
    return np.random.default_rng([seed, epoch, index])


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that a worker knows the epoch a sample is for."""

    def __init__(
        self, length: int, seed: int, shuffle: bool, rank: int = 0, world_size: int = 1
    ) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = epoch_order(self.length, self.seed, epoch, self.rank, self.world_size, self.shuffle)
        return iter([(epoch, index) for index in order.tolist()])


class EpochLoader(DataLoader[Any]):
    """A DataLoader that starts its workers when the first batch is asked for.

    Lightning calls iter() before set_epoch() when it resumes with workers (Lightning issue 21938);
    a generator reads the sampler only afterwards. Errors arrive as a batch (see `collate`) and are
    raised here, as they were.
    """

    batch_sampler: Orders

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        slots = self.batch_sampler.slots
        slots.allocate()
        for batch in super().__iter__():
            if isinstance(batch, LineupError):
                raise batch
            yield unpack(batch, slots) if isinstance(batch, tuple) else batch
