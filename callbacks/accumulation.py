"""Gradients of more and more batches, as the learning rate warms up."""

from typing import Any

import lightning as L


class AccumulationRamp(L.Callback):
    """Takes an optimiser step after 1 batch at first, and after `batches` of them from `ramp` on.

    At the n-th batch of the fit (n = 0, 1 ...) it is round(1 + (batches - 1) n / ramp); a change
    waits for the next batch at which both the old and the new number are complete. Lightning
    averages the gradients of the batches of a step. Leave `trainer.accumulate_grad_batches` at 1.

    Paper: Wang et al. 2022, reference code, where 64 images make a step whatever the batch.
    """

    def __init__(self, batches: int, ramp: int) -> None:
        self.batches = batches
        self.ramp = ramp

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets Lightning's number for this batch."""
        number = trainer.fit_loop.epoch_loop.total_batch_idx
        share = min(number / self.ramp, 1.0) if self.ramp else 1.0
        wanted, now = round(1 + (self.batches - 1) * share), trainer.accumulate_grad_batches
        if batch_idx % wanted == 0 and batch_idx % now == 0:
            trainer.accumulate_grad_batches = wanted
