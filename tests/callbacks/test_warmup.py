from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import lr_scheduler

from callbacks.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from callbacks.warmup import Warmup
from detectors.errors import ConfigError
from detectors.lit import LitDetector
from tests.callbacks.toy import ToyData, ToyDetector, toy_module, trainer

LR = 0.01
SCHEDULERS = {
    "recursive StepLR": partial(lr_scheduler.StepLR, step_size=1, gamma=0.5),
    "recursive MultiStepLR": partial(lr_scheduler.MultiStepLR, milestones=[1, 2], gamma=0.5),
    "closed-form LambdaLR": partial(lr_scheduler.LambdaLR, lr_lambda=lambda epoch: 0.5**epoch),
    "recursive CosineAnnealingLR": partial(lr_scheduler.CosineAnnealingLR, T_max=6),
    "none": None,
}


class Used(L.Callback):
    """What the optimiser works with inside each step, and what a monitor sees before it."""

    def __init__(self) -> None:
        self.groups: list[list[dict[str, Any]]] = []
        self.monitored: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        self.monitored.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        copies = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        self.groups.append(copies)

    def lrs(self) -> list[float]:
        return [groups[0]["lr"] for groups in self.groups]


def fit(folder: Path, module: LitDetector, *callbacks: L.Callback, **options: Any) -> Used:
    used = Used()
    trainer(folder, *callbacks, used, **options).fit(module, ToyData(count=8, batch_size=2))
    return used


def scheduled(folder: Path, scheduler: Any) -> list[float]:
    return fit(folder, toy_module(lr=LR, scheduler=scheduler), max_epochs=3).lrs()


@pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS.keys())
def test_each_step_takes_the_scheduled_rate_times_the_ramp(tmp_path: Path, scheduler: Any) -> None:
    plain = scheduled(tmp_path / "plain", scheduler)
    module = toy_module(lr=LR, scheduler=scheduler)
    used = fit(tmp_path / "warm", module, Warmup(steps=6, start_factor=0.1), max_epochs=3)
    ramp = [0.1 + 0.9 * min(n / 6, 1) for n in range(12)]
    assert used.lrs() == pytest.approx([lr * r for lr, r in zip(plain, ramp, strict=True)])
    assert used.monitored == used.lrs()
    assert used.lrs()[6:] == plain[6:]


def test_the_first_step_of_a_ramp_from_zero_does_not_move_the_weights(tmp_path: Path) -> None:
    module = toy_module()
    before = [p.clone() for p in module.parameters()]
    fit(tmp_path, module, Warmup(steps=5), max_steps=1, limit_val_batches=0)
    for old, new in zip(before, module.parameters(), strict=True):
        assert torch.equal(old, new)


def test_momentum_and_the_bias_group_have_ramps_of_their_own(tmp_path: Path) -> None:
    def groups(net: torch.nn.Module) -> list[dict[str, Any]]:
        named = list(net.named_parameters())
        return [
            {"params": [p for n, p in named if "bias" not in n], "name": "weight"},
            {"params": [p for n, p in named if "bias" in n], "name": "bias"},
        ]

    module = LitDetector(
        ToyDetector(),
        partial(torch.optim.SGD, lr=LR, momentum=0.9),
        {"box": 1.0, "score": 1.0},
        param_groups=groups,
    )
    used = fit(tmp_path, module, Warmup(4, momentum_start=0.5, bias_lr=0.1), max_epochs=2)
    first, middle, after = used.groups[0], used.groups[2], used.groups[4]
    assert [g["lr"] for g in first] == [0.0, 0.1]
    assert [g["momentum"] for g in first] == [0.5, 0.5]
    assert [g["lr"] for g in middle] == pytest.approx([LR / 2, (0.1 + LR) / 2])
    assert [g["momentum"] for g in middle] == pytest.approx([0.7, 0.7])
    assert [(g["lr"], g["momentum"]) for g in after] == [(LR, 0.9)] * 2


def test_adams_first_beta_takes_the_place_of_momentum(tmp_path: Path) -> None:
    module = toy_module()
    module.optimizer = partial(torch.optim.Adam, lr=LR, betas=(0.9, 0.99))
    used = fit(tmp_path, module, Warmup(2, momentum_start=0.5), max_epochs=1)
    assert [g[0]["betas"] for g in used.groups] == [(0.5, 0.99), (0.7, 0.99), *[(0.9, 0.99)] * 2]


def test_accumulated_batches_advance_the_ramp_once_per_step(tmp_path: Path) -> None:
    module = toy_module(lr=LR)
    used = fit(tmp_path, module, Warmup(4), max_epochs=2, accumulate_grad_batches=2)
    assert used.lrs() == pytest.approx([0, LR / 4, LR / 2, 3 * LR / 4])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_resumed_inside_the_ramp_is_the_uninterrupted_one(tmp_path: Path) -> None:
    def run(folder: Path, epochs: int, resume: Path | None = None) -> dict[str, Any]:
        torch.manual_seed(0)
        last = ModelCheckpoint(
            folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        step = trainer(
            folder,
            Warmup(steps=10, start_factor=0.1, momentum_start=0.5),
            last,
            max_epochs=epochs,
            enable_checkpointing=True,
            plugins=[AtomicCheckpointIO()],
        )
        module = toy_module(lr=LR, scheduler=SCHEDULERS["recursive StepLR"])
        step.fit(module, ToyData(8, 2), ckpt_path=resume, weights_only=True)
        return read_checkpoint(folder / "last.ckpt")

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "half", 1)
    resumed = run(tmp_path / "rest", 3, resume=tmp_path / "half" / "last.ckpt")
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    assert (
        whole["optimizer_states"][0]["param_groups"]
        == resumed["optimizer_states"][0]["param_groups"]
    )
    assert whole["optimizer_states"][0]["param_groups"][0]["lr"] == LR * 0.5**3


class Scaler(torch.amp.GradScaler):
    """Finds every gradient infinite, and so skips every step."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        return None


def test_a_step_that_the_gradient_scaler_skips_leaves_the_scheduled_rate(tmp_path: Path) -> None:
    from lightning.pytorch.plugins import MixedPrecision

    precision = MixedPrecision("16-mixed", "cpu", Scaler("cpu", enabled=False))
    module = toy_module(lr=LR, scheduler=SCHEDULERS["recursive StepLR"])
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        fit(tmp_path, module, Warmup(100), max_epochs=2, plugins=[precision])
    optimizer: Any = module.optimizers()
    assert optimizer.param_groups[0]["lr"] == LR * 0.5**2


def test_a_missing_bias_group_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"warmup\.bias_lr=0\.1 needs .* 'bias'"):
        fit(tmp_path, toy_module(), Warmup(4, bias_lr=0.1))


def test_an_optimiser_without_momentum_is_one_line(tmp_path: Path) -> None:
    module = toy_module()
    module.optimizer = partial(torch.optim.Adagrad, lr=LR)
    with pytest.raises(ConfigError, match=r"momentum_start=0\.5 needs an optimiser"):
        fit(tmp_path, module, Warmup(4, momentum_start=0.5))
