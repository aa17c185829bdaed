"""Slots: shared memory in which the images of a batch leave a worker, used again and again.

Fresh shared memory for each batch is paid for page by page, in the worker and where it is unmapped.
The training process alone keeps the books: it names a slot when it asks a worker for a batch, and
has it back when the last tensor that sees it is gone. A worker writes where it is told.
"""

import math
import weakref
from collections.abc import Iterator, Sequence
from ctypes import c_uint8
from dataclasses import dataclass
from mmap import PAGESIZE
from multiprocessing.sharedctypes import RawArray
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order(Generic[T]):
    """What a batch is to be made of, and the slot for its images; None: fresh memory."""

    slot: int | None
    parts: Sequence[T]


class Slots:
    """Memory for the images of `count` batches; none by default.

    A slot is free, out (with a worker, or on its way), or seen by tensors. The one freed last is
    taken first: it may still be in the processor's cache.
    """

    def __init__(self, count: int = 0, batch_shape: Sequence[int] = (0, 3, 0, 0)) -> None:
        self.count = count
        self._shape = (count, *batch_shape)
        self._memory: Any = None
        self._free = list(range(count))
        self._out: set[int] = set()

    def allocate(self) -> None:
        """Once, before the workers start: they inherit the memory or are sent it."""
        if self._memory is None and self.count:
            self._memory = RawArray(c_uint8, math.prod(self._shape))

    def touch(self) -> None:
        """Makes the memory known to a worker's process: by reading, which maps 16 pages at once."""
        if self.count:
            self.images.reshape(-1)[::PAGESIZE].max()

    @property
    def images(self) -> UInt8[np.ndarray, "slots b 3 h w"]:
        """The memory, which has been allocated."""
        return np.frombuffer(self._memory, np.uint8).reshape(self._shape)

    @property
    def free(self) -> frozenset[int]:
        """The slots that may be taken."""
        return frozenset(self._free)

    def take(self) -> int | None:
        """A free slot, to be filled; None if there is none."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._out.add(slot)
        return slot

    def receive(self, slot: int, length: int) -> UInt8[Tensor, "b 3 h w"]:
        """The first `length` images of a slot that was filled, not copied."""
        self._out.remove(slot)
        images = self.images[slot, :length]
        # the storage of the tensor, of its views and of their arrays keeps this array, nothing else
        weakref.finalize(images, self._free.append, slot).atexit = False
        return torch.from_numpy(images)

    def recall(self) -> None:
        """Frees the slots that are out; no worker may be busy."""
        self._free.extend(self._out)
        self._out.clear()


class Orders(BatchSampler):
    """Batches of keys with their slots, each chosen in the moment a worker is asked for the batch.

    For one iteration at a time: that of a DataLoader with persistent workers.
    """

    def __init__(
        self, sampler: Sampler[Any], batch_size: int, drop_last: bool, slots: Slots
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.slots = slots

    def __iter__(self) -> Iterator[Any]:
        """The orders of one epoch.

        What an epoch that was broken off had ordered never arrived. DataLoader waits until its
        workers are done with that before it asks for the first order of the next epoch.
        """
        self.slots.recall()
        for keys in super().__iter__():
            yield Order(self.slots.take(), keys)
