"""Stops a run whose loss or weights are no longer numbers, before a checkpoint says so."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from detectors.errors import RunError

NEVER = torch.iinfo(torch.int64).max
REMEDY = (
    "lower detector.optimizer.lr, set trainer.gradient_clip_val (say 10), or warm up "
    "(callbacks=[default,warmup]); earlier checkpoints are intact"
)


class NonFiniteGuard(L.Callback):
    """Names the loss term that became NaN or infinite and the first step at which it did.

    Takes `{"loss": ..., "terms": {name: scalar}}` from the training step. The first bad step of
    each term is kept on the device and read every `trainer.log_every_n_steps` steps, before
    validation and at the end of an epoch; no other step waits for the device. Whatever writes
    checkpoints runs later (Lightning moves ModelCheckpoint to the end), and no checkpoint takes bad
    weights.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._first_bad: Tensor | None = None
        self._step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A fit starts with a clean record."""
        self._first_bad = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remembers which optimiser step this batch belongs to (its number in the logs)."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Updates the flags on the device; now and then reads them."""
        terms = {**outputs["terms"], "loss": outputs["loss"]}
        finite = torch.stack([value.detach() for value in terms.values()]).isfinite()
        if self._first_bad is None:
            self._names = list(terms)
            self._first_bad = torch.full(finite.shape, NEVER, device=finite.device)
        seen = self._first_bad.clamp(max=self._step)
        self._first_bad = torch.where(finite, self._first_bad, seen)
        every: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if every and (batch_idx + 1) % every == 0:
            self._check_terms(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing bad is worth scoring."""
        self._check_terms(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Checks the terms, and the weights: a finite loss can have a gradient that is not."""
        self._check_terms(trainer)
        _check_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The last gate: checkpoints written in the middle of an epoch pass here too."""
        self._check_terms(trainer)
        _check_weights(trainer, pl_module)

    def _check_terms(self, trainer: L.Trainer) -> None:
        if self._first_bad is None:
            return
        first_bad = trainer.strategy.reduce(self._first_bad.clone(), reduce_op="min")
        steps = dict(zip(self._names, first_bad.tolist(), strict=True))  # the only synchronisation
        step = min(steps.values())
        if step != NEVER:
            bad = [name for name, first in steps.items() if first == step]
            terms = [name for name in bad if name != "loss"] or bad
            raise RunError(
                f"loss term {' and '.join(repr(t) for t in terms)} is not finite since step {step} "
                f"(epoch {trainer.current_epoch}): {REMEDY}"
            )


def _check_weights(trainer: L.Trainer, pl_module: L.LightningModule) -> None:
    named = list(pl_module.named_parameters())
    finite = torch.stack([parameter.detach().isfinite().all() for _, parameter in named])
    if not finite.all():
        name = named[int((~finite).nonzero()[0, 0])][0]
        raise RunError(
            f"the weights '{name}' are not finite after step {trainer.global_step - 1} although "
            f"the loss was (an infinite gradient): {REMEDY}"
        )
