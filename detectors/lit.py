"""LitDetector: the only LightningModule. It trains any Detector; metrics are callbacks."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.structures import Batch, Detections, Losses

ParamGroups = Callable[[nn.Module], Iterable[dict[str, Any]]]


class LitDetector(L.LightningModule):
    """Sums a detector's loss terms by `loss_weights`, and steps its optimiser and scheduler.

    `scheduler` is stepped once per epoch. `param_groups` splits the parameters for the optimiser
    (default: one group of all that require a gradient).
    """

    def __init__(
        self,
        net: Detector,
        optimizer: Callable[..., torch.optim.Optimizer],
        loss_weights: dict[str, float],
        scheduler: Callable[..., Any] | None = None,
        param_groups: ParamGroups | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.loss_weights = dict(loss_weights)
        self.param_groups = param_groups

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One step; returns the weighted loss and the terms for the callbacks."""
        losses = self.net.loss(self.net(batch.images), batch.targets)
        total = self.total(losses)
        self._log("train", total, losses, len(batch), on_step=True)
        return {
            "loss": total,
            "terms": {name: term.detach() for name, term in losses.terms.items()},
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        """Loss and detections from one forward; the Evaluator callback takes the detections."""
        return self._evaluation_step("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        """As `validation_step`, on the test split."""
        return self._evaluation_step("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        """Detections alone."""
        return self.net.decode(self.net(batch.images), [target.frame for target in batch.targets])

    def total(self, losses: Losses) -> Tensor:
        """The weighted sum; raises unless the weights name exactly the terms."""
        if losses.terms.keys() != self.loss_weights.keys():
            raise ConfigError(
                f"detector.loss_weights names {sorted(self.loss_weights)} but the terms are "
                f"{sorted(losses.terms)}: give each term one weight"
            )
        return torch.stack(
            [weight * losses.terms[name] for name, weight in self.loss_weights.items()]
        ).sum()

    def configure_optimizers(self) -> Any:
        """The optimiser over the parameter groups, and the scheduler if there is one."""
        if self.param_groups is not None:
            parameters: Any = self.param_groups(self.net)
        else:
            parameters = [p for p in self.net.parameters() if p.requires_grad]
        optimizer = self.optimizer(parameters)
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}

    def _evaluation_step(self, split: str, batch: Batch) -> list[Detections]:
        raw = self.net(batch.images)
        losses = self.net.loss(raw, batch.targets)
        self._log(split, self.total(losses), losses, len(batch), on_step=False)
        return self.net.decode(raw, [target.frame for target in batch.targets])

    def _log(
        self, split: str, total: Tensor, losses: Losses, batch_size: int, *, on_step: bool
    ) -> None:
        values = {"loss": total.detach(), **losses.terms, **losses.stats}
        for name, value in values.items():
            self.log(
                f"{split}/{name}",
                value,
                on_step=on_step,
                on_epoch=not on_step,
                prog_bar=on_step,
                logger=bool(self.loggers),
                batch_size=batch_size,
                sync_dist=not on_step,
            )
