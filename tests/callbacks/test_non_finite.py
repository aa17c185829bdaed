from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from callbacks.non_finite import NonFiniteGuard
from detectors.errors import RunError
from detectors.structures import Losses, Target
from tests.callbacks.toy import ToyData, ToyDetector, ToyRaw, toy_module, trainer


class Breaking(ToyDetector):
    """Its box term becomes `value` at one training step (or its gradient does)."""

    def __init__(self, step: int, value: float = float("nan"), gradient: bool = False) -> None:
        super().__init__()
        self.step, self.value, self.gradient = step, value, gradient
        self.calls = 0

    def loss(self, raw: ToyRaw, targets: Sequence[Target]) -> Losses:
        losses = super().loss(raw, targets)
        if self.training:
            if self.calls == self.step and self.gradient:
                zero = 0 * losses.terms["box"]
                losses.terms["box"] = losses.terms["box"] + zero.sqrt()  # d/dx is infinite
            elif self.calls == self.step:
                losses.terms["box"] = losses.terms["box"] * self.value
            self.calls += 1
        return losses


class Reached(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self.steps = trainer.global_step


def fit(folder: Path, net: ToyDetector, **options: Any) -> int:
    """Four steps per epoch; returns nothing unless it survives."""
    best = ModelCheckpoint(folder, "best", monitor="val/loss", mode="min")
    last = ModelCheckpoint(
        folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    reached = Reached()
    run = trainer(
        folder,
        best,
        last,
        NonFiniteGuard(),
        reached,
        **{
            "max_epochs": 3,
            "enable_checkpointing": True,
            "plugins": [AtomicCheckpointIO()],
            "limit_train_batches": 4,
        }
        | options,
    )
    run.fit(toy_module(net), ToyData(8, 2))
    return reached.steps


def finite(path: Path) -> bool:
    return all(v.isfinite().all() for v in read_checkpoint(path)["state_dict"].values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_term_and_the_first_bad_step_are_named(tmp_path: Path, value: float) -> None:
    with pytest.raises(RunError) as caught:
        fit(tmp_path, Breaking(6, value))
    message = str(caught.value)
    assert "loss term 'box' is not finite since step 6 (epoch 1)" in message
    assert "detector.optimizer.lr" in message
    assert "gradient_clip_val" in message
    assert "\n" not in message


def test_reading_late_still_names_the_first_bad_step(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="'box' is not finite since step 5 "):
        fit(tmp_path, Breaking(5), log_every_n_steps=4)


def test_the_end_of_an_epoch_is_checked_whatever_the_interval(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="since step 2 "):
        fit(tmp_path, Breaking(2), log_every_n_steps=3, limit_train_batches=4, limit_val_batches=0)
    assert not list(tmp_path.glob("*.ckpt"))


def test_earlier_checkpoints_stay_as_they_were(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        fit(tmp_path, Breaking(7))
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4
    assert finite(tmp_path / "last.ckpt")
    assert finite(tmp_path / "best.ckpt")


def test_an_infinite_gradient_of_a_finite_loss_is_found_before_the_checkpoint(
    tmp_path: Path,
) -> None:
    with pytest.raises(RunError, match=r"weights 'net\.[a-z.]+' are not finite after step 7"):
        fit(tmp_path, Breaking(7, gradient=True))
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 4
    assert finite(tmp_path / "last.ckpt")


def test_a_healthy_run_is_not_stopped(tmp_path: Path) -> None:
    assert fit(tmp_path, ToyDetector()) == 12


def test_no_step_between_the_readings_waits_for_the_device(tmp_path: Path) -> None:
    """A tensor without contents (device "meta") passes through; reading it would raise."""
    guard, run = NonFiniteGuard(), trainer(tmp_path, log_every_n_steps=100)
    value = torch.zeros((), device="meta")
    outputs = {"loss": value, "terms": {"box": value}}
    for index in range(99):
        guard.on_train_batch_end(run, toy_module(), outputs, None, index)
    with pytest.raises(Exception, match="meta"):
        guard.on_train_batch_end(run, toy_module(), outputs, None, 99)
