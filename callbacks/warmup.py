"""Linear warm-up of learning rate, momentum and bias learning rate, step by step."""

from typing import Any

import lightning as L
from torch.optim import Optimizer

from detectors.errors import ConfigError

Group = dict[str, Any]


class Warmup(L.Callback):
    """Leads up to the scheduled values during the first `steps` optimiser steps.

    At step n < `steps`: value = start + (scheduled - start) n / steps, where `start` is
    `start_factor` x scheduled for learning rates, `bias_lr` for the parameter group named "bias"
    (if given), and `momentum_start` for momentum or Adam's beta 1 (if given).

    The group holds the warm value only from the start of a batch (monitors placed after this
    callback read it) to the end of the optimiser step: schedulers that compute the next value from
    the current one, and checkpoints, see the scheduled value. Nothing but the global step decides,
    so a resumed run does the same.

    Paper: Goyal et al. 2017 "Accurate, Large Minibatch SGD", section 2.2 (gradual warm-up).
    """

    def __init__(
        self,
        steps: int,
        start_factor: float = 0.0,
        momentum_start: float | None = None,
        bias_lr: float | None = None,
    ) -> None:
        self.steps = steps
        self.start_factor = start_factor
        self.momentum_start = momentum_start
        self.bias_lr = bias_lr
        self._step = 0
        self._scheduled: list[tuple[Group, Group]] = []
        """Groups that hold warm values, each with the scheduled ones."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ties the values to the optimiser's step."""
        self._check_groups([group for o in trainer.optimizers for group in o.param_groups])
        for optimizer in trainer.optimizers:
            optimizer.register_step_pre_hook(self._before_step)
            optimizer.register_step_post_hook(self._after_step)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets the warm values of this step."""
        self._step = trainer.global_step
        for optimizer in trainer.optimizers:
            self._warm(optimizer)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """With a gradient scaler the step may be skipped, and its end never come."""
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            self._restore()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """A batch that only accumulates gradients ends here, without a step."""
        self._restore()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._warm(optimizer)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._restore()

    def _warm(self, optimizer: Optimizer) -> None:
        if self._step >= self.steps or self._scheduled:
            return
        for group in optimizer.param_groups:
            warm = self._warm_values(group)
            self._scheduled.append((group, {key: group[key] for key in warm}))
            group.update(warm)

    def _warm_values(self, group: Group) -> Group:
        warm: Group = {"lr": self._between(self._start_lr(group), group["lr"])}
        if self.momentum_start is not None and "betas" in group:
            beta1, *others = group["betas"]
            warm["betas"] = (self._between(self.momentum_start, beta1), *others)
        elif self.momentum_start is not None:
            warm["momentum"] = self._between(self.momentum_start, group["momentum"])
        return warm

    def _start_lr(self, group: Group) -> float:
        if self.bias_lr is not None and group.get("name") == "bias":
            return self.bias_lr
        return self.start_factor * group["lr"]

    def _between(self, start: float, scheduled: float) -> float:
        return start + (scheduled - start) * (self._step / self.steps)

    def _restore(self) -> None:
        for group, scheduled in self._scheduled:
            group.update(scheduled)
        self._scheduled.clear()

    def _check_groups(self, groups: list[Group]) -> None:
        names = [group.get("name") for group in groups]
        if self.bias_lr is not None and "bias" not in names:
            raise ConfigError(
                f"callbacks.warmup.bias_lr={self.bias_lr} needs a parameter group named 'bias' and "
                f"there are {names}: set detector.param_groups, or callbacks.warmup.bias_lr=null"
            )
        if self.momentum_start is not None and not all(
            {"momentum", "betas"} & g.keys() for g in groups
        ):
            raise ConfigError(
                f"callbacks.warmup.momentum_start={self.momentum_start} needs an optimiser with "
                "momentum or betas: choose another, or callbacks.warmup.momentum_start=null"
            )
