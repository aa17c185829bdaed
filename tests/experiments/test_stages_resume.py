"""Killed inside any of its stages, alternating training ends where it would have ended."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments import build, stages
from tests.experiments.killing import differing, kill_when, rows, trains_in_epoch
from tests.experiments.scenes import tiny

ALTERNATING = (
    *("detector=faster_rcnn", "backbone=zf", "regime=alternating", "transform=faster_rcnn"),
    *("detector.net.backbone.width=0.1", "protocol.epochs=2", "datamodule.train.length=160"),
    *("datamodule.framing.short=64", "datamodule.framing.long=64"),
)
EMA = ("callbacks=[default,ema,warmup]", "callbacks.ema.ramp_steps=10", "scheduler=cosine")


def command(folder: Path, *overrides: str) -> tuple[list[str], Path, list[Path]]:
    """What to run, the folder of the run, and those of its stages; the last is the run's own."""
    arguments = tiny(folder, *ALTERNATING, *overrides)
    config = build.compose(arguments)
    run_dir = Path(config.paths.run_dir)
    *earlier, _ = config.stages
    folders = [*(stages.stage_dir(run_dir, name) for name in earlier), run_dir]
    return [sys.executable, "-m", "experiments.cli", "train", *arguments], run_dir, folders


def is_finished(folder: Path) -> bool:
    path = folder / stages.STAGE
    return path.is_file() and '"finished": true' in path.read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("callbacks", [(), EMA], ids=["plain", "ema-warmup-cosine"])
def test_killed_inside_every_stage_and_resumed_equals_never_killed(tmp_path: Path, callbacks):
    arguments, _, killed = command(tmp_path / "killed", *callbacks)
    for number, folder in enumerate(killed):
        kill_when(arguments, lambda folder=folder: trains_in_epoch(folder, 1))
        assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
        assert [is_finished(f) for f in killed[:-1]] == [n < number for n in range(3)]
    subprocess.run(arguments, check=True, capture_output=True)

    arguments, _, whole = command(tmp_path / "whole", *callbacks)
    subprocess.run(arguments, check=True, capture_output=True)
    for left, right in zip(killed, whole, strict=True):
        ends = [torch.load(f / "checkpoints/last.ckpt", weights_only=True) for f in (left, right)]
        for content in ends:
            del content["lineup"], content["loops"]
        assert ends[0]["epoch"] == 1
        assert differing(*ends) == [], left
        assert rows(left) == rows(right)
    for left, right in zip(killed[:-1], whole[:-1], strict=True):
        kept = [torch.load(f / stages.PROPOSALS, weights_only=True) for f in (left, right)]
        assert differing(*kept) == [], left
