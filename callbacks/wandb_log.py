"""Weights & Biases: offline unless asked otherwise; no prompt, no account, no chatter."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

QUIET = {"console": "off", "silent": True, "disable_git": True, "disable_code": True}
"""wandb.Settings: no capture of the terminal, no messages, nothing read from the source tree."""


class WandbLog(WandbLogger):
    """Lightning's WandbLogger with our defaults; wandb itself is imported when the run starts.

    Offline runs lie in `<save_dir>/wandb` and are sent with `wandb sync`. `run_id` identifies the
    run when it is resumed: online it is continued, offline a second folder with the same id appears
    and W&B joins the two at sync. A run that raises is closed as failed (exit code 1). A run that
    was killed cannot close itself; the next start says so.
    """

    def __init__(
        self,
        save_dir: str,
        project: str = "lineup",
        group: str | None = None,
        job_type: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        run_id: str | None = None,
        offline: bool = True,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            save_dir=save_dir,
            project=project,
            name=name,
            id=run_id,
            # Lightning's own `offline` sets an environment variable that outlives the run
            mode="offline" if offline else "online",
            group=group,
            job_type=job_type,
            tags=list(tags),
            config=config,
            settings=dict(QUIET),
        )
        del self._wandb_init["anonymous"]  # Lightning passes it, wandb 0.31 complains about it
        self._open_mark = Path(save_dir) / "wandb" / f"{run_id}.open"

    @property
    def experiment(self) -> Any:
        """The W&B run; started on first use, on rank 0."""
        if self._experiment is None and rank_zero_only.rank == 0:
            self._start()
        return super().experiment

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Closes a failed run; a successful one stays open for the test that may follow a fit."""
        super().finalize(status)
        if status == "failed":
            self.close(exit_code=1)
        elif self._experiment is not None:
            self._open_mark.unlink(missing_ok=True)

    @rank_zero_only
    def close(self, exit_code: int = 0) -> None:
        """Ends the W&B run (at the end of the process this happens by itself)."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=exit_code)
            self._experiment = None
        self._open_mark.unlink(missing_ok=True)

    def _start(self) -> None:
        import wandb

        if wandb.run is not None:  # left open by an earlier training of this process
            wandb.finish()
        if self._open_mark.exists():
            logging.getLogger(__name__).warning(
                "W&B run %s was not closed last time (killed?): it goes on under the same id",
                self._id,
            )
        self._open_mark.parent.mkdir(parents=True, exist_ok=True)
        self._open_mark.touch()
