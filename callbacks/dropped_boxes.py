"""How many objects the training data lost to its augmentation."""

from collections import Counter
from typing import Any

import lightning as L
import torch

from detectors.structures import Batch


class DroppedBoxes(L.Callback):
    """Logs `data/dropped/<step>`, objects per training epoch over all ranks, for each step.

    The steps are those of `Batch.dropped`, named as their keys in the configuration (framing,
    mosaic, paste, augment). An object of several samples, as mosaics make them, counts in each.
    Only what was trained on counts, not what workers prepare ahead.
    """

    def __init__(self) -> None:
        self._dropped: Counter[str] = Counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """An epoch that was broken off leaves nothing behind."""
        self._dropped.clear()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Adds the counts of a batch; they are plain integers, no device is asked."""
        self._dropped.update(batch.dropped)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the sums over the ranks, which need not have seen the same steps."""
        for step, objects in sorted(_summed(self._dropped, trainer).items()):
            pl_module.log(
                f"data/dropped/{step}",
                float(objects),
                logger=bool(pl_module.loggers),
                batch_size=1,
                # the ranks agree already
                reduce_fx="max",
                sync_dist=True,
            )


def _summed(counts: Counter[str], trainer: L.Trainer) -> Counter[str]:
    if trainer.world_size == 1:
        return counts
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, counts)
    total: Counter[str] = Counter()
    for of_rank in gathered:
        total.update(of_rank)
    return total
