"""Killed at any moment, a run resumes and ends where it would have ended, to the last bit."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import build
from tests.experiments.scenes import tiny

LONG = ("protocol.epochs=4", "datamodule.train.length=160", "datamodule.num_workers=2")
EMA = ("callbacks=[default,ema,warmup]", "scheduler=cosine")


def command(folder: Path, *overrides: str) -> tuple[list[str], Path]:
    arguments = tiny(folder, *LONG, *overrides)
    return [sys.executable, "-m", "experiments.cli", "train", *arguments], Path(
        build.compose(arguments).paths.run_dir
    )


def rows(run_dir: Path) -> list[dict[str, str]]:
    path = run_dir / "metrics.csv"
    if not path.is_file():
        return []
    with path.open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def kill_in_the_third_epoch(arguments: list[str], run_dir: Path) -> None:
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if any(float(row.get("epoch", 0)) >= 2 and "train/loss" in row for row in rows(run_dir)):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    last = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1


def plain(content: dict[str, Any]) -> dict[str, Any]:
    """Without folders in keys, and without the one value Lightning itself does not restore."""
    named = {Path(k).name if str(k).startswith("/") else k: v for k, v in content.items()}
    return {key: value for key, value in named.items() if key != "current_score"}


def differing(left: Any, right: Any, where: str = "") -> list[str]:
    """Where two checkpoints differ; paths of files aside."""
    if isinstance(left, torch.Tensor):
        return [] if torch.equal(left, right) else [where]
    if isinstance(left, dict):
        left, right = plain(left), plain(right)
        if left.keys() != right.keys():
            return [f"{where}: keys"]
        return [d for key in left for d in differing(left[key], right[key], f"{where}/{key}")]
    if isinstance(left, list | tuple):
        pairs = enumerate(zip(left, right, strict=True))
        return [d for i, (a, b) in pairs for d in differing(a, b, f"{where}/{i}")]
    is_path = isinstance(left, str) and "/" in left
    return [] if is_path or left == right else [f"{where}: {left} != {right}"]


@pytest.mark.slow
@pytest.mark.parametrize("callbacks", [(), EMA], ids=["plain", "ema-warmup-cosine"])
def test_killed_in_the_third_epoch_and_resumed_equals_never_killed(tmp_path: Path, callbacks):
    arguments, killed = command(tmp_path / "killed", *callbacks)
    kill_in_the_third_epoch(arguments, killed)
    earlier = [row for row in rows(killed) if float(row.get("epoch", 9)) < 2]
    subprocess.run(arguments, check=True, capture_output=True)
    arguments, whole = command(tmp_path / "whole", *callbacks)
    subprocess.run(arguments, check=True, capture_output=True)

    left = torch.load(killed / "checkpoints/last.ckpt", weights_only=True)
    right = torch.load(whole / "checkpoints/last.ckpt", weights_only=True)
    for content in (left, right):
        del content["lineup"], content["loops"]
    assert left["epoch"] == 3
    assert differing(left, right) == []
    assert rows(killed)[: len(earlier)] == earlier
    assert rows(killed) == rows(whole)
