"""How a run looks while it goes on: a bar in a terminal, one line per epoch elsewhere."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console


class Progress(RichProgressBar):
    """Lightning's rich bar with the losses and the current mAP under short names.

    `every_n_batches`: reading a loss waits for the device, so the bar moves every so many batches.
    Where the output is no terminal (a file, a pipe) it prints one plain line per epoch instead.
    """

    def __init__(self, every_n_batches: int = 10) -> None:
        super().__init__(refresh_rate=10, leave=False)
        self.every_n_batches = every_n_batches
        self._plain = not Console().is_interactive
        self._started = 0.0
        if self._plain:
            self.disable()

    def enable(self) -> None:
        """Switches the bar on where there is a terminal."""
        if not self._plain:
            super().enable()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the bar, or the clock of the plain line."""
        self._started = time.monotonic()
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Moves the bar every `every_n_batches` and at the end of the epoch."""
        done = batch_idx + 1
        if done % self.every_n_batches == 0 or done == self.total_train_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows the epoch's numbers."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._plain and trainer.is_global_zero:
            print(self._line(trainer, pl_module), flush=True)

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Losses and mAP without the split's prefix; no logger version."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {_short(name): value for name, value in metrics.items()}

    def _line(self, trainer: L.Trainer, pl_module: L.LightningModule) -> str:
        values = "  ".join(
            f"{name} {value:.4g}" for name, value in self.get_metrics(trainer, pl_module).items()
        )
        seconds = time.monotonic() - self._started
        last = (trainer.max_epochs or 0) - 1
        return f"epoch {trainer.current_epoch}/{last}  {values}  {seconds:.1f} s"


def _short(name: str) -> str:
    name = name.removeprefix("train/").removeprefix("val/")
    return "mAP" if name == "map" else name
