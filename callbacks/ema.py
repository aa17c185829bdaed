"""Exponential moving average of the weights."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Averages weights and floating buffers over steps, and validates on the average.

    After the n-th step (n = 0, 1 ...): average = d average + (1 - d) weights with
    d = `decay` (1 - exp(-n / `ramp_steps`)), so that the first, random weights are soon forgotten.
    Integer buffers (BatchNorm's step counts) are copied. Checkpoints hold the average in
    `state_dict` and the raw weights in `current_model_state`; a resumed fit goes on from both.
    """

    def __init__(self, decay: float = 0.9999, ramp_steps: int = 2000) -> None:
        super().__init__(use_buffers=True, multi_avg_fn=self._average)
        self.decay = decay
        self.ramp_steps = ramp_steps
        self._swapped = False

    def decay_at(self, step: int) -> float:
        """The weight of the average in update number `step`, counted from 0."""
        return self.decay * (1 - math.exp(-step / self.ramp_steps))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Makes the averaged copy when a fit begins."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            assert self._average_model is not None
            # torch reads this count at every update: on the CPU that costs no synchronisation
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forgets the average when the fit is over: scored afterwards is what was loaded."""
        if stage == "fit":
            self._average_model = None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the raw weights back, unless `on_exception` has done so."""
        if self._swapped:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Puts the raw weights back when validation broke off (Lightning leaves the average in)."""
        if self._swapped:
            self._swap_models(pl_module)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restores both sets of weights for a fit; scoring takes the average in `state_dict`."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _swap_models(self, pl_module: L.LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    def _average(self, averages: Any, weights: Any, n_averaged: Tensor | int) -> None:
        """torch calls it per device and type; `n_averaged` updates were done before."""
        assert self._average_model is not None
        if averages[0].is_floating_point():
            step = int(self._average_model.n_averaged)  # `n_averaged` itself is on the device
            torch._foreach_lerp_(averages, weights, 1 - self.decay_at(step))  # pyright: ignore
        else:
            torch._foreach_copy_(averages, weights)  # pyright: ignore
