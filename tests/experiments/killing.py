"""Runs that are killed, and what is compared when they were started again."""

import csv
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def kill_when(arguments: list[str], condition: Callable[[], bool]) -> None:
    """Starts a command and kills it, as `kill -9` does, once the condition holds."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if condition():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


def trains_in_epoch(run_dir: Path, epoch: int) -> bool:
    """Whether a step of this epoch, or of a later one, has been logged."""
    return any(float(row.get("epoch", 0)) >= epoch and "train/loss" in row for row in rows(run_dir))


def rows(run_dir: Path) -> list[dict[str, str]]:
    path = run_dir / "metrics.csv"
    if not path.is_file():
        return []
    with path.open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


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
