import itertools
import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from callbacks.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from callbacks.ema import EMA
from tests.callbacks.toy import ToyData, toy_module, trainer

DECAY, RAMP = 0.9, 4


class Recorder(L.Callback):
    """The raw weights after each step, and what validation sees. Placed before the EMA."""

    def __init__(self) -> None:
        self.raw: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.raw.append(snapshot(pl_module))

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.validated.append(snapshot(pl_module))


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def by_hand(raw: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    average = {name: value.double() for name, value in raw[0].items()}
    for n, weights in enumerate(raw[1:], start=1):
        d = DECAY * (1 - math.exp(-n / RAMP))
        average = {k: d * average[k] + (1 - d) * weights[k].double() for k in average}
    return average


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_validation_sees_the_ramped_average_of_weights_and_floating_buffers(tmp_path: Path) -> None:
    recorder = Recorder()
    fit = trainer(tmp_path, recorder, EMA(DECAY, RAMP), max_epochs=3)
    fit.fit(toy_module(), ToyData())
    expected = by_hand(recorder.raw)
    for name, value in recorder.validated[-1].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name].float(), rtol=1e-5, atol=1e-6)
        else:
            assert value == recorder.raw[-1][name]
    assert "net.norm.running_mean" in expected


def test_the_weights_after_training_are_the_average(tmp_path: Path) -> None:
    recorder, module = Recorder(), toy_module()
    trainer(tmp_path, recorder, EMA(DECAY, RAMP)).fit(module, ToyData())
    assert_same(snapshot(module), recorder.validated[-1])


def test_training_is_not_disturbed(tmp_path: Path) -> None:
    runs = []
    for name, callbacks in {"with": [EMA(DECAY, RAMP)], "without": []}.items():
        torch.manual_seed(0)
        recorder = Recorder()
        trainer(tmp_path / name, recorder, *callbacks).fit(toy_module(), ToyData())
        runs.append(recorder.raw[-1])
    assert_same(*runs)


def test_an_exception_in_validation_leaves_the_raw_weights(tmp_path: Path) -> None:
    class Breaks(L.Callback):
        def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("broken")

    recorder, module = Recorder(), toy_module()
    with pytest.raises(RuntimeError, match="broken"):
        trainer(tmp_path, recorder, EMA(DECAY, RAMP), Breaks()).fit(module, ToyData())
    assert_same(snapshot(module), recorder.raw[-1])
    different = [
        k for k, v in recorder.validated[-1].items() if not torch.equal(v, recorder.raw[-1][k])
    ]
    assert different


def fit_with_checkpoint(folder: Path, epochs: int, resume: Path | None = None) -> dict[str, Any]:
    torch.manual_seed(0)
    last = ModelCheckpoint(
        folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    fit = trainer(
        folder,
        EMA(DECAY, RAMP),
        last,
        max_epochs=epochs,
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
    )
    fit.fit(toy_module(), ToyData(), ckpt_path=resume, weights_only=True)
    return read_checkpoint(folder / "last.ckpt")


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_resumed_average_is_that_of_an_uninterrupted_run_to_the_last_bit(tmp_path: Path) -> None:
    whole = fit_with_checkpoint(tmp_path / "whole", 4)
    fit_with_checkpoint(tmp_path / "half", 2)
    resumed = fit_with_checkpoint(tmp_path / "rest", 4, resume=tmp_path / "half" / "last.ckpt")
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert_same(whole[key], resumed[key])
    key = next(k for k in whole["callbacks"] if "EMA" in k)
    assert whole["callbacks"][key] == resumed["callbacks"][key] == {"latest_update_step": 8}
    assert whole["averaging_state"]["n_averaged"] == 8
    assert any(
        not torch.equal(whole["state_dict"][k], whole["current_model_state"][k])
        for k in whole["state_dict"]
    )


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_scoring_a_checkpoint_takes_the_average_without_a_warning(tmp_path: Path) -> None:
    saved = fit_with_checkpoint(tmp_path, 2)
    module = toy_module()
    path = tmp_path / "last.ckpt"
    run = trainer(tmp_path / "b", EMA(DECAY, RAMP), plugins=[AtomicCheckpointIO()])
    run.validate(module, ToyData(), ckpt_path=path, verbose=False, weights_only=True)
    assert_same(snapshot(module), saved["state_dict"])


def test_after_a_fit_a_checkpoint_is_scored_with_its_own_average(tmp_path: Path) -> None:
    first = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    recorder = Recorder()
    fit = trainer(
        tmp_path, recorder, EMA(DECAY, RAMP), first, max_epochs=3, enable_checkpointing=True
    )
    module = toy_module()
    fit.fit(module, ToyData())
    earlier = tmp_path / "epoch=0.ckpt"
    fit.validate(module, ToyData(), ckpt_path=str(earlier), verbose=False, weights_only=True)
    assert_same(recorder.validated[-1], read_checkpoint(earlier)["state_dict"])


def test_the_decay_grows_from_zero_to_its_value() -> None:
    decays = [EMA(0.999, 10).decay_at(n) for n in range(500)]
    assert decays[0] == 0
    assert all(a <= b for a, b in itertools.pairwise(decays))
    assert decays[-1] == pytest.approx(0.999)
