"""What a checkpoint must carry to be rebuilt from the file alone."""

from typing import Any

import lightning as L


class RunRecord(L.Callback):
    """Puts the resolved configuration into every checkpoint, as plain containers."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning for each checkpoint."""
        checkpoint["lineup"] = {"config": self.config}
