"""Which code, data and machine produced a result. No torch here."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("detectors", "datamodules", "callbacks", "experiments")
VERSIONED = (
    *("torch", "torchvision", "lightning", "timm", "torchmetrics", "faster-coco-eval"),
    *("albumentations", "opencv-python-headless", "numpy", "hydra-core"),
)
ROOT = Path(__file__).resolve().parent.parent


def collect() -> dict[str, Any]:
    """Source hash, git commit, versions of what computes, and the machine."""
    return {
        "source_hash": source_hash(),
        "git_commit": git_commit(),
        "versions": versions(),
        "machine": machine(),
    }


@cache
def source_hash() -> str:
    """Sixteen hex digits over our Python files: equal hash, equal code."""
    seen = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            seen.update(path.relative_to(ROOT).as_posix().encode())
            seen.update(path.read_bytes())
    return seen.hexdigest()[:16]


@cache
def git_commit() -> str | None:
    """The commit of the checkout, with `+` if files differ from it; `None` outside of one."""
    if not (ROOT / ".git").exists():
        return None
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Installed versions of the packages that shape a result, and Python's."""
    found = {"python": platform.python_version()}
    for package in VERSIONED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """The processor and how many of its cores this process may use."""
    return {"processor": _processor(), "cores": len(os.sched_getaffinity(0))}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
