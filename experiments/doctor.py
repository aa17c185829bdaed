"""`lineup doctor`: what this machine has, what is missing, and what to do about it."""

import importlib.metadata
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments import provenance

Check = tuple[str, bool, str]
"""What was looked at, whether it is fine, and what was found (with the remedy if it is not)."""


def main() -> None:
    """Prints every check; exits with 1 if one failed."""
    checks = [python(), *packages(), torch_works(), devices(), disk(), writable(), wandb()]
    table = Table("check", "", "found", header_style="bold")
    for what, fine, found in checks:
        table.add_row(what, "ok" if fine else "[red]PROBLEM", found)
    Console().print(table)
    sys.exit(0 if all(fine for _, fine, _ in checks) else 1)


def python() -> Check:
    """Whether the interpreter is one we test with."""
    version = ".".join(map(str, sys.version_info[:3]))
    tested = sys.version_info[:2] == (3, 11)
    return "python", True, version if tested else f"{version} (tested with 3.11)"


def packages() -> list[Check]:
    """The packages that compute, with the versions the project asks for."""
    found = provenance.versions()
    wanted = _requirements()
    return [
        (
            name,
            version != "not installed",
            version if version != "not installed" else "missing: make setup",
        )
        for name, version in found.items()
        if name in wanted
    ]


def torch_works() -> Check:
    """Whether torchvision's compiled operators fit torch: a CPU-only torch beside it does not."""
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except Exception as error:
        return (
            "torchvision operators",
            False,
            f"{error}; install torch and torchvision as a pair: make setup",
        )
    return "torchvision operators", True, "work"


def devices() -> Check:
    """CUDA devices, and the cores this process may use."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = f"{len(os.sched_getaffinity(0))} CPU cores"
    return "devices", True, ", ".join([*gpus, cores])


def disk() -> Check:
    """Free space where results go."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return (
        "disk",
        free > 2,
        f"{free:.1f} GiB free" + ("" if free > 2 else ": runs need about 1 GiB"),
    )


def writable() -> Check:
    """Whether results can be written here at all."""
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd()):
            return "folder", True, f"{Path.cwd()} is writable"
    except OSError as error:
        return "folder", False, f"{error}; change to another folder or pass paths.runs=FOLDER"


def wandb() -> Check:
    """How W&B would log."""
    return (
        "wandb",
        True,
        "offline by default; logger.wandb.offline=false sends runs to your account",
    )


def _requirements() -> set[str]:
    lines = importlib.metadata.requires("detector-lineup") or []
    names = {line.split(";")[0].split("[")[0].strip() for line in lines}
    return {name.rstrip("<>=0123456789., ~!") for name in names}


if __name__ == "__main__":
    main()
