from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from callbacks.accumulation import AccumulationRamp
from tests.callbacks.toy import ToyData, toy_module, trainer


class Steps(L.Callback):
    """The batch (of the fit) after which each step is taken, and its gradient."""

    def __init__(self) -> None:
        self.after: list[int] = []
        self.gradients: list[torch.Tensor] = []
        self.single: list[torch.Tensor] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.after.append(trainer.fit_loop.epoch_loop.total_batch_idx)
        gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        self.gradients.append(torch.cat(gradients).clone())


def fit(folder: Path, *callbacks: L.Callback, **options: Any) -> Steps:
    steps = Steps()
    torch.manual_seed(0)
    fitter = trainer(folder, *callbacks, steps, **options)
    fitter.fit(toy_module(lr=0.0), ToyData(count=24, batch_size=2))
    return steps


def test_steps_come_after_one_batch_at_first_and_after_all_in_the_end(tmp_path: Path):
    steps = fit(tmp_path, AccumulationRamp(batches=4, ramp=12), max_epochs=2)
    # batches 0-11 in the first epoch: 1 each; from 2 on round(1 + 3 n / 12) asks for 2, and so on
    assert steps.after[:3] == [0, 1, 3]
    assert steps.after[-3:] == [15, 19, 23]
    gaps = [b - a for a, b in zip(steps.after, steps.after[1:], strict=False)]
    assert gaps == sorted(gaps)


@pytest.mark.parametrize("ramp", [0, 12])
def test_a_step_has_the_mean_gradient_of_its_own_batches_and_of_no_other(tmp_path: Path, ramp: int):
    """With a rate of 0 the weights stay, so gradients of batches can be compared."""
    alone = fit(tmp_path / "one", max_epochs=2)
    together = fit(tmp_path / "ramp", AccumulationRamp(batches=4, ramp=ramp), max_epochs=2)
    first = 0
    for last, gradient in zip(together.after, together.gradients, strict=True):
        mean = torch.stack(alone.gradients[first : last + 1]).mean(0)
        torch.testing.assert_close(gradient, mean)
        first = last + 1
