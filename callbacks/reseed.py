"""Randomness inside a step (dropout, samplers of a loss) as a function of the step alone."""

from typing import Any

import lightning as L
import numpy as np
import torch


class Reseed(L.Callback):
    """Seeds torch's global generator per training step from (seed, global step, rank).

    A resumed run therefore draws what the uninterrupted one would have drawn.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Called by Lightning before each step."""
        words = np.random.SeedSequence([self.seed, trainer.global_step, trainer.global_rank])
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))
