"""Killed at any moment, a run resumes and ends where it would have ended, to the last bit."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from experiments import build, runs
from tests.experiments.killing import differing, kill_when, rows, trains_in_epoch
from tests.experiments.scenes import tiny

LONG = ("protocol.epochs=4", "datamodule.train.length=160", "datamodule.num_workers=2")
EMA = ("callbacks=[default,ema,warmup]", "scheduler=cosine")


def command(folder: Path, *overrides: str) -> tuple[list[str], Path]:
    arguments = tiny(folder, *LONG, *overrides)
    return [sys.executable, "-m", "experiments.cli", "train", *arguments], Path(
        build.compose(arguments).paths.run_dir
    )


def kill_in_the_third_epoch(arguments: list[str], run_dir: Path) -> None:
    kill_when(arguments, lambda: trains_in_epoch(run_dir, 2))
    last = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1


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


@pytest.mark.slow
def test_a_polite_kill_is_said_and_the_run_goes_on_afterwards(tmp_path: Path):
    arguments, run_dir = command(tmp_path)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not trains_in_epoch(run_dir, 1):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate()
    assert process.returncode == 130
    assert complaint.decode().strip().splitlines()[-1] == (
        "lineup: interrupted: the same command goes on from the last checkpoint"
    )
    subprocess.run(arguments, check=True, capture_output=True)
    assert runs.read_manifest(run_dir)["status"] == "finished"
